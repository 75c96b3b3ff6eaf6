"""Calibration of the clipping range: by extremes, percentiles, squared error, and running averages."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import (
  check_float,
  check_not_empty,
  check_positive_int,
  check_range,
  wide_dtype,
)
from latentjax.quantizers.network._bits import check_bits
from latentjax.quantizers.network.affine import affine_grid, fake_quantize

__all__ = [
  "ClippingRange",
  "MovingRange",
  "init_moving_range",
  "minmax_range",
  "mse_range",
  "percentile_range",
  "update_moving_range",
]

Axes = int | tuple[int, ...] | None


class ClippingRange(NamedTuple):
  """The numbers between which a quantiser resolves; `affine_grid(*range)` takes it.

  Attributes:
    low: alpha, shape (), or that of what was calibrated with 1 for the axes that share a range.
    high: beta, the same.
  """

  low: jax.Array
  high: jax.Array


class MovingRange(NamedTuple):
  """Running average of the extremes of batches.

  Attributes:
    low: average of the smallest numbers, the shape of a `ClippingRange`.
    high: average of the largest, the same.
    num_batches: int32, shape ().
  """

  low: jax.Array
  high: jax.Array
  num_batches: jax.Array


def minmax_range(x: ArrayLike, *, axis: Axes = None) -> ClippingRange:
  r"""Clipping range by the extremes.

  .. math:: \alpha = \min x, \qquad \beta = \max x

  Args:
    x: weights or activations, any shape.
    axis: axes that share a range; None: all (per tensor). A matrix (K, N) whose N outputs have their
      own (per channel): 0. Groups of rows: reshape to (K / G, G, N) first, then 1.

  Returns:
    The range, float32 or wider, nan if there is one in x. Detached.

  Raises:
    TypeError: if x is not floating point.

  Example:
    >>> minmax_range(jnp.array([[1.0, 5.0], [2.0, -3.0]]), axis=0).low.tolist()
    [[1.0, -3.0]]

  References:
    Gholami et al., A Survey of Quantization Methods for Efficient Neural Network Inference, 2021.
      arXiv:2103.13630
  """
  x = _wide(x)
  keep = axis is not None
  return ClippingRange(jnp.min(x, axis, keepdims=keep), jnp.max(x, axis, keepdims=keep))


def percentile_range(
  x: ArrayLike, *, percentile: ArrayLike = 99.9, axis: Axes = None
) -> ClippingRange:
  r"""Clipping range that leaves out outliers at both ends.

  .. math:: \alpha = F^{-1}(1 - p / 100), \qquad \beta = F^{-1}(p / 100)

  with the empirical distribution function F, interpolated linearly.

  Args:
    x: weights or activations, any shape.
    percentile: p, from 50 to 100. Can be traced.
    axis: axes that share a range, see `minmax_range`.

  Returns:
    The range, float32 or wider, nan if there is one in x. Detached.

  Raises:
    TypeError: if x is not floating point.
    ValueError: if percentile is out of range.

  Example:
    >>> low, high = percentile_range(jnp.arange(101.0), percentile=90.0)
    >>> round(float(low), 3), round(float(high), 3)
    (10.0, 90.0)

  References:
    McKinstry et al., Discovering Low-Precision Networks Close to Full-Precision Networks for
      Efficient Embedded Inference, 2018. arXiv:1809.04191
  """
  check_range(50, 100, percentile=percentile)
  x = _wide(x)
  share = jnp.asarray(percentile, x.dtype) / 100
  at = jnp.stack([1 - share, share])
  return ClippingRange(*jnp.quantile(x, at, axis=axis, keepdims=axis is not None))


def mse_range(
  x: ArrayLike,
  *,
  bits: ArrayLike = 8,
  symmetric: bool = False,
  axis: Axes = None,
  num_candidates: int = 100,
) -> ClippingRange:
  r"""Clipping range of the smallest squared error.

  .. math:: \min_{t \in \{1/n, 2/n, \ldots, 1\}} \sum_i (Q_t(x_i) - x_i)^2

  where Q_t clips at t times the extremes; both ends are drawn in by one factor.

  Args:
    x: weights or activations, any shape.
    bits: of the grid. Can be traced.
    symmetric: whether the grid is symmetric, see `affine_grid`.
    axis: axes that share a range, see `minmax_range`.
    num_candidates: n, factors that are tried, one after the other.

  Returns:
    The range, float32 or wider; the widest of those that are equally good. Detached.

  Raises:
    TypeError: if x is not floating point, or bits or num_candidates not an integer.
    ValueError: if bits or num_candidates is out of range.

  Example:
    >>> x = jnp.concatenate([jnp.linspace(-1.0, 1.0, 1000), jnp.array([9.0])])
    >>> float(mse_range(x, bits=3, symmetric=True).high) < 3.0
    True

  References:
    Gholami et al., A Survey of Quantization Methods for Efficient Neural Network Inference, 2021.
      arXiv:2103.13630
  """
  check_bits(bits)
  check_positive_int(num_candidates=num_candidates)
  x = _wide(x)
  widest = minmax_range(x, axis=axis)

  def error(factor: jax.Array) -> jax.Array:
    grid = affine_grid(factor * widest.low, factor * widest.high, bits=bits, symmetric=symmetric)
    return jnp.sum(jnp.square(fake_quantize(x, grid) - x), axis, keepdims=axis is not None)

  factors = jnp.arange(num_candidates, 0, -1, dtype=x.dtype) / num_candidates
  best = factors[jnp.argmin(jax.lax.map(error, factors), axis=0)]
  return ClippingRange(best * widest.low, best * widest.high)


def init_moving_range(*, shape: tuple[int, ...] = ()) -> MovingRange:
  r"""Running range of no batches.

  .. math:: \alpha = \beta = 0, \qquad n = 0

  Args:
    shape: () for one range; for one per feature of activations (B, D): (1, D).

  Returns:
    The state, float32.

  Raises:
    ValueError: if the shape has a negative number.

  Example:
    >>> init_moving_range(shape=(1, 3)).low.shape
    (1, 3)

  References:
    Jacob et al., Quantization and Training of Neural Networks for Efficient
      Integer-Arithmetic-Only Inference, 2018. arXiv:1712.05877
  """
  if any(size < 0 for size in shape):
    raise ValueError(f"shape must not have negative numbers, got {shape}")
  return MovingRange(jnp.zeros(shape), jnp.zeros(shape), jnp.int32(0))


def update_moving_range(
  state: MovingRange,
  x: ArrayLike,
  *,
  decay: ArrayLike = 0.99,
  axis: Axes = None,
  axis_name: str | None = None,
) -> MovingRange:
  r"""Running range after a batch.

  .. math:: \alpha \leftarrow m \alpha + (1 - m) \min x, \qquad \beta \leftarrow m \beta + (1 - m) \max x

  The first batch sets both. `affine_grid(state.low, state.high)` is the grid.

  Args:
    state: before the batch.
    x: activations of the batch, any shape.
    decay: m, from 0 to 1. Can be traced.
    axis: axes that share a range, the batch's among them; None: all.
    axis_name: mapped device axis over which the batch is split, inside `pmap` or `shard_map`.

  Returns:
    The next state, with the extremes of all devices, the same on each. Detached.

  Raises:
    TypeError: if x is not floating point.
    ValueError: if decay is out of range, or the extremes are not of the state's shape.

  Example:
    >>> state = MovingRange(jnp.float32(-1.0), jnp.float32(1.0), jnp.int32(1))
    >>> update_moving_range(state, jnp.array([-3.0, 5.0]), decay=0.5)[:2]
    (Array(-2., dtype=float32), Array(3., dtype=float32))

  References:
    Jacob et al., Quantization and Training of Neural Networks for Efficient
      Integer-Arithmetic-Only Inference, 2018. arXiv:1712.05877
  """
  check_range(0, 1, decay=decay)
  ends = minmax_range(x, axis=axis)
  if ends.low.shape != jnp.shape(state.low):
    raise ValueError(
      f"state must have the shape of x's extremes, {ends.low.shape}, got {jnp.shape(state.low)}"
    )
  if axis_name is not None:
    ends = ClippingRange(jax.lax.pmin(ends[0], axis_name), jax.lax.pmax(ends[1], axis_name))
  keep = jnp.where(state.num_batches == 0, 0, decay)
  pairs = zip(jax.lax.stop_gradient(state[:2]), ends)
  low, high = ((keep * old + (1 - keep) * new).astype(old.dtype) for old, new in pairs)
  return MovingRange(low, high, state.num_batches + 1)


def _wide(x: ArrayLike) -> jax.Array:
  check_float(x=x)
  check_not_empty(x=x)
  return jax.lax.stop_gradient(jnp.asarray(x, wide_dtype(x)))
