"""Number of dimensions that data vary in, from how distances to neighbours grow."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_choice, check_range
from latentjax.collectives import all_gather_rows, device_mean
from latentjax.metrics._neighbours import nearest_neighbours

__all__ = ["mle_intrinsic_dimension", "two_nn"]


def two_nn(
  z: ArrayLike,
  *,
  discard_fraction: float = 0.1,
  block_size: int = 1024,
  axis_name: str | None = None,
) -> jax.Array:
  r"""Intrinsic dimension from the ratio of the distances to the two nearest neighbours.

  .. math::

    d = \frac{\sum_i u_i v_i}{\sum_i u_i^2}, \qquad u_i = \log \mu_{(i)}, \quad
    v_i = -\log\Big(1 - \frac{i}{N}\Big), \quad \mu = r_2 / r_1

  the slope through the origin of what is a line where the density is constant over two neighbours: P(mu
  > m) = m^(-d). The share of the largest ratios is left out, for which that holds least. Points that
  have a copy (r_1 = 0) are left out. Noise raises the estimate at small scales, and few points lower it
  where d is large.

  Args:
    z: points, shape (N, D), N >= 3.
    discard_fraction: share of the ratios left out, in (0, 1).
    block_size: rows whose distances are held at once.
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`.

  Returns:
    A scalar, float32 or wider, the same on every device; NaN if less than two points are left, infinite
    if all ratios are 1, as on a grid. Detached.

  Raises:
    TypeError: if z is not floating point or block_size not an integer.
    ValueError: if z is not of rank 2, has fewer than 3 rows, or a number is out of range.

  Example:
    >>> z = jax.random.uniform(jax.random.key(0), (500, 2)) @ jnp.eye(2, 5)
    >>> 1.7 < float(two_nn(z)) < 2.3
    True

  References:
    Facco, d'Errico, Rodriguez & Laio, Estimating the Intrinsic Dimension of Datasets by a Minimal
      Neighborhood Information, 2017. arXiv:1803.06992
  """
  check_range(0.0, 1.0, strict=True, discard_fraction=discard_fraction)
  distances, _ = nearest_neighbours(z, 2, block_size, axis_name)
  near, far = all_gather_rows(distances, axis_name).T
  valid = near > 0
  count = jnp.sum(valid)
  # A little more than the product, whose rounding must not cost a point; of the last one v is infinite.
  kept = jnp.minimum(jnp.floor(count * (1 - discard_fraction) + 1e-3), count - 1)
  log_ratio = jnp.sort(jnp.where(valid, jnp.log(far / jnp.where(valid, near, 1)), jnp.inf))
  rank = jnp.arange(1, len(near) + 1)
  counts = rank <= kept
  u = jnp.where(counts, log_ratio, 0)
  v = jnp.where(counts, -jnp.log1p(-jnp.where(counts, rank / jnp.maximum(count, 1), 0)), 0)
  slope = jnp.sum(u * v) / jnp.sum(jnp.square(u))
  slope = jnp.where(jnp.sum(u) > 0, slope, jnp.inf)
  return jnp.where((kept > 0) & ~jnp.any(jnp.isnan(near)), slope, jnp.nan).astype(near.dtype)


def mle_intrinsic_dimension(
  z: ArrayLike,
  *,
  num_neighbours: int = 20,
  average: str = "inverse",
  block_size: int = 1024,
  axis_name: str | None = None,
) -> jax.Array:
  r"""Intrinsic dimension by maximum likelihood, from the distances to the k nearest neighbours.

  .. math::

    \hat d = \Big(\frac1N \sum_i \hat d_i^{-1}\Big)^{-1}, \qquad
    \hat d_i^{-1} = \frac{1}{k - 1} \sum_{j=1}^{k - 1} \log \frac{r_{ik}}{r_{ij}}

  The mean of inverses is MacKay and Ghahramani's correction: the maximum of the likelihood of all
  points together, hardly biased for small k. Levina and Bickel's own mean of the estimates d_i, which
  is biased upwards, is average="mean". Points that have a copy (r_1 = 0) are left out.

  Args:
    z: points, shape (N, D), N > k.
    num_neighbours: k, at least 2. Small: the density need not be constant far; large: less variance.
    average: "inverse" or "mean".
    block_size: rows whose distances are held at once.
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`.

  Returns:
    A scalar, float32 or wider, the same on every device; NaN if every point has a copy. Detached.

  Raises:
    TypeError: if z is not floating point or a size is not an integer.
    ValueError: if z is not of rank 2, has no more than k rows, k is below 2, or a choice is unknown.

  Example:
    >>> z = jax.random.uniform(jax.random.key(0), (500, 2)) @ jnp.eye(2, 5)
    >>> 1.7 < float(mle_intrinsic_dimension(z)) < 2.3
    True

  References:
    Levina & Bickel, Maximum Likelihood Estimation of Intrinsic Dimension, 2004, eq. 8.
    MacKay & Ghahramani, Comments on "Maximum Likelihood Estimation of Intrinsic Dimension", 2005.
  """
  check_choice(("inverse", "mean"), average=average)
  check_range(2, num_neighbours=num_neighbours)
  distances, _ = nearest_neighbours(z, num_neighbours, block_size, axis_name)
  valid = distances[:, 0] > 0
  logs = jnp.log(jnp.where(valid[:, None], distances, 1))
  inverse = jnp.sum(logs[:, -1:] - logs, axis=1) / (num_neighbours - 1)
  values = inverse if average == "inverse" else 1 / jnp.where(valid, inverse, 1)
  total = device_mean(jnp.mean(jnp.where(valid, values, 0)), axis_name)
  mean = total / device_mean(jnp.mean(valid.astype(total.dtype)), axis_name)
  mean = jnp.where(jnp.isnan(distances).any(), jnp.nan, mean)
  return 1 / mean if average == "inverse" else mean
