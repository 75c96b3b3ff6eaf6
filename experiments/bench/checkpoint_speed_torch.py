"""The other side of `checkpoint_speed`: `torch.save` and `torch.load`."""

import time
from pathlib import Path

import torch

from experiments.bench import worker

ARRAYS, SIZE = 48, 2**20


def main() -> None:
  """Write once, and answer."""
  problem, channel = worker.start()
  torch.set_num_threads(worker.num_threads())
  state = {f"{i}": torch.randn(SIZE) for i in range(ARRAYS)}
  path = Path(problem.data) / "torch.pt"

  def save(seconds: float) -> dict[str, float]:
    begin = time.perf_counter()
    torch.save(state, path)
    return {"images": 1, "seconds": time.perf_counter() - begin}

  def restore(seconds: float) -> dict[str, float]:
    begin = time.perf_counter()
    torch.load(path, weights_only=True)
    return {"images": 1, "seconds": time.perf_counter() - begin}

  channel.send(first_seconds=save(0.0)["seconds"])
  channel.serve(save if problem.objective == "save" else restore)


if __name__ == "__main__":
  main()
