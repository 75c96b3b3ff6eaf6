"""How far apart the embeddings of two modalities lie that share a sphere."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_alike, wide_dtype
from latentjax.collectives import all_gather_rows
from latentjax.losses.contrastive import cross_uniformity, l2_normalize

__all__ = ["ModalityGap", "modality_gap"]


class ModalityGap(NamedTuple):
  """Measures of the gap between modalities a and b.

  Attributes:
    centroid_distance: between the means, in [0, 2].
    separability: accuracy of telling a from b by a hyperplane, 0.5 by chance.
    uniformity_a: log mean Gaussian potential of a, at most 0, the less the more uniform.
    uniformity_b: that of b.
    cross_uniformity: that of what is no pair, between a and b.
    explained_variance: share of the variance in the first 1, 2, ..., D principal components of both
      together, shape (D,).
  """

  centroid_distance: jax.Array
  separability: jax.Array
  uniformity_a: jax.Array
  uniformity_b: jax.Array
  cross_uniformity: jax.Array
  explained_variance: jax.Array


def modality_gap(
  a: ArrayLike, b: ArrayLike, *, axis_name: str | None = None, block_size: int | None = None
) -> ModalityGap:
  r"""Distance of centroids, linear separability, uniformity and explained variance of two modalities.

  .. math:: \Bigl\| \frac1N \sum_i \bar a_i - \frac1N \sum_i \bar b_i \Bigr\|_2, \qquad
    \bar v = v / \|v\|

  Separability is that of Fisher's discriminant (within-class covariance plus 1e-3 of its mean
  eigenvalue), fitted to the pairs of even index and tested on those of odd index, and the other way
  round; a point on the hyperplane is half right. Deviation: the paper trains a linear classifier.

  Args:
    a: embeddings of the first modality, of any norm, shape (N, D) with N at least 4.
    b: those of their partners, shape (N, D).
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`.
    block_size: rows at a time for the uniformities, as there.

  Returns:
    ModalityGap, float32 or wider, the same on every device. Detached.

  Raises:
    TypeError: if an array is not floating point or block_size is not an integer.
    ValueError: if the shapes differ or are not of rank 2, or there are less than 4 rows.

  Example:
    >>> a = jnp.array([[1.0, 0.1], [1.0, 0.2], [1.0, -0.1], [1.0, -0.2]])
    >>> gap = modality_gap(a, -a)
    >>> round(float(gap.centroid_distance), 2), float(gap.separability)
    (1.98, 1.0)

  References:
    Fahim, Murphy & Fyshe, It's Not a Modality Gap: Characterizing and Addressing the Contrastive Gap,
      2024. arXiv:2405.18570
  """
  check_alike(2, a=a, b=b)
  dtype = wide_dtype(a, b)
  a, b = (jax.lax.stop_gradient(l2_normalize(jnp.asarray(array, dtype))) for array in (a, b))
  all_a, all_b = (all_gather_rows(array, axis_name) for array in (a, b))
  if len(all_a) < 4:
    raise ValueError(f"a must have at least 4 rows, got shape {all_a.shape}")
  spread = partial(cross_uniformity, axis_name=axis_name, block_size=block_size)
  of_a, of_b, across = jax.vmap(spread)(jnp.stack([a, b, a]), jnp.stack([a, b, b]))
  halves = [(all_a[i::2], all_b[i::2]) for i in range(2)]
  accuracies = [_accuracy(*halves[i], *halves[1 - i]) for i in range(2)]
  both = jnp.concatenate([all_a, all_b])
  variances = jnp.linalg.eigvalsh(_covariance(both))[::-1]
  total = jnp.sum(variances)
  return ModalityGap(
    jnp.linalg.norm(jnp.mean(all_a, axis=0) - jnp.mean(all_b, axis=0)),
    jnp.mean(jnp.stack(accuracies)),
    of_a,
    of_b,
    across,
    jnp.cumsum(variances) / jnp.where(total > 0, total, 1.0),
  )


def _covariance(x: jax.Array) -> jax.Array:
  centred = x - jnp.mean(x, axis=0)
  return jnp.matmul(centred.T, centred, precision="highest") / len(x)


def _accuracy(a: jax.Array, b: jax.Array, a_test: jax.Array, b_test: jax.Array) -> jax.Array:
  """Of Fisher's discriminant of a and b on the test rows."""
  within = (_covariance(a) + _covariance(b)) / 2
  ridge = 1e-3 * jnp.trace(within) / len(within) + jnp.finfo(a.dtype).tiny
  mean_a, mean_b = jnp.mean(a, axis=0), jnp.mean(b, axis=0)
  normal = jnp.linalg.solve(within + ridge * jnp.eye(len(within), dtype=a.dtype), mean_a - mean_b)
  side = lambda x: jnp.sign(jnp.matmul(x - (mean_a + mean_b) / 2, normal, precision="highest"))
  return 0.5 + 0.25 * (jnp.mean(side(a_test)) - jnp.mean(side(b_test)))
