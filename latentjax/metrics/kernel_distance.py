"""How far apart two sets of features are by a polynomial kernel: the kernel (Inception) distance."""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_float, check_positive_int, check_range, check_rank, wide_dtype
from latentjax.collectives import all_gather_rows
from latentjax.losses._kernel_means import KernelTo, mean_discrepancy
from latentjax.metrics._pairs import safe_sqrt

__all__ = ["KernelDistance", "kernel_distance", "kernel_distance_of_subsets"]


class KernelDistance(NamedTuple):
  """Kernel distance over random subsets, each a scalar.

  Attributes:
    mean: of the estimates of the subsets.
    std: their standard deviation (divisor: number of subsets).
  """

  mean: jax.Array
  std: jax.Array


def kernel_distance(
  features_a: ArrayLike,
  features_b: ArrayLike,
  *,
  degree: int = 3,
  gamma: float | None = None,
  offset: float = 1.0,
  block_size: int = 1024,
  axis_name: str | None = None,
) -> jax.Array:
  r"""Squared maximum mean discrepancy of two sets of features by a polynomial kernel, unbiased.

  .. math::

    \frac{\sum_{i \ne j} k(a_i, a_j)}{N (N - 1)} + \frac{\sum_{i \ne j} k(b_i, b_j)}{M (M - 1)}
    - \frac{2 \sum_{ij} k(a_i, b_j)}{N M}, \qquad k(x, y) = (\gamma x^\top y + c)^p

  With the features of an Inception network it is the KID. Its mean does not depend on the numbers of rows,
  unlike that of `frechet_distance`; it can be negative. All pairs are used, which is what the mean over
  random subsets (`kernel_distance_of_subsets`, the published protocol) tends to as there are more of them.
  The kernel's value at the common mean, which cancels, is left out of the sums: digits that features far
  from the origin would cost are kept.

  Args:
    features_a: features, shape (N, D), N > 1.
    features_b: features, shape (M, D), M > 1.
    degree: p.
    gamma: factor of the product; 1 / D by default.
    offset: c, not negative.
    block_size: rows at a time, which bounds memory to (block_size, max(N, M)).
    axis_name: mapped device axis over which the rows of both are split, inside `pmap` or `shard_map`.

  Returns:
    Scalar, float32 or wider, the same on every device; NaN if a feature is. Gradient flows to both.

  Raises:
    TypeError: if an array is not floating point, or degree or block_size no integer.
    ValueError: if the arrays are not of rank 2 and one width, of less than two rows, or a number is out of
      range.

  Example:
    >>> a, b = jnp.array([[0.0], [2.0]]), jnp.array([[1.0], [1.0]])
    >>> float(kernel_distance(a, b, degree=1))  # 1 + 2 - 2 * 2
    -1.0

  References:
    Binkowski et al., Demystifying MMD GANs, 2018. arXiv:1801.01401
  """
  a, b = _checked(features_a, features_b, degree, gamma, offset)
  check_positive_int(block_size=block_size)
  columns = [all_gather_rows(x, axis_name) for x in (a, b)]
  if min(map(len, columns)) < 2:
    raise ValueError(
      f"features_a and features_b must have at least 2 rows, got {len(columns[0])} and {len(columns[1])}"
    )
  kernel_to = _polynomial(jnp.mean(jnp.concatenate(columns), axis=0), degree, gamma, offset)
  return mean_discrepancy(
    a, b, kernel_to, unbiased=True, axis_name=axis_name, block_size=block_size
  )


def kernel_distance_of_subsets(
  key: jax.Array,
  features_a: ArrayLike,
  features_b: ArrayLike,
  *,
  num_subsets: int = 100,
  subset_size: int = 1000,
  degree: int = 3,
  gamma: float | None = None,
  offset: float = 1.0,
) -> KernelDistance:
  r"""Mean and spread of `kernel_distance` over random subsets: the published protocol.

  .. math:: d_s = \mathrm{KD}(a_{I_s}, b_{J_s}), \qquad I_s, J_s \text{ drawn without replacement}

  The mean estimates what `kernel_distance` of all rows gives exactly. The deviation is that of a
  subset, not the standard error of the mean: subsets share rows.

  Args:
    key: random key.
    features_a: features, shape (N, D).
    features_b: features, shape (M, D).
    num_subsets: how many.
    subset_size: rows of each, at least 2 and at most N and M.
    degree: p of the kernel.
    gamma: factor of the product; 1 / D by default.
    offset: c, not negative.

  Returns:
    KernelDistance, float32 or wider; NaN if a feature that is drawn is. Gradient flows to both arrays;
    that of a deviation of 0 is 0.

  Raises:
    TypeError: if an array is not floating point, or a number no integer.
    ValueError: if the arrays are not of rank 2 and one width or have less rows than a subset, or a number
      is out of range.

  Example:
    >>> a = jnp.arange(8.0).reshape(4, 2)
    >>> found = kernel_distance_of_subsets(jax.random.key(0), a, a, subset_size=3)
    >>> found.mean.shape, found.std.shape
    ((), ())

  References:
    Binkowski et al., Demystifying MMD GANs, 2018. arXiv:1801.01401
  """
  a, b = _checked(features_a, features_b, degree, gamma, offset)
  check_positive_int(num_subsets=num_subsets, subset_size=subset_size)
  if not 2 <= subset_size <= min(len(a), len(b)):
    raise ValueError(
      f"subset_size must be at least 2 and at most the numbers of rows, {len(a)} and {len(b)}, "
      f"got {subset_size}"
    )
  kernel_to = _polynomial(jnp.mean(jnp.concatenate([a, b]), axis=0), degree, gamma, offset)

  def of_subset(key: jax.Array) -> jax.Array:
    rows_a, rows_b = (
      x[jax.random.choice(k, len(x), (subset_size,), replace=False)]
      for k, x in zip(jax.random.split(key), (a, b))
    )
    return mean_discrepancy(
      rows_a, rows_b, kernel_to, unbiased=True, axis_name=None, block_size=None
    )

  found = jax.lax.map(of_subset, jax.random.split(key, num_subsets))
  return KernelDistance(jnp.mean(found), safe_sqrt(jnp.var(found)))


def _checked(
  features_a: ArrayLike, features_b: ArrayLike, degree: int, gamma: float | None, offset: float
) -> list[jax.Array]:
  arrays = {"features_a": features_a, "features_b": features_b}
  check_float(**arrays)
  check_rank(2, **arrays)
  check_positive_int(degree=degree)
  check_range(0.0, math.inf, strict=True, gamma=1.0 if gamma is None else gamma)
  check_range(0.0, offset=offset)
  shapes = [jnp.shape(x) for x in arrays.values()]
  if shapes[0][1] != shapes[1][1]:
    raise ValueError(
      f"features_a and features_b must have the same width, got {shapes[0]} and {shapes[1]}"
    )
  dtype = wide_dtype(features_a, features_b)
  return [jnp.asarray(x, dtype) for x in arrays.values()]


def _polynomial(centre: jax.Array, degree: int, gamma: float | None, offset: float) -> KernelTo:
  """The kernel less its value at the centre, by powers of what differs from it."""
  centre = jax.lax.stop_gradient(centre)  # the discrepancy does not depend on it
  gamma = 1 / centre.shape[0] if gamma is None else gamma
  base = gamma * jnp.dot(centre, centre, precision="highest") + offset

  def kernel_to(columns: jax.Array) -> Callable[[jax.Array], jax.Array]:
    columns = columns - centre
    along = jnp.matmul(columns, centre, precision="highest")

    def values(points: jax.Array) -> jax.Array:
      points = points - centre
      products = jnp.matmul(points, columns.T, precision="highest") + along
      rise = gamma * (products + jnp.matmul(points, centre, precision="highest")[..., None])
      powers = jnp.zeros_like(rise)
      for i in range(degree, 0, -1):  # Horner's scheme of (base + rise)^p - base^p
        powers = rise * (math.comb(degree, i) * base ** (degree - i) + powers)
      return powers

    return values

  return kernel_to
