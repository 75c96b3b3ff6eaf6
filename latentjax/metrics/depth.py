"""Statistical depth of embeddings: how central each is, and whether two sets differ in it."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_float, check_rank, wide_dtype
from latentjax.collectives import all_gather_rows, device_mean
from latentjax.losses.contrastive import l2_normalize
from latentjax.metrics._pairs import num_rows
from latentjax.metrics._ranks import average_ranks

__all__ = ["DepthRankSum", "depth_rank_sum", "tte_depth"]


class DepthRankSum(NamedTuple):
  """Whether a second set of embeddings lies less deep in the first than the first itself, scalars.

  Attributes:
    q: share of pairs (x, y) with D(x) <= D(y), equality counted half, in [0, 1]: 0.5 if the sets are
      alike, below it if the second lies further out.
    statistic: standardised rank sum of the first set, positive if q is below 0.5.
    p_value: probability of as large a statistic if the sets are alike (one-sided).
  """

  q: jax.Array
  statistic: jax.Array
  p_value: jax.Array


def tte_depth(
  z: ArrayLike, reference: ArrayLike, *, own: bool = False, axis_name: str | None = None
) -> jax.Array:
  r"""Depth of embeddings in a set of embeddings (TTE depth): 2 minus their mean cosine distance.

  .. math:: D_F(z) = 2 - \frac1N \sum_{f \in F} (1 - \cos(z, f)) = 1 + \bar z^\top \frac1N \sum_f \bar f

  with unit vectors, in O(N D): the order of depth is that of the cosine with the mean direction. The
  deepest embedding is the set's most representative one.

  Args:
    z: embeddings of any norm, shape (B, D).
    reference: F, embeddings of any norm, shape (N, D).
    own: whether z is F itself, row by row: then no embedding counts for its own depth, the mean is over
      the N - 1 others.
    axis_name: mapped device axis over which the rows of both are split, inside `pmap` or `shard_map`.

  Returns:
    Depths in [0, 2], shape (B,), float32 or wider. Gradient flows to both.

  Raises:
    TypeError: if an array is not floating point.
    ValueError: if the arrays are not of rank 2 and one width, or `own` and their rows are not as many
      or just one.

  Example:
    >>> z = jnp.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    >>> int(jnp.argmax(tte_depth(z, z, own=True)))
    2

  References:
    Seegmiller & Preum, Statistical Depth for Ranking and Characterizing Transformer-Based Text
      Embeddings, 2023. arXiv:2310.15010
  """
  z, reference = _embeddings(z=z, reference=reference)
  size = num_rows(len(reference), axis_name)
  total = size * device_mean(jnp.mean(reference, axis=0), axis_name)
  cosines = jnp.matmul(z, total, precision="highest")
  if not own:
    return 1 + cosines / size
  if z.shape != reference.shape or size < 2:
    raise ValueError(
      f"z must be the reference, of at least 2 rows, got {z.shape} and {reference.shape}"
    )
  return 1 + (cosines - jnp.sum(jnp.square(z), axis=1)) / (size - 1)


def depth_rank_sum(x: ArrayLike, y: ArrayLike, *, axis_name: str | None = None) -> DepthRankSum:
  r"""Wilcoxon rank-sum test of whether y lies further out in x than x does.

  .. math::

    Q = P(D_x(X) \le D_x(Y)), \qquad
    \frac{W - N (N + M + 1) / 2}{\sqrt{N M (N + M + 1) / 12}}, \qquad
    W = \sum_{i \le N} \mathrm{rank}\big(D_x(x_i)\big)

  by `tte_depth` in x of x's own embeddings and of y's; equal depths share their mean rank. The p-value
  is that of the normal approximation, without a correction for ties, as scipy's `ranksums` has it;
  for two-sided use take 2 min(p, 1 - p). It sees where y lies relative to the centre of x alone: a
  set that is turned about that centre is no deeper or less deep. Where embeddings have hardly a common
  direction, the depths of x depend on one another and the test rejects too often: at 5 % two-sided, about
  10 % of pairs of uniform samples on the sphere. The authors' program takes the depths
  of x for those of y where both sets have as many rows; this does not.

  Args:
    x: embeddings of the reference corpus, of any norm, shape (N, D).
    y: embeddings of the corpus to compare, shape (M, D).
    axis_name: mapped device axis over which the rows of both are split, inside `pmap` or `shard_map`.

  Returns:
    DepthRankSum, float32 or wider, the same on every device. Detached.

  Raises:
    TypeError: if an array is not floating point.
    ValueError: if the arrays are not of rank 2 and one width or x has one row.

  Example:
    >>> close, apart = jnp.array([[9.0, 1.0], [9.0, 2.0], [9.0, 3.0]]), jnp.eye(2)
    >>> depth_rank_sum(close, -apart).q.tolist()  # all of these lie further out
    0.0

  References:
    Seegmiller & Preum, Statistical Depth for Ranking and Characterizing Transformer-Based Text
      Embeddings, 2023. arXiv:2310.15010
    Liu & Singh, A Quality Index Based on Data Depth and Multivariate Rank Tests, 1993.
  """
  pair = [jax.lax.stop_gradient(rows) for rows in _embeddings(x=x, y=y)]
  if num_rows(len(pair[0]), axis_name) < 2:
    raise ValueError(f"x must have at least 2 rows, got shape {jnp.shape(x)}")
  depth_y = tte_depth(pair[1], pair[0], axis_name=axis_name)
  depth_x = tte_depth(pair[0], pair[0], own=True, axis_name=axis_name)
  depths = [all_gather_rows(depth, axis_name) for depth in (depth_x, depth_y)]
  n, m = map(len, depths)
  ranks = average_ranks(jnp.concatenate(depths))[:n]
  excess = jnp.mean(ranks - 0.5 * (n + m + 1))  # centred, so that large sets keep their digits
  statistic = excess / (m * (n + m + 1) / (12 * n)) ** 0.5
  # x is above y in W - N (N + 1) / 2 of the N M pairs.
  return DepthRankSum(0.5 - excess / m, statistic, jax.scipy.stats.norm.sf(statistic))


def _embeddings(**arrays: ArrayLike) -> list[jax.Array]:
  check_float(**arrays)
  check_rank(2, **arrays)
  shapes = [jnp.shape(array) for array in arrays.values()]
  if shapes[0][1] != shapes[1][1]:
    raise ValueError(f"{' and '.join(arrays)} must have the same width, got {shapes}")
  dtype = wide_dtype(*arrays.values())
  return [l2_normalize(jnp.asarray(array, dtype)) for array in arrays.values()]
