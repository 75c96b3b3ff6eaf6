"""The one train step: any objective, any optimiser, any number of devices and replicas."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from latentjax.collectives import row_offset
from latentjax.training.convolutions import has_convolution
from latentjax.training.mesh import DATA_AXIS

PyTree = Any
Metrics = dict[str, jax.Array]
Objective = Callable[[PyTree, PyTree, jax.Array, PyTree], tuple[jax.Array, tuple[PyTree, Metrics]]]
TrainStep = Callable[["TrainState", jax.Array, PyTree], tuple["TrainState", Metrics]]

REMAT = {
  "none": None,
  "dots": jax.checkpoint_policies.dots_saveable,
  "dots_without_batch": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
}


class TrainState(NamedTuple):
  """Everything that changes from step to step, and all that a checkpoint has to hold of a model.

  Attributes:
    step: number of optimiser updates done, int32, shape ().
    params: parameters, float32.
    opt_state: state of the optax optimiser.
    model_state: what an objective carries across steps (codebook statistics, queues); () if nothing.
    ema_params: exponential moving average of params; () without one.
  """

  step: jax.Array
  params: PyTree
  opt_state: PyTree
  model_state: PyTree
  ema_params: PyTree

  @property
  def eval_params(self) -> PyTree:
    """The parameters to evaluate with: their moving average where there is one."""
    return self.params if self.ema_params == () else self.ema_params


def init_train_state(
  params: PyTree,
  optimizer: optax.GradientTransformation,
  *,
  model_state: PyTree = (),
  ema: bool = False,
) -> TrainState:
  """State before the first step; the moving average starts at the parameters themselves."""
  ema_params = jax.tree.map(jnp.array, params) if ema else ()
  return TrainState(jnp.int32(0), params, optimizer.init(params), model_state, ema_params)


def make_train_step(
  objective: Objective,
  optimizer: optax.GradientTransformation,
  *,
  transform: Callable[[jax.Array, PyTree], PyTree] | None = None,
  accumulate: int = 1,
  remat: str = "none",
  ema_decay: float | None = None,
  grad_norm: bool = False,
  axis_name: str | None = None,
  unroll: bool = False,
  rows_sharding: jax.sharding.Sharding | None = None,
) -> TrainStep:
  """Make `train_step(state, key, batch) -> (state, metrics)`, a pure function to be jitted by the caller.

  The step's randomness is `fold_in(key, state.step)`, so a resumed run replays the same noise.

  Args:
    objective: `objective(params, model_state, key, batch) -> (loss, (model_state, metrics))`.
    optimizer: optax optimiser, learning-rate schedule and gradient clipping included.
    transform: `transform(key, example) -> example` for one example, applied on the device with a
      key of its own for each row of the global batch.
    accumulate: number of micro-batches that a batch is split into. Gradients, metrics and loss are their
      means; a batch-coupled loss then sees one micro-batch at a time.
    remat: what the backward pass makes again instead of keeping: "none"; "dots", all but the results of
      matrix products and convolutions; "dots_without_batch", of products those with a batch axis too,
      such as attention's. A network that rematerialises its blocks does so in any case.
    ema_decay: decay of the moving average of the parameters; None for no average.
    grad_norm: add the gradient's global norm, before clipping, to the metrics. It reads every
      gradient once more, 5 to 10 % of the step of a small network on CPU.
    axis_name: name of the mapped axis inside `pmap` or `shard_map(..., check_vma=False)`, where `batch`
      holds the local rows; None under `jit`, where it holds the global batch. (With its default type
      check, `shard_map` has summed the gradient of replicated parameters already.)
    unroll: write micro-batches that convolve out instead of looping. It takes the memory of all of them, but
      on CPU a loop would be several times slower.
    rows_sharding: how an array (B,) of the batch's rows lies on the devices, under `jit`. What a transform
      makes from its key alone is otherwise made in full on every device, and so is all that follows.

  Returns:
    The step. Its metrics are the objective's, plus `loss` (and `grad_norm`).
  """
  if accumulate < 1:
    raise ValueError(f"accumulate: got {accumulate}, wanted a positive number of micro-batches")
  if remat not in REMAT:
    raise ValueError(f"remat: got {remat!r}, wanted one of {', '.join(REMAT)}")
  if REMAT[remat] is not None:
    objective = jax.checkpoint(objective, policy=REMAT[remat])
  if ema_decay is not None and not 0.0 <= ema_decay < 1.0:
    raise ValueError(f"ema_decay: got {ema_decay}, wanted a number in [0, 1) or None")

  def loss_and_grads(
    params: PyTree, model_state: PyTree, key: jax.Array, batch: PyTree, rows: jax.Array
  ) -> tuple[PyTree, PyTree, Metrics]:
    key_transform, key_objective = jax.random.split(key)
    if transform is not None:
      row_keys = jax.vmap(jax.random.fold_in, (None, 0))(key_transform, rows)
      batch = jax.vmap(transform)(row_keys, batch)
    (loss, (model_state, metrics)), grads = jax.value_and_grad(objective, has_aux=True)(
      params, model_state, key_objective, batch
    )
    return grads, model_state, {"loss": loss, **metrics}

  def accumulated(
    params: PyTree, model_state: PyTree, key: jax.Array, batch: PyTree, rows: jax.Array
  ) -> tuple[PyTree, PyTree, Metrics]:
    # Micro-batch i is rows i, i + n, ...: a batch sharded over devices then needs no resharding.
    split = lambda x: jnp.swapaxes(x.reshape(-1, accumulate, *x.shape[1:]), 0, 1)
    micro = (jax.tree.map(split, batch), split(rows), jax.random.split(key, accumulate))

    def body(carry: PyTree, x: PyTree) -> tuple[PyTree, Metrics]:
      total, model_state = carry
      micro_batch, micro_rows, micro_key = x
      grads, model_state, metrics = loss_and_grads(
        params, model_state, micro_key, micro_batch, micro_rows
      )
      return (jax.tree.map(jnp.add, total, grads), model_state), metrics

    zeros = jax.tree.map(jnp.zeros_like, params)
    shape = lambda lead: lambda x: jax.ShapeDtypeStruct(x.shape[lead:], x.dtype)
    kept = jax.tree.map(shape(0), (params, model_state))
    first, first_rows, first_key = jax.tree.map(shape(1), micro)
    convolves = partial(has_convolution, loss_and_grads, axis_name=axis_name or DATA_AXIS)
    times = accumulate if unroll and convolves(*kept, first_key, first, first_rows) else 1
    (total, model_state), metrics = jax.lax.scan(body, (zeros, model_state), micro, unroll=times)
    grads = jax.tree.map(lambda g: g / accumulate, total)
    return grads, model_state, jax.tree.map(lambda m: jnp.mean(m, axis=0), metrics)

  def train_step(state: TrainState, key: jax.Array, batch: PyTree) -> tuple[TrainState, Metrics]:
    key = jax.random.fold_in(key, state.step)
    num_rows = jax.tree.leaves(batch)[0].shape[0]
    if num_rows % accumulate:
      raise ValueError(
        f"accumulate: got {accumulate}, wanted a divisor of the {num_rows} rows of a batch"
      )
    rows = row_offset(num_rows, axis_name) + jnp.arange(num_rows)
    if rows_sharding is not None:
      rows = jax.lax.with_sharding_constraint(rows, rows_sharding)
    run = loss_and_grads if accumulate == 1 else accumulated
    grads, model_state, metrics = run(state.params, state.model_state, key, batch, rows)
    if axis_name is not None:
      grads, metrics = jax.lax.pmean((grads, metrics), axis_name)
    if grad_norm:
      metrics["grad_norm"] = optax.tree.norm(grads)
    updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    ema_params = state.ema_params
    if ema_decay is not None:
      ema_params = optax.incremental_update(params, ema_params, 1.0 - ema_decay)
    return TrainState(state.step + 1, params, opt_state, model_state, ema_params), metrics

  return train_step
