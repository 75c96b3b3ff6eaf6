"""Our side of `data_speed`: the feed that `training.train` makes, without the training.

Variants: "resident" keeps the decoded images on the device and sends indices, as `train` does where they fit;
"stream" sends rows of the decoded cache; "records" decodes TFDS records as they come, as for sets too large
to be decoded into memory.
"""

from __future__ import annotations

import time

import jax
import jax.numpy as jnp

from experiments.bench import worker
from latentjax import data
from latentjax.data.transforms import to_float
from latentjax.training import TrainConfig
from latentjax.training.call import default_fusion
from latentjax.training.feed import make_feed
from latentjax.training.mesh import make_mesh


def main() -> None:
  """Read, and answer."""
  problem, channel = worker.start()
  dataset = data.load(
    "mnist",
    data_dir=problem.data or None,
    memory_limit=0 if problem.variant == "records" else None,
  )
  resident = problem.variant == "resident"
  config = TrainConfig(steps=1, batch_size=problem.batch_size, resident=resident)
  feed = make_feed(dataset, make_mesh(), config)
  steps, _ = default_fusion(jax.default_backend(), convolution=False, resident=resident)

  @jax.jit
  def consume(arrays: object, taken: object) -> jax.Array:
    total = lambda x: jnp.sum(to_float(None, feed.batch(arrays, x))["image"])
    return jnp.sum(jax.lax.map(total, taken))

  done, running = 0, None

  def call() -> int:
    nonlocal done, running
    previous, running = running, consume(feed.resident, feed.take(done, steps))
    jax.block_until_ready(previous)  # as in training: the next batches are made meanwhile
    done += steps
    return steps * problem.batch_size

  begin = time.perf_counter()
  call()
  channel.send(first_seconds=time.perf_counter() - begin, steps_per_call=steps)
  channel.serve(lambda seconds: worker.steps_for(seconds, call))
  feed.close()


if __name__ == "__main__":
  main()
