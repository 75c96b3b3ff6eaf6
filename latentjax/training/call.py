"""Several train steps as one compiled call, under jit over a mesh or under pmap."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from latentjax.training.mesh import DATA_AXIS, batch_sharding
from latentjax.training.step import Metrics, TrainState, TrainStep

PyTree = Any
Call = Callable[[TrainState, jax.Array, PyTree, PyTree], tuple[TrainState, Metrics]]


def make_call(
  train_step: TrainStep,
  batch: Callable[[PyTree, PyTree], PyTree],
  mesh: Mesh,
  shardings: PyTree,
  *,
  stacked: bool,
  per_device: bool,
  unroll: bool,
  abstract: bool = False,
) -> Call:
  """Compile `call(state, keys, resident, xs) -> (state, metrics)`, one step per leading entry of xs.

  The state is donated: its memory is used again for the new one.

  Args:
    train_step: from `make_train_step`.
    batch: makes a step's batch on the device, see `Feed`.
    mesh: mesh of the run.
    shardings: of the state.
    stacked: whether there is a leading axis of replicas, over which the step is mapped.
    per_device: `pmap` instead of `jit`.
    unroll: write the steps out instead of looping.
    abstract: make the call for devices that need not be there, to be lowered and compiled alone. What
      `pmap` does is then `jit` of `shard_map`, which takes global arrays.

  Returns:
    The call; its metrics have a leading axis of steps.
  """
  step = jax.vmap(train_step) if stacked else train_step

  def call(
    state: TrainState, keys: jax.Array, resident: PyTree, xs: PyTree
  ) -> tuple[TrainState, Metrics]:
    num_steps = jax.tree.leaves(xs)[0].shape[0]
    body = lambda state, x: step(state, keys, batch(resident, x))
    if num_steps == 1:  # `scan` would make a loop of it, in which CPUs convolve slowly
      state, metrics = body(state, jax.tree.map(lambda a: a[0], xs))
      return state, jax.tree.map(lambda m: m[None], metrics)
    return jax.lax.scan(body, state, xs, unroll=num_steps if unroll else 1)

  replicated, rows = NamedSharding(mesh, P()), batch_sharding(mesh, stacked=stacked)
  if per_device and abstract:
    specs = (P(), P(), P(), rows.spec)
    call = jax.shard_map(call, mesh=mesh, in_specs=specs, out_specs=P(), check_vma=False)
  elif per_device:
    # pmean has made state and metrics equal everywhere: one copy goes in and comes out, not a stack.
    mapped = jax.pmap(
      call, axis_name=DATA_AXIS, in_axes=(None, None, None, 0), out_axes=None, donate_argnums=0
    )
    if jax.process_count() == 1:
      return mapped

    def call_and_join(*args: PyTree) -> tuple[TrainState, Metrics]:
      state, metrics = mapped(*args)  # each process sees its own devices alone
      return jax.tree.map(partial(_join_processes, replicated), state), metrics

    return call_and_join
  return jax.jit(
    call,
    in_shardings=(shardings, None, replicated, rows),
    out_shardings=(shardings, replicated),
    donate_argnums=0,
  )


def _join_processes(sharding: NamedSharding, x: jax.Array) -> jax.Array:
  """The same replicated array, known to lie on the devices of all processes; nothing is copied."""
  shards = [shard.data for shard in x.addressable_shards]
  return jax.make_array_from_single_device_arrays(x.shape, sharding, shards)


def default_fusion(backend: str, *, convolution: bool, resident: bool) -> tuple[int, bool]:
  """Number of fused steps and whether to unroll them.

  Fusing hides the cost of starting a program and of handing over batches. On CPU, XLA runs the gradient of a
  convolution several times slower inside a loop than outside, so there a convolution's steps are
  called one by one. Streamed batches are stacked on the host, so fewer of them.

  Args:
    backend: "cpu", "gpu" or "tpu".
    convolution: whether the step convolves.
    resident: whether the data lies on the device.

  Returns:
    Steps per call, and whether they are written out.
  """
  if backend == "cpu" and convolution:
    return 1, True
  return (50 if resident else 10), False
