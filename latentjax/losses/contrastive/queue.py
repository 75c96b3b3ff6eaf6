"""Embeddings of earlier batches: negatives of MoCo, support set of NNCLR."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import (
  check_alike,
  check_float,
  check_positive_int,
  check_range,
  check_rank,
  wide_dtype,
)
from latentjax.collectives import all_gather_rows
from latentjax.losses.contrastive._pairs import pair_scores
from latentjax.losses.contrastive._views import as_view_pair
from latentjax.losses.contrastive.info_nce import info_nce
from latentjax.losses.contrastive.normalize import l2_normalize

__all__ = ["Queue", "init_queue", "moco_loss", "nearest_rows", "nnclr_loss", "update_queue"]


class Queue(NamedTuple):
  """The embeddings of the last batches.

  Attributes:
    rows: shape (Q, D).
    oldest: index of the row that is replaced next, int32, shape ().
  """

  rows: jax.Array
  oldest: jax.Array


def init_queue(key: jax.Array, *, size: int, dim: int) -> Queue:
  r"""A queue of random directions.

  .. math:: q_j \sim U(S^{D - 1})

  Args:
    key: random key.
    size: Q, number of rows.
    dim: D.

  Returns:
    The queue; its rows are uniform on the sphere.

  Raises:
    TypeError: if size or dim is not an integer.
    ValueError: if one is not positive.

  Example:
    >>> init_queue(jax.random.key(0), size=6, dim=2).rows.shape
    (6, 2)

  References:
    He et al., Momentum Contrast for Unsupervised Visual Representation Learning, 2020.
      arXiv:1911.05722
  """
  check_positive_int(size=size, dim=dim)
  return Queue(l2_normalize(jax.random.normal(key, (size, dim))), jnp.int32(0))


def update_queue(queue: Queue, keys: ArrayLike, *, axis_name: str | None = None) -> Queue:
  r"""The queue after a batch, which has taken the place of the oldest rows.

  .. math:: q_{(o + i) \bmod Q} \leftarrow k_i, \qquad o \leftarrow (o + B) \bmod Q

  with the index o of the oldest row.

  Args:
    queue: before the batch.
    keys: embeddings of the batch, shape (B, D); over all devices at most Q.
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`. The
      rows of all devices enter, and every device has the same queue.

  Returns:
    The next queue. Detached.

  Raises:
    TypeError: if keys is not floating point.
    ValueError: if keys does not have rows of the queue's width, or more of them than the queue.

  Example:
    >>> queue = Queue(jnp.zeros((3, 1)), jnp.int32(2))
    >>> update_queue(queue, jnp.array([[1.0], [2.0]])).rows.ravel().tolist()
    [2.0, 0.0, 1.0]

  References:
    He et al., Momentum Contrast for Unsupervised Visual Representation Learning, 2020.
      arXiv:1911.05722
  """
  check_float(keys=keys)
  check_rank(2, keys=keys)
  keys = all_gather_rows(jnp.asarray(keys, queue.rows.dtype), axis_name)
  size, dim = queue.rows.shape
  if keys.shape[1] != dim or len(keys) > size:
    raise ValueError(f"keys must have at most {size} rows of width {dim}, got shape {keys.shape}")
  places = (queue.oldest + jnp.arange(len(keys))) % size
  following = Queue(queue.rows.at[places].set(keys), (queue.oldest + len(keys)) % size)
  return jax.lax.stop_gradient(following)


def moco_loss(
  queries: ArrayLike, keys: ArrayLike, negatives: ArrayLike, *, temperature: ArrayLike = 0.07
) -> jax.Array:
  r"""InfoNCE loss with a queue of earlier keys as negatives (MoCo).

  .. math::

    -\log \frac{\exp(q_i^\top k_i / \tau)}{\exp(q_i^\top k_i / \tau) + \sum_j \exp(q_i^\top n_j / \tau)}

  Scores take memory (B, Q).

  Args:
    queries: embeddings of norm 1 (see `l2_normalize`), shape (B, D).
    keys: momentum encoder's embeddings of the other view, of norm 1, shape (B, D).
    negatives: rows of the queue, shape (Q, D); the keys are not yet among them.
    temperature: tau, positive. Can be traced and receives a gradient.

  Returns:
    Loss per query in nats, shape (B,), float32 or wider. Gradient flows to the queries; keys and
    negatives are detached.

  Raises:
    TypeError: if an array is not floating point.
    ValueError: if the shapes do not fit or temperature is not positive.

  Example:
    >>> loss = moco_loss(jnp.eye(2), jnp.eye(2), jnp.zeros((3, 2)), temperature=1.0)
    >>> round(float(loss[0]), 4)  # log(1 + 3 / e)
    0.7437

  References:
    He et al., Momentum Contrast for Unsupervised Visual Representation Learning, 2020.
      arXiv:1911.05722
  """
  check_alike(2, queries=queries, keys=keys)
  _check_width(queries, negatives=negatives)
  check_range(0.0, strict=True, temperature=temperature)
  dtype = wide_dtype(queries, keys, negatives)
  queries = jnp.asarray(queries, dtype)
  keys, negatives = jax.lax.stop_gradient((jnp.asarray(keys, dtype), jnp.asarray(negatives, dtype)))
  scale = 1 / jnp.asarray(temperature, dtype)
  scores = scale * jnp.matmul(queries, negatives.T, precision="highest")
  return jax.nn.softplus(jax.nn.logsumexp(scores, axis=1) - pair_scores(queries, keys, scale))


def nearest_rows(z: ArrayLike, support: ArrayLike) -> jax.Array:
  r"""The row of a support set that is most similar to every embedding.

  .. math:: \arg\max_{s \in S} \bar z_i^\top \bar s, \qquad \bar v = v / \|v\|

  Similarities take memory (B, Q).

  Args:
    z: embeddings of any norm, shape (B, D).
    support: rows of any norm, shape (Q, D).

  Returns:
    Rows of the support set, shape (B, D). Detached.

  Raises:
    TypeError: if an array is not floating point.
    ValueError: if the shapes do not fit.

  Example:
    >>> nearest_rows(jnp.array([[1.0, 0.1]]), jnp.array([[0.0, 9.0], [2.0, 0.0]])).tolist()
    [[2.0, 0.0]]

  References:
    Dwibedi et al., With a Little Help from My Friends: Nearest-Neighbor Contrastive Learning of
      Visual Representations, 2021. arXiv:2104.14548
  """
  check_float(z=z)
  check_rank(2, z=z)
  _check_width(z, support=support)
  z, support = jax.lax.stop_gradient((jnp.asarray(z), jnp.asarray(support)))
  dtype = wide_dtype(z, support)  # in bfloat16 the nearest rows would often be equally near
  unit_z, unit_support = (l2_normalize(array.astype(dtype)) for array in (z, support))
  similarities = jnp.matmul(unit_z, unit_support.T, precision="highest")
  return support[jnp.argmax(similarities, axis=1)]


def nnclr_loss(
  prediction_1: ArrayLike,
  prediction_2: ArrayLike,
  z_1: ArrayLike,
  z_2: ArrayLike,
  support: ArrayLike,
  *,
  temperature: ArrayLike = 0.1,
  axis_name: str | None = None,
  block_size: int | None = None,
) -> jax.Array:
  r"""InfoNCE loss of one view's neighbour in a support set and the other view (NNCLR).

  .. math::

    \tfrac12 \sum_{(u, v)} -\log \frac{\exp(\mathrm{NN}(z^{(u)}_i)^\top p^{(v)}_i / \tau)}
    {\sum_j \exp(\mathrm{NN}(z^{(u)}_i)^\top p^{(v)}_j / \tau)}, \qquad
    (u, v) \in \{(1, 2), (2, 1)\}

  with neighbours by `nearest_rows`. Arguments are named by their own view; the crossing is in the
  loss. Without a predictor, pass the embeddings twice.

  Args:
    prediction_1: predictor's output for the first view, of any norm, shape (B, D).
    prediction_2: that for the second view, shape (B, D).
    z_1: embeddings of the first view, of any norm, shape (B, D).
    z_2: those of the second view, shape (B, D).
    support: rows of a queue of earlier embeddings, of any norm, shape (Q, D).
    temperature: tau, positive. Can be traced and receives a gradient.
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`; the
      support set is the same everywhere.
    block_size: rows at a time, see `info_nce`.

  Returns:
    Loss per example in nats, shape (B,), float32 or wider. Gradient flows to the predictions, to the
    rows of every device; embeddings and support set are detached.

  Raises:
    TypeError: if an array is not floating point or block_size is not an integer.
    ValueError: if the shapes do not fit, or temperature or block_size is not positive.

  Example:
    >>> z, support = jnp.eye(2), jnp.array([[3.0, 0.1], [0.1, 3.0]])
    >>> nnclr_loss(z, z, z, z, support)[0] < 0.01
    Array(True, dtype=bool)

  References:
    Dwibedi et al., With a Little Help from My Friends: Nearest-Neighbor Contrastive Learning of
      Visual Representations, 2021. arXiv:2104.14548
  """
  p_1, p_2, z_1, z_2 = as_view_pair(
    prediction_1=prediction_1, prediction_2=prediction_2, z_1=z_1, z_2=z_2
  )
  losses = [
    info_nce(
      l2_normalize(nearest_rows(z, support)),
      l2_normalize(p),
      temperature=temperature,
      axis_name=axis_name,
      block_size=block_size,
    )
    for z, p in ((z_1, p_2), (z_2, p_1))
  ]
  return 0.5 * (losses[0] + losses[1])


def _check_width(z: ArrayLike, **rows: ArrayLike) -> None:
  check_float(**rows)
  check_rank(2, **rows)
  ((name, array),) = rows.items()
  if jnp.shape(array)[1] != jnp.shape(z)[1]:
    raise ValueError(
      f"{name} must have rows of width {jnp.shape(z)[1]}, got shape {jnp.shape(array)}"
    )
