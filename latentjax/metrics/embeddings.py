"""What an embedding is worth without training: neighbours of the same class, and signs of collapse."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import (
  check_choice,
  check_float,
  check_positive_int,
  check_range,
  check_rank,
  wide_dtype,
)
from latentjax.collectives import all_gather_rows, device_mean
from latentjax.distances import squared_distances
from latentjax.losses.contrastive import l2_normalize
from latentjax.metrics._pairs import num_rows

__all__ = ["effective_rank", "knn_predict", "relative_scale", "tolerance"]


def knn_predict(
  queries: ArrayLike,
  database: ArrayLike,
  labels: ArrayLike,
  *,
  num_classes: int,
  num_neighbours: int = 20,
  temperature: ArrayLike | None = 0.07,
  metric: str = "cosine",
  block_size: int = 1024,
) -> jax.Array:
  r"""Class by a vote of the nearest embeddings, weighted by their similarity.

  .. math:: \arg\max_c \sum_{j \in N_k(q)} 1[y_j = c] \exp(s_j / \tau), \qquad
    s_j = \bar q^\top \bar d_j \;\text{ or }\; s_j = -\|q - d_j\|^2

  The defaults are those of the k-NN probe of self-supervised embeddings. metric "euclidean" with
  temperature None, where all votes weigh the same and the lowest of the winning classes is taken, is
  scikit-learn's classifier. Similarities exist for block_size queries at a time.

  Args:
    queries: embeddings of any norm, shape (Q, D).
    database: those of known class, shape (N, D).
    labels: their classes, in [0, num_classes), int, shape (N,).
    num_classes: number of classes.
    num_neighbours: k, at most N.
    temperature: positive; None: votes of equal weight. Can be traced.
    metric: "cosine" or "euclidean"; the latter's temperature is in squared units of the embeddings.
    block_size: queries that are compared at once.

  Returns:
    Predicted classes, int32, shape (Q,).

  Raises:
    TypeError: if an embedding is not floating point or the labels are not integers.
    ValueError: if the shapes do not fit or a number is out of range.

  Example:
    >>> points = jnp.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]])
    >>> knn_predict(points, points, jnp.array([1, 1, 0]), num_classes=2, num_neighbours=1).tolist()
    [1, 1, 0]

  References:
    Wu et al., Unsupervised Feature Learning via Non-Parametric Instance Discrimination, 2018.
      arXiv:1805.01978
  """
  check_float(queries=queries, database=database)
  check_rank(2, queries=queries, database=database)
  check_positive_int(num_classes=num_classes, num_neighbours=num_neighbours, block_size=block_size)
  check_choice(("cosine", "euclidean"), metric=metric)
  if temperature is not None:
    check_range(0.0, strict=True, temperature=temperature)
  labels = _as_labels(labels, jnp.shape(database)[:1])
  if jnp.shape(queries)[1] != jnp.shape(database)[1]:
    raise ValueError(
      f"queries and database must have the same width, got {jnp.shape(queries)} and "
      f"{jnp.shape(database)}"
    )
  if num_neighbours > labels.size:
    raise ValueError(f"num_neighbours must be at most {labels.size}, got {num_neighbours}")
  dtype = wide_dtype(queries, database)
  queries, known = (jnp.asarray(z, dtype) for z in (queries, database))
  if metric == "cosine":
    queries, known = l2_normalize(queries), l2_normalize(known)

  def similarities(query: jax.Array) -> jax.Array:
    if metric == "cosine":
      return jnp.matmul(known, query, precision="highest")
    return -squared_distances(query[None], known, exact=True)[0]

  def predict(query: jax.Array) -> jax.Array:
    similarity, rows = jax.lax.top_k(similarities(query), num_neighbours)
    # Relative to the nearest: the vote is the same, and nothing overflows.
    relative = similarity - similarity[0]
    weights = jnp.ones_like(relative) if temperature is None else jnp.exp(relative / temperature)
    votes = jnp.zeros(num_classes, weights.dtype).at[labels[rows]].add(weights)
    return jnp.argmax(votes).astype(jnp.int32)

  return jax.lax.map(predict, queries, batch_size=block_size)


def effective_rank(z: ArrayLike, *, axis_name: str | None = None) -> jax.Array:
  r"""Number of directions that embeddings make use of (RankMe).

  .. math:: \exp\Big(-\sum_k p_k \log p_k\Big), \qquad p_k = \sigma_k / \sum_l \sigma_l

  with the singular values of z, not centred. 1 if all rows are parallel, min(B, D) if the values are
  equal. Singular values of the size of rounding, D times 1e-7 of the largest in float32, count as zero;
  those below 3e-4 of it are told apart badly, but their squares have the right sum.

  Args:
    z: embeddings, shape (B, D).
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`. Devices
      exchange D x D numbers, or the rows where these are less.

  Returns:
    Scalar in [1, min(B, D)], the same on every device; 1 if z is all zero. Detached.

  Raises:
    TypeError: if z is not floating point.
    ValueError: if it is not of rank 2.

  Example:
    >>> round(float(effective_rank(jnp.eye(4))), 3)
    4.0

  References:
    Garrido et al., RankMe: Assessing the Downstream Performance of Pretrained Self-Supervised
      Representations by Their Rank, 2023. arXiv:2210.02885
  """
  z = _rows(z)
  z = z / jnp.maximum(_largest(z, axis_name), jnp.finfo(z.dtype).tiny)
  dim = z.shape[1]
  if num_rows(len(z), axis_name) < dim:  # the same singular values
    z, axis_name = all_gather_rows(z, axis_name).T, None
  moment = device_mean(jnp.matmul(z.T, z, precision="highest") / z.shape[0], axis_name)
  # Its eigenvalues lose what is below sqrt(eps D) of the largest, lengths along its axes do not.
  axes = jnp.linalg.eigh(moment)[1][:, ::-1]
  along = jnp.matmul(z, axes, precision="highest")
  sigma = jnp.sqrt(device_mean(jnp.mean(jnp.square(along), axis=0), axis_name))
  sigma = jnp.where(sigma > jnp.finfo(z.dtype).eps * dim * sigma[0], sigma, 0)
  p = sigma / jnp.maximum(jnp.sum(sigma), jnp.finfo(z.dtype).tiny)
  return jnp.exp(jnp.sum(jax.scipy.special.entr(p)))


def relative_scale(z: ArrayLike, *, axis_name: str | None = None) -> jax.Array:
  r"""Spread of normalised embeddings, relative to the isotropic one.

  .. math:: \frac{1}{\sqrt D} \sum_j \mathrm{std}_b(\bar z_{bj}), \qquad \bar z = z / \|z\|

  0 if all embeddings are parallel, about 1 if they are spread over the sphere.

  Args:
    z: embeddings of any norm, shape (B, D).
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`.

  Returns:
    Scalar in [0, 1], the same on every device. Detached.

  Raises:
    TypeError: if z is not floating point.
    ValueError: if it is not of rank 2.

  Example:
    >>> float(relative_scale(jnp.ones((3, 2))))
    0.0

  References:
    Chen & He, Exploring Simple Siamese Representation Learning, 2021, section 4.1.
      arXiv:2011.10566
  """
  z = l2_normalize(_rows(z))
  centred = z - device_mean(jnp.mean(z, axis=0), axis_name)
  variance = device_mean(jnp.mean(jnp.square(centred), axis=0), axis_name)
  return jnp.sum(jnp.sqrt(variance)) / z.shape[1] ** 0.5


def tolerance(
  z: ArrayLike, labels: ArrayLike, *, num_classes: int, axis_name: str | None = None
) -> jax.Array:
  r"""Mean cosine of two different examples of the same class.

  .. math::

    \frac{\sum_{i \ne j} 1[y_i = y_j] \, \bar z_i^\top \bar z_j}{\sum_{i \ne j} 1[y_i = y_j]}
    = \frac{\sum_c \|\sum_{y_i = c} \bar z_i\|^2 - B}{\sum_c n_c^2 - B}, \qquad \bar z = z / \|z\|

  High where a contrastive loss has not torn apart what belongs together; uniformity is its opponent.
  Deviation: the paper averages over all pairs, those of other classes counting as 0, and of an
  example with itself; this is the mean over the pairs that count.

  Args:
    z: embeddings of any norm, shape (B, D).
    labels: classes in [0, num_classes), int, shape (B,).
    num_classes: number of classes.
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`.

  Returns:
    Scalar in [-1, 1], the same on every device; 0 if no two examples share a class. Detached.

  Raises:
    TypeError: if z is not floating point, the labels are not integers, or num_classes is not one.
    ValueError: if the shapes do not fit or num_classes is not positive.

  Example:
    >>> z = jnp.array([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]])
    >>> float(tolerance(z, jnp.array([0, 0, 1]), num_classes=2))
    1.0

  References:
    Wang & Liu, Understanding the Behaviour of Contrastive Loss, 2021. arXiv:2012.09740
  """
  z = l2_normalize(_rows(z))
  check_positive_int(num_classes=num_classes)
  labels = _as_labels(labels, z.shape[:1])
  member = jax.nn.one_hot(labels, num_classes, dtype=z.dtype)
  size = z.shape[0] * (1 if axis_name is None else jax.lax.axis_size(axis_name))
  counts = size * device_mean(jnp.mean(member, axis=0), axis_name)
  sums = size * device_mean(jnp.matmul(member.T, z, precision="highest") / z.shape[0], axis_name)
  self_products = size * device_mean(jnp.mean(jnp.sum(jnp.square(z), axis=1)), axis_name)
  pairs = jnp.sum(counts * (counts - 1))
  return jnp.where(pairs > 0, jnp.sum(jnp.square(sums)) - self_products, 0) / jnp.maximum(pairs, 1)


def _as_labels(labels: ArrayLike, shape: tuple[int, ...]) -> jax.Array:
  labels = jnp.asarray(labels)
  if not jnp.issubdtype(labels.dtype, jnp.integer):
    raise TypeError(f"labels must be integers, got {labels.dtype}")
  if labels.shape != shape:
    raise ValueError(f"labels must have shape {shape}, got {labels.shape}")
  return labels


def _rows(z: ArrayLike) -> jax.Array:
  check_float(z=z)
  check_rank(2, z=z)
  return jax.lax.stop_gradient(jnp.asarray(z, wide_dtype(z)))


def _largest(z: jax.Array, axis_name: str | None) -> jax.Array:
  return jnp.max(all_gather_rows(jnp.max(jnp.abs(z))[None], axis_name))
