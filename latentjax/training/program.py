"""What a run compiles: its step, its first state, and the call of several steps, for any devices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from latentjax import data
from latentjax.training.call import make_call
from latentjax.training.config import TrainConfig
from latentjax.training.feed import check_batch_size, gather_rows
from latentjax.training.mesh import Rules, batch_sharding, make_mesh, row_axes, state_shardings
from latentjax.training.step import (
  Objective,
  TrainState,
  TrainStep,
  init_train_state,
  make_train_step,
)

PyTree = Any
InitFn = Callable[[jax.Array], tuple[PyTree, PyTree]]


class Program(NamedTuple):
  """A call of train steps with the shapes and places of all that goes in, to be lowered and compiled.

  Attributes:
    call: compiled call `(state, keys, resident, xs) -> (state, metrics)`, see `make_call`.
    args: its arguments as `jax.ShapeDtypeStruct`.
    mesh: devices that it is for.
  """

  call: Any
  args: tuple[PyTree, jax.Array, PyTree, PyTree]
  mesh: Mesh


def run_mesh(config: TrainConfig, devices: Sequence[jax.Device] | None = None) -> Mesh:
  """Mesh of a run, and a check that it divides the batch."""
  # Under pmap the devices share the rows of every replica; under jit they first share the replicas.
  replicas = 1 if config.parallel == "pmap" else config.seeds
  mesh = make_mesh(
    num_replicas=replicas, shards=config.shards, tensor=config.tensor, devices=devices
  )
  check_batch_size(config.batch_size, mesh, config.accumulate)
  return mesh


def make_step(
  objective: Objective,
  optimizer: optax.GradientTransformation,
  config: TrainConfig,
  mesh: Mesh,
  *,
  transform: Callable[[jax.Array, PyTree], PyTree] | None,
) -> TrainStep:
  """The train step as a config describes it, for a mesh."""
  per_device = config.parallel == "pmap"
  return make_train_step(
    objective,
    optimizer,
    transform=transform,
    accumulate=config.accumulate,
    remat=config.remat,
    ema_decay=config.ema_decay,
    grad_norm=config.grad_norm,
    axis_name=config.axis_name,
    unroll=mesh.devices.flat[0].platform == "cpu",
    rows_sharding=None if per_device else NamedSharding(mesh, P(row_axes(mesh))),
  )


def initializer(
  init_fn: InitFn, optimizer: optax.GradientTransformation, config: TrainConfig
) -> tuple[jax.Array, Callable[[jax.Array], TrainState]]:
  """Key or keys of the run, and what makes the first state from them."""

  def init(key: jax.Array) -> TrainState:
    # The steps' keys are fold_in(key, step), step < 2**31: this one is none of them.
    params, model_state = init_fn(jax.random.fold_in(key, 2**32 - 1))
    ema = config.ema_decay is not None
    return init_train_state(params, optimizer, model_state=model_state, ema=ema)

  if not config.stacked:
    return jax.random.key(config.seed), init
  seeds = range(config.seed, config.seed + config.seeds)
  return jnp.stack([jax.random.key(s) for s in seeds]), jax.vmap(init)


def abstract_program(
  objective: Objective,
  init_fn: InitFn,
  optimizer: optax.GradientTransformation,
  dataset: data.Dataset,
  config: TrainConfig,
  *,
  transform: Callable[[jax.Array, PyTree], PyTree] | None = None,
  rules: Rules | None = None,
  devices: Sequence[jax.Device] | None = None,
  num_steps: int = 1,
  resident: bool = False,
) -> Program:
  """The call that `train` would compile from these arguments, with nothing on any device.

  The devices need not be there: those of `jax.experimental.topologies` will do.

  Args:
    objective: as for `train`.
    init_fn: as for `train`.
    optimizer: as for `train`.
    dataset: as for `train`.
    config: as for `train`.
    transform: as for `train`.
    rules: as for `train`.
    devices: to compile for; those of this process by default.
    num_steps: steps in a call.
    resident: whether the data lies on the devices; otherwise rows are handed over.

  Returns:
    The program; `program.call.trace(*program.args)` traces it.

  Raises:
    ValueError: if the config does not fit the devices.
  """
  mesh = run_mesh(config, devices)
  step = make_step(objective, optimizer, config, mesh, transform=transform)
  keys, init = initializer(init_fn, optimizer, config)
  state = jax.eval_shape(init, keys)
  shardings = state_shardings(state, mesh, rules=rules or config.sharding, stacked=config.stacked)
  whole, rows = NamedSharding(mesh, P()), batch_sharding(mesh, stacked=config.stacked)
  place = lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s)
  lead = (num_steps, *((config.seeds,) if config.stacked else ()), config.batch_size)
  kept: PyTree = ()
  if resident:
    kept = {
      name: jax.ShapeDtypeStruct((dataset.num_examples, int(np.prod(shape))), dtype, sharding=whole)
      for name, (shape, dtype) in dataset.features.items()
    }
    xs: PyTree = jax.ShapeDtypeStruct(lead, jnp.int32, sharding=rows)
  else:
    xs = {
      name: jax.ShapeDtypeStruct((*lead, *shape), dtype, sharding=rows)
      for name, (shape, dtype) in dataset.features.items()
    }
  call = make_call(
    step,
    gather_rows(dataset) if resident else lambda _, x: x,
    mesh,
    shardings,
    stacked=config.stacked,
    per_device=config.parallel == "pmap",
    unroll=bool(config.unroll),
    abstract=True,
  )
  return Program(call, (jax.tree.map(place, state, shardings), keys, kept, xs), mesh)
