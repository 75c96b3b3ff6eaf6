"""How batches reach the devices: data resident there and indexed, or streamed from the host."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from latentjax import data
from latentjax.training.config import TrainConfig
from latentjax.training.mesh import batch_sharding, put_global, put_local, row_axes

PyTree = Any


class Feed(NamedTuple):
  """A source of batches, for calls of several fused steps.

  Attributes:
    resident: arrays that stay on the device, an argument of every call; () when streaming.
    take: `take(step, num_steps)` makes what the call of those steps consumes, with leading axis num_steps.
    batch: `batch(resident, x)` makes one step's batch on the device, from one entry of what `take` made.
    state: `state(step)` is the JSON object to keep in a checkpoint: from where to go on.
    check: `check(state)` raises ValueError if it belongs to other data or another order.
    close: ends worker processes.
  """

  resident: PyTree
  take: Callable[[int, int], PyTree]
  batch: Callable[[PyTree, PyTree], PyTree]
  state: Callable[[int], dict[str, Any]]
  check: Callable[[dict[str, Any]], None]
  close: Callable[[], None]


def fits_on_device(dataset: data.Dataset) -> bool:
  """Whether the data set is in memory and takes less than a third of the device's."""
  if dataset.arrays is None:
    return False
  stats = jax.local_devices()[0].memory_stats() or {}
  limit = stats.get("bytes_limit")  # absent on CPU, where being in memory is being on the device
  return limit is None or dataset.num_bytes < limit / 3


def make_feed(
  dataset: data.Dataset, mesh: Mesh, config: TrainConfig, *, start_step: int = 0
) -> Feed:
  """Feed of global batches, their order a pure function of (seed, epoch) on any number of devices.

  Under jit what it takes are global arrays, sharded over the mesh. Under pmap they are host arrays with
  a leading axis of local devices, holding this process's rows.

  Args:
    dataset: from `latentjax.data.load`.
    mesh: mesh of the run.
    config: batch size, seeds, and whether to keep the data on the device.
    start_step: the first step that will be taken.
  """
  resident = fits_on_device(dataset) if config.resident is None else config.resident
  if resident and dataset.arrays is None:
    raise ValueError("resident: got True for a data set that does not fit in memory, wanted False")
  per_device, stacked = config.parallel == "pmap", config.stacked
  seeds = list(range(config.seed, config.seed + config.seeds))
  where = {"process_index": jax.process_index(), "process_count": jax.process_count()}
  sharding = batch_sharding(mesh, stacked=stacked)
  order = {"data": dataset.fingerprint, "batch_size": config.batch_size, "seeds": seeds}

  def check(state: dict[str, Any]) -> None:
    found = {k: state.get(k) for k in order}
    if found != order:
      raise ValueError(f"data: the checkpoint was made with {found}, this run has {order}")

  def place(x: np.ndarray, put: Callable[[np.ndarray, NamedSharding], jax.Array]) -> Any:
    if not per_device:
      return put(x, sharding)
    axis = 2 if stacked else 1  # the rows
    devices = jax.local_device_count()
    x = x.reshape(*x.shape[:axis], devices, -1, *x.shape[axis + 1 :])
    return np.moveaxis(x, axis, 0)

  if not resident:
    stream = data.stream(
      dataset,
      batch_size=config.batch_size,
      seeds=seeds,
      start_step=start_step,
      num_workers=config.num_workers,
      **where,
    )

    def take_rows(step: int, num_steps: int) -> PyTree:
      batches = [next(stream) for _ in range(num_steps)]
      return {k: place(np.stack([b[k] for b in batches]), put_local) for k in batches[0]}

    return Feed(
      (), take_rows, lambda _, x: x, lambda step: {"step": step, **order}, check, stream.close
    )

  def indices(seed: int, step: int, num_steps: int) -> np.ndarray:
    # Under jit every process makes the indices of the global batch, they are small.
    local = where if per_device else {}
    rows = [
      data.step_positions(s, batch_size=config.batch_size, **local)
      for s in range(step, step + num_steps)
    ]
    return data.example_indices(np.stack(rows), num_examples=dataset.num_examples, seed=seed)

  def take_indices(step: int, num_steps: int) -> PyTree:
    by_seed = [indices(seed, step, num_steps) for seed in seeds]
    return place(np.stack(by_seed, axis=1) if stacked else by_seed[0], put_global)

  assert dataset.arrays is not None
  replicated = NamedSharding(mesh, P())
  arrays = {
    k: put_global(np.asarray(v).reshape(len(v), -1), replicated) for k, v in dataset.arrays.items()
  }
  return Feed(
    arrays,
    take_indices,
    gather_rows(dataset),
    lambda step: {"step": step, **order},
    check,
    lambda: None,
  )


def gather_rows(dataset: data.Dataset) -> Callable[[PyTree, jax.Array], PyTree]:
  """Function that makes a batch on the device from resident arrays and indices."""

  def gather(arrays: PyTree, x: jax.Array) -> PyTree:
    # Rows lie flat: XLA gathers a row of (784,) faster than one of (28, 28, 1).
    rows = {k: a.at[x].get(mode="promise_in_bounds") for k, a in arrays.items()}
    return {k: r.reshape(*x.shape, *dataset.features[k][0]) for k, r in rows.items()}

  return gather


def check_batch_size(batch_size: int, mesh: Mesh, accumulate: int) -> None:
  """Raise ValueError unless the devices and micro-batches divide the batch."""
  devices = math.prod(mesh.shape[name] for name in row_axes(mesh))
  parts = devices * accumulate
  if batch_size < 1 or batch_size % parts:
    raise ValueError(
      f"batch_size: got {batch_size}, wanted a positive multiple of {parts} "
      f"({devices} devices along the rows x {accumulate} micro-batches)"
    )
