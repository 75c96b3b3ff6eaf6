"""Grain's own loader over TFDS's random access source, as their documentation puts them together."""

from __future__ import annotations

import time
from typing import Any

import grain
import jax
import jax.numpy as jnp
import tensorflow_datasets as tfds

from experiments.bench import worker


def main() -> None:
  """Read, and answer."""
  problem, channel = worker.start()
  source = tfds.data_source("mnist", split="train", data_dir=problem.data or None)
  loader = grain.DataLoader(
    data_source=source,
    sampler=grain.samplers.IndexSampler(len(source), shuffle=True, seed=0, num_epochs=None),
    operations=[grain.transforms.Batch(problem.batch_size, drop_remainder=True)],
    worker_count=0,
  )
  batches = iter(loader)
  consume = jax.jit(lambda images: jnp.sum(images.astype(jnp.float32) / 255))

  running = None

  def step() -> int:
    nonlocal running
    batch: dict[str, Any] = next(batches)
    previous, running = running, consume(batch["image"])
    jax.block_until_ready(previous)
    return problem.batch_size

  begin = time.perf_counter()
  step()
  channel.send(first_seconds=time.perf_counter() - begin)
  channel.serve(lambda seconds: worker.steps_for(seconds, step))


if __name__ == "__main__":
  main()
