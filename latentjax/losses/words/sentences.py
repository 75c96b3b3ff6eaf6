"""Sentence vectors from word vectors: smooth inverse frequency and removal of what all share (SIF)."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_float, check_range, check_rank, wide_dtype
from latentjax.collectives import device_mean

__all__ = ["sif_pool"]


def sif_pool(
  vectors: ArrayLike,
  probs: ArrayLike,
  *,
  where: ArrayLike | None = None,
  a: float = 1e-3,
  direction: ArrayLike | None = None,
  axis_name: str | None = None,
) -> jax.Array:
  r"""Embeddings of sentences: means of their words' vectors, frequent ones weighted down (SIF).

  .. math::

    s_b = \frac{1}{T_b} \sum_t \frac{a}{a + p(w_{bt})} v_{bt}, \qquad z_b = s_b - u u^\top s_b

  where u is the first singular vector of the matrix of all s (not centred): what the sentences have
  in common, mostly syntax.

  Args:
    vectors: of the words of every sentence, shape (B, T, D).
    probs: p(w), relative frequencies of the words in the language, in [0, 1], shape (B, T).
    where: True for words, False for padding, shape (B, T); None: all are words.
    a: frequency at which a word weighs half, positive.
    direction: u of unit norm, shape (D,), such as that of the training sentences; zeros remove
      nothing. None takes that of the batch.
    axis_name: mapped device axis over which the sentences are split, inside `pmap` or `shard_map`.

  Returns:
    Embeddings, shape (B, D), float32 or wider. Gradient flows to vectors and probs, not through u.

  Raises:
    TypeError: if vectors, probs or direction are not floating point.
    ValueError: if the shapes do not fit or a is not positive.

  Example:
    >>> vectors = jnp.array([[[2.0, 0.0], [0.0, 4.0]]])
    >>> sif_pool(vectors, jnp.full((1, 2), 1e-3), direction=jnp.array([1.0, 0.0])).tolist()
    [[0.0, 1.0]]

  References:
    Arora, Liang & Ma, A Simple but Tough-to-Beat Baseline for Sentence Embeddings, 2017.
  """
  check_float(vectors=vectors, probs=probs)
  check_rank(3, vectors=vectors)
  shape = jnp.shape(vectors)
  for name, array in {"probs": probs, "where": where}.items():
    if array is not None and jnp.shape(array) != shape[:2]:
      raise ValueError(f"{name} must have shape {shape[:2]}, got {jnp.shape(array)}")
  check_range(0.0, strict=True, a=a)
  dtype = wide_dtype(vectors, probs)
  keep = jnp.ones(shape[:2], dtype) if where is None else jnp.asarray(where, dtype)
  weights = keep * a / (a + jnp.asarray(probs, dtype))
  weights /= jnp.maximum(jnp.sum(keep, axis=1, keepdims=True), 1)
  pooled = jnp.einsum("bt,btd->bd", weights, jnp.asarray(vectors, dtype), precision="highest")
  if direction is None:
    direction = _first_direction(jax.lax.stop_gradient(pooled), axis_name)
  else:
    check_float(direction=direction)
    direction = jax.lax.stop_gradient(jnp.asarray(direction, dtype))
    if direction.shape != shape[2:]:
      raise ValueError(f"direction must have shape {shape[2:]}, got {direction.shape}")
  shared = jnp.matmul(pooled, direction, precision="highest")
  return pooled - shared[:, None] * direction


def _first_direction(pooled: jax.Array, axis_name: str | None) -> jax.Array:
  # Scaled, so that squares of long vectors and of short ones stay within range.
  size = jnp.max(jnp.abs(pooled))
  size = size if axis_name is None else jax.lax.pmax(size, axis_name)
  pooled = pooled / jnp.where(size > 0, size, 1)
  moment = jnp.matmul(pooled.T, pooled, precision="highest") / pooled.shape[0]
  return jnp.linalg.eigh(device_mean(moment, axis_name))[1][:, -1]
