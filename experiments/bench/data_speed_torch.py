"""PyTorch's `DataLoader` over the decoded images, already in memory."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import torch
from torch.utils.data import DataLoader, TensorDataset

from experiments.bench import worker


def main() -> None:
  """Read, and answer."""
  problem, channel = worker.start()
  torch.set_num_threads(worker.num_threads())
  images = TensorDataset(torch.from_numpy(np.load(problem.data)))

  def epochs() -> Iterator[torch.Tensor]:
    while True:
      for (batch,) in DataLoader(images, problem.batch_size, shuffle=True, drop_last=True):
        yield batch

  batches = epochs()

  def step() -> int:
    next(batches).float().div_(255).sum().item()
    return problem.batch_size

  begin = time.perf_counter()
  step()
  channel.send(first_seconds=time.perf_counter() - begin)
  channel.serve(lambda seconds: worker.steps_for(seconds, step))


if __name__ == "__main__":
  main()
