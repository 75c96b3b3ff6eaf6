"""Sums of exp(s_ij) and of log(1 + exp(s_ij)) over pairs of rows, in tiles, with exact gradients.

The score of rows i and j is s_ij = scale x_i . y_j + bias. Forward keeps one sum per row (and, if
wanted, per column). Backward makes every tile again and turns it into dL / ds_ij by means of those
sums, with no reduction of its own; so no (B, B) array exists in either.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from latentjax.checks import wide_dtype
from latentjax.collectives import device_mean
from latentjax.losses.contrastive._sweep import over_tiles
from latentjax.losses.contrastive._tiles import (
  Operands,
  Tiling,
  prepare,
  product,
)

LOG_ZERO = -1e30  # the log of an empty sum; finite, so that the difference of two is
Views = Sequence[ArrayLike]


def check_two_rows(axis_name: str | None, **arrays: ArrayLike) -> None:
  """Refuses arrays that have a single row on all devices together, and so no pair of them.

  Raises:
    ValueError: naming the first such array.
  """
  num_devices = 1 if axis_name is None else jax.lax.axis_size(axis_name)
  for name, array in arrays.items():
    if num_devices * jnp.shape(array)[0] < 2:
      raise ValueError(f"{name} must have at least 2 rows, got shape {jnp.shape(array)}")


def pair_scores(x: ArrayLike, y: ArrayLike, scale: ArrayLike) -> jax.Array:
  """scale x_i . y_i, shape (B,), in float32 or wider."""
  dtype = wide_dtype(x, y)
  products = jnp.sum(jnp.asarray(x, dtype) * jnp.asarray(y, dtype), axis=-1)
  return jnp.asarray(scale, dtype) * products


def log_sums(
  x: Views,
  y: Views,
  scale: ArrayLike,
  *,
  axis_name: str | None,
  block_size: int | None,
  half: bool = False,
  both: bool = False,
) -> tuple[jax.Array, jax.Array]:
  """log sum_j exp(s_ij) for every row i and, if `both`, log sum_i exp(s_ij) for every column j.

  Over the pairs that `_tiles` counts, on all devices; a sum over no pair is LOG_ZERO. Shapes (views,
  rows of this device); without `both` the second is empty.
  """
  tiling, operands = prepare(x, y, scale, axis_name=axis_name, block_size=block_size, half=half)
  rows, columns = _log_sums(tiling, both, operands)
  rows = tiling.join(rows)[:, 0]
  if not both:
    return rows, jnp.zeros_like(rows[:0])
  columns = tiling.join(columns)
  if axis_name is not None and tiling.ring is None:
    # This device has summed its own rows, for the columns of all: swap with them and add up.
    columns = jax.lax.all_to_all(columns, axis_name, split_axis=1, concat_axis=1)
  return rows, jax.nn.logsumexp(columns, axis=1)


def log_potentials(
  x: ArrayLike,
  y: ArrayLike,
  t: ArrayLike,
  *,
  axis_name: str | None,
  block_size: int | None,
) -> jax.Array:
  """log sum_j exp(-t |x_i - y_j|^2) over j != i of all devices, shape (rows of this device,)."""
  dtype = wide_dtype(x, y)
  x, y = (jnp.asarray(array, dtype) for array in (x, y))
  # Distances become differences of squares, which lose their digits far from the origin.
  middle = (jnp.mean(x, axis=0) + jnp.mean(y, axis=0)) / 2
  centre = device_mean(jax.lax.stop_gradient(middle), axis_name)
  x, y = x - centre, y - centre
  half = lambda array: -0.5 * jnp.sum(jnp.square(array), axis=1, keepdims=True)
  ones = jnp.ones_like(half(x))
  # Products of these rows and columns are -|x_i - y_j|^2 / 2.
  rows, columns = jnp.hstack([x, half(x), ones]), jnp.hstack([y, ones, half(y)])
  scale = 2 * jnp.asarray(t)
  (sums,), _ = log_sums([rows], [columns], scale, axis_name=axis_name, block_size=block_size)
  return sums


def softplus_sums(
  x: Views,
  y: Views,
  scale: ArrayLike,
  bias: ArrayLike,
  *,
  axis_name: str | None,
  block_size: int | None,
) -> jax.Array:
  """sum_j log(1 + exp(s_ij)) for every row i, shape (views, rows of this device)."""
  tiling, operands = prepare(x, y, scale, bias, axis_name=axis_name, block_size=block_size)
  return tiling.join(_softplus_sums(tiling, operands))[:, 0]


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _log_sums(tiling: Tiling, both: bool, operands: Operands) -> tuple[jax.Array, jax.Array]:
  """Log sums of rows (row tiles, size) and of columns (column tiles, size), or of no columns."""
  # Largest score so far, and the sum relative to it.
  empty = lambda tiles: (
    operands.zeros(*tiles.shape[:2]) + LOG_ZERO,
    operands.zeros(*tiles.shape[:2]),
  )

  def visit(
    rows: tuple, columns: tuple, _: Any, __: Any, ___: Any, ____: Any, scores: jax.Array
  ) -> tuple[tuple, tuple]:
    return _add(rows, scores, axis=1), _add(columns, scores, axis=0) if both else ()

  columns = empty(operands.columns) if both else ()
  rows, columns = over_tiles(tiling, visit, operands, empty(operands.rows), columns)
  log = lambda top, total: top + jnp.log(jnp.where(total > 0, total, 1.0))
  return log(*rows), log(*columns) if both else operands.zeros(0, 0)


def _add(sums: tuple, scores: jax.Array, axis: int) -> tuple[jax.Array, jax.Array]:
  """Adds exp(scores) along an axis to sums total * exp(top)."""
  top, total = sums
  new = jnp.maximum(top, jnp.max(scores, axis=axis))
  terms = jnp.exp(scores - jnp.expand_dims(new, axis))
  return new, total * jnp.exp(top - new) + jnp.sum(terms, axis=axis)


def _log_sums_forward(tiling: Tiling, both: bool, operands: Operands) -> tuple[Any, tuple]:
  sums = _log_sums(tiling, both, operands)
  return sums, (operands, *sums)


def _log_sums_backward(tiling: Tiling, both: bool, residuals: tuple, grads: tuple) -> tuple:
  operands, rows, columns = residuals

  def weigh(of_rows: tuple, of_columns: tuple, scores: jax.Array) -> jax.Array:
    log_sum, grad = of_rows
    weights = grad[:, None] * jnp.exp(scores - log_sum[:, None])
    if both:
      log_sum, grad = of_columns
      weights += grad * jnp.exp(scores - log_sum)
    return weights

  of_columns = (columns, grads[1]) if both else ()
  return _pull_back(tiling, weigh, operands, (rows, grads[0]), of_columns)


_log_sums.defvjp(_log_sums_forward, _log_sums_backward)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _softplus_sums(tiling: Tiling, operands: Operands) -> jax.Array:
  """Sums of rows in tiles, (row tiles, size)."""

  def visit(
    rows: jax.Array, columns: Any, _: Any, __: Any, ___: Any, ____: Any, scores: jax.Array
  ) -> tuple[jax.Array, Any]:
    return rows + jnp.sum(jax.nn.softplus(scores), axis=1), columns

  return over_tiles(tiling, visit, operands, operands.zeros(*operands.rows.shape[:2]), ())[0]


def _softplus_sums_forward(tiling: Tiling, operands: Operands) -> tuple[jax.Array, Operands]:
  return _softplus_sums(tiling, operands), operands


def _softplus_sums_backward(tiling: Tiling, operands: Operands, grad: jax.Array) -> tuple:
  def weigh(grad: jax.Array, _: Any, scores: jax.Array) -> jax.Array:
    return grad[:, None] * jax.nn.sigmoid(scores)

  return _pull_back(tiling, weigh, operands, grad, bias=True)


_softplus_sums.defvjp(_softplus_sums_forward, _softplus_sums_backward)


def _pull_back(
  tiling: Tiling,
  weigh: Callable,
  operands: Operands,
  row_inputs: Any,
  column_inputs: Any = (),
  *,
  bias: bool = False,
) -> tuple[Operands]:
  """Gradient of the operands, from the weights dL / ds_ij (size, size) of every tile."""

  def visit(
    rows: tuple,
    columns: jax.Array,
    row_inputs: Any,
    column_inputs: Any,
    flipped: jax.Array,
    column_tile: jax.Array,
    scores: jax.Array,
  ) -> tuple[tuple, jax.Array]:
    sums, totals = rows
    weights = weigh(row_inputs, column_inputs, scores)
    totals = totals + jnp.sum(weights, axis=1) if bias else totals
    weights = weights.astype(flipped.dtype)
    # (D, size), so that the small factor is transposed and not the weights.
    return (sums + product(weights, column_tile), totals), columns + product(flipped, weights)

  num_tiles, size, dim = operands.rows.shape
  empty = operands.zeros(num_tiles, size, dim), operands.zeros(num_tiles, size)
  columns = operands.zeros(len(operands.columns), dim, operands.columns.shape[1])
  (rows, totals), columns = over_tiles(
    tiling, visit, operands, empty, columns, row_inputs, column_inputs
  )
  no_grads: Any = (np.zeros(array.shape, jax.dtypes.float0) for array in operands[4:])
  grads = Operands(
    (operands.scale * rows).astype(operands.rows.dtype),
    (operands.scale * jnp.swapaxes(columns, 1, 2)).astype(operands.columns.dtype),
    jnp.sum(rows * operands.rows),
    jnp.sum(totals),
    *no_grads,
  )
  return (grads,)
