"""Whether two samples come from the same distribution: the kernel two-sample test."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_float, check_positive_int, check_rank, wide_dtype
from latentjax.distances import squared_distances
from latentjax.losses._kernel_means import KernelTo, distance_kernel

__all__ = ["PermutationTest", "maximum_mean_discrepancy"]

_BANDWIDTH_ROWS = 500


class PermutationTest(NamedTuple):
  """A statistic of two samples and where it lies among those of permuted samples.

  Attributes:
    statistic: of the samples, shape ().
    p_value: share of permutations, the given order counted as one, that reach the statistic, shape ().
    null: the statistic of every permutation, shape (P,).
  """

  statistic: jax.Array
  p_value: jax.Array
  null: jax.Array


def maximum_mean_discrepancy(
  key: jax.Array,
  x: ArrayLike,
  y: ArrayLike,
  *,
  kernel: str = "rbf",
  bandwidths: tuple[float, ...] | None = None,
  num_permutations: int = 500,
  block_size: int = 1024,
) -> PermutationTest:
  r"""Squared maximum mean discrepancy of two samples, unbiased, with a permutation test.

  .. math::

    \mathrm{MMD}^2 = \frac{\sum_{i \ne j} k(x_i, x_j)}{N (N - 1)}
    + \frac{\sum_{i \ne j} k(y_i, y_j)}{M (M - 1)} - \frac{2 \sum_{ij} k(x_i, y_j)}{N M}, \qquad
    p = \frac{1 + \#\{\pi : \mathrm{MMD}^2_\pi \ge \mathrm{MMD}^2\}}{1 + P}

  The statistic is that of `losses.elbo.mmd`. If both samples are of one distribution, p is at most a level
  with at most that probability, at any size; by default the bandwidth is the median of the squared distances
  of 500 rows drawn from both samples together (all if there are fewer), which does not depend on which is
  whose.

  Args:
    key: random key.
    x: one sample, shape (N, D), N > 1.
    y: the other, shape (M, D), M > 1.
    kernel: "rbf", the sum over h of exp(-d / 2h), or "imq", of h / (h + d), of the squared distance d.
    bandwidths: the h, each positive, a squared length.
    num_permutations: P; the smallest p is 1 / (1 + P).
    block_size: rows whose kernel with all others is held at once; memory is that and P (N + M) numbers.

  Returns:
    PermutationTest, float32 or wider; NaN if an entry is. Detached.

  Raises:
    TypeError: if a sample is not floating point, or a number no integer.
    ValueError: if a sample is not of rank 2 or has less than two rows, their widths differ, the kernel is
      unknown or a number is not positive.

  Example:
    >>> x = jax.random.normal(jax.random.key(0), (20, 2))
    >>> test = maximum_mean_discrepancy(jax.random.key(1), x, x + 5.0, num_permutations=99)
    >>> round(float(test.p_value), 3)
    0.01

  References:
    Gretton et al., A Kernel Two-Sample Test, 2012.
    Phipson and Smyth, Permutation P-values Should Never Be Zero, 2010. arXiv:1603.05766
  """
  x, y = as_two_samples(x, y)
  check_positive_int(num_permutations=num_permutations, block_size=block_size)
  key_bandwidth, key_order = jax.random.split(key)
  pooled = jnp.concatenate([x, y])
  widths = _median_distance(key_bandwidth, pooled) if bandwidths is None else tuple(bandwidths)
  is_x = jnp.arange(len(pooled)) < len(x)
  orders = jax.vmap(lambda key: jax.random.permutation(key, is_x))(
    jax.random.split(key_order, num_permutations)
  )
  members = jnp.concatenate([is_x[None], orders]).astype(pooled.dtype)
  found = _statistics(pooled, members, len(x), distance_kernel(kernel, widths), block_size)
  statistic, null = found[0], found[1:]
  p_value = (1 + jnp.sum(null >= statistic)) / (1 + num_permutations)
  return PermutationTest(statistic, jnp.where(jnp.isnan(statistic), jnp.nan, p_value), null)


def _statistics(
  pooled: jax.Array, members: jax.Array, num_x: int, kernel_to: KernelTo, block_size: int
) -> jax.Array:
  """The estimate for every assignment (P, N + M) of rows to the first sample, from one pass over K."""
  kernel, num_rows = kernel_to(pooled), len(pooled)

  def row(inputs: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
    point, index = inputs
    # About a constant, which cancels: sums of near-equal numbers would lose digits.
    centred = jnp.where(jnp.arange(num_rows) == index, 0, kernel(point) - level)
    return jnp.sum(centred), jnp.matmul(members, centred, precision="highest")

  level = jnp.mean(kernel(pooled[0]))
  to_all, to_members = jax.lax.map(row, (pooled, jnp.arange(num_rows)), batch_size=block_size)
  within_x = jnp.sum(members * to_members.T, axis=1)
  from_x = jnp.matmul(members, to_all, precision="highest")
  across = from_x - within_x
  within_y = jnp.sum(to_all) - from_x - across
  num_y = num_rows - num_x
  means = within_x / (num_x * (num_x - 1)), within_y / (num_y * (num_y - 1))
  return means[0] + means[1] - 2 * across / (num_x * num_y)


def _median_distance(key: jax.Array, pooled: jax.Array) -> jax.Array:
  if len(pooled) > _BANDWIDTH_ROWS:
    pooled = pooled[jax.random.choice(key, len(pooled), (_BANDWIDTH_ROWS,), replace=False)]
  squared = squared_distances(pooled, pooled, exact=True)
  pairs = jnp.triu_indices(len(pooled), 1)
  median = jnp.median(squared[pairs])
  return jnp.where(median > 0, median, 1)[None]  # of rows that are all equal any will do


def as_two_samples(x: ArrayLike, y: ArrayLike) -> tuple[jax.Array, jax.Array]:
  """Both in float32 or wider and detached, of one width, with at least two rows."""
  check_float(x=x, y=y)
  check_rank(2, x=x, y=y)
  shapes = jnp.shape(x), jnp.shape(y)
  if shapes[0][1] != shapes[1][1]:
    raise ValueError(f"x and y must have the same width, got {shapes[0]} and {shapes[1]}")
  if min(shapes[0][0], shapes[1][0]) < 2:
    raise ValueError(f"x and y must have at least two rows, got {shapes[0]} and {shapes[1]}")
  dtype = wide_dtype(x, y)
  detach = lambda z: jax.lax.stop_gradient(jnp.asarray(z, dtype))
  return detach(x), detach(y)
