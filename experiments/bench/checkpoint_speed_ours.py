"""Our side of `checkpoint_speed`: the functions that `training.train` calls."""

import itertools
import time
from pathlib import Path

import jax
import jax.numpy as jnp

from experiments.bench import worker
from latentjax.training import checkpoint

ARRAYS, SIZE = 48, 2**20


def main() -> None:
  """Write once, and answer."""
  problem, channel = worker.start()
  numbers = jax.jit(lambda key: jax.random.normal(key, (ARRAYS, SIZE)))(jax.random.key(0))
  state = {f"{i}": jnp.array(x) for i, x in enumerate(numbers)}
  manager = checkpoint.open_checkpoints(Path(problem.data) / "ours", keep=1)
  steps = itertools.count(1)

  def save(seconds: float) -> dict[str, float]:
    begin = time.perf_counter()
    checkpoint.save(manager, next(steps), state, {})
    blocked = time.perf_counter() - begin
    checkpoint.finish(manager)
    return {"images": 1, "seconds": blocked, "until_written": time.perf_counter() - begin}

  def restore(seconds: float) -> dict[str, float]:
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    wanted = jax.tree.map(
      lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), state
    )
    begin = time.perf_counter()
    found = checkpoint.restore_latest(manager, wanted)
    assert found is not None
    jax.block_until_ready(found.state)
    return {"images": 1, "seconds": time.perf_counter() - begin}

  first = save(0.0)
  channel.send(first_seconds=first["until_written"])
  channel.serve(save if problem.objective == "save" else restore)
  checkpoint.close(manager)


if __name__ == "__main__":
  main()
