"""Word vectors fitted to the logarithms of co-occurrence counts: GloVe, and RAND-WALK's model of text."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import (
  check_alike,
  check_float,
  check_positive_int,
  check_range,
  check_rank,
  check_same_shape,
  wide_dtype,
)

__all__ = ["glove_loss", "log_partition", "squared_norm_loss"]


def glove_loss(
  words: ArrayLike,
  contexts: ArrayLike,
  word_biases: ArrayLike,
  context_biases: ArrayLike,
  counts: ArrayLike,
  *,
  x_max: float = 100.0,
  alpha: float = 0.75,
) -> jax.Array:
  r"""GloVe loss of pairs of words: weighted squared error of their log co-occurrence count.

  .. math:: f(X) \, (w^\top c + b + \tilde b - \log X)^2, \qquad f(X) = \min(1, X / x_{max})^\alpha

  Pairs that never occur, X = 0, have weight 0. The sum over the pairs is to be minimised.

  Args:
    words: vectors w, shape (B, D).
    contexts: vectors c, from a second table, shape (B, D).
    word_biases: b, shape (B,).
    context_biases: b tilde, shape (B,).
    counts: X, how often the pair occurs, at least 0, shape (B,), floating point.
    x_max: count from which on the weight is 1, positive.
    alpha: exponent of the weight, at least 0.

  Returns:
    Loss per pair, shape (B,), float32 or wider. Gradient flows to all but the counts.

  Raises:
    TypeError: if an array is not floating point.
    ValueError: if the shapes do not fit, x_max is not positive or alpha is negative.

  Example:
    >>> v, b = jnp.ones((2, 1)), jnp.zeros(2)
    >>> glove_loss(v, v, b, b, jnp.array([100.0, 0.0])).tolist()  # (1 - log 100)^2
    [12.99..., 0.0]

  References:
    Pennington, Socher & Manning, GloVe: Global Vectors for Word Representation, 2014.
  """
  check_alike(2, words=words, contexts=contexts)
  biases = {"word_biases": word_biases, "context_biases": context_biases}
  check_float(**biases)
  check_rank(1, **biases)
  dtype = wide_dtype(words, contexts, *biases.values())
  w, c = jnp.asarray(words, dtype), jnp.asarray(contexts, dtype)
  products = jnp.einsum("bd,bd->b", w, c, precision="highest")
  check_same_shape(counts=counts, **biases)
  fitted = products + jnp.asarray(word_biases, dtype) + jnp.asarray(context_biases, dtype)
  return _weighted_error(fitted, counts, x_max=x_max, alpha=alpha)


def squared_norm_loss(
  words: ArrayLike,
  contexts: ArrayLike,
  offset: ArrayLike,
  counts: ArrayLike,
  *,
  x_max: float = 100.0,
  alpha: float = 0.75,
) -> jax.Array:
  r"""Squared-norm loss (SN) of pairs of words, for vectors of RAND-WALK's model of text.

  .. math:: f(X) \, (\|v + v'\|^2 + C - \log X)^2, \qquad f(X) = \min(1, X / x_{max})^\alpha

  In a text whose topic c walks slowly over the sphere and which says word w with probability
  exp(v_w . c) / Z_c, near words have log p(w, w') = |v_w + v_w'|^2 / 2 d - 2 log Z; the vectors here
  include the 1 / sqrt(2 d). The weight is that of the authors' program; the paper weighs by X, which
  is alpha = 1 (up to the factor 1 / x_max) below x_max.

  Args:
    words: vectors v of the first words, shape (B, D).
    contexts: vectors v' of the second words, from the same table, shape (B, D).
    offset: C, the same for all pairs, a scalar.
    counts: X, how often the pair occurs, at least 0, shape (B,), floating point.
    x_max: count from which on the weight is 1, positive.
    alpha: exponent of the weight, at least 0.

  Returns:
    Loss per pair, shape (B,), float32 or wider. Gradient flows to all but the counts.

  Raises:
    TypeError: if an array is not floating point.
    ValueError: if the shapes do not fit, x_max is not positive or alpha is negative.

  Example:
    >>> v = jnp.ones((1, 1))
    >>> squared_norm_loss(v, v, jnp.array(-3.0), jnp.array([100.0])).tolist()  # (4 - 3 - log 100)^2
    [12.99...]

  References:
    Arora, Li, Liang, Ma & Risteski, A Latent Variable Model Approach to PMI-based Word Embeddings,
      2016. arXiv:1502.03520
  """
  check_float(words=words, contexts=contexts, offset=offset)
  check_rank(2, words=words)
  check_same_shape(words=words, contexts=contexts)
  check_rank(0, offset=offset)
  dtype = wide_dtype(words, contexts, offset)
  sums = jnp.asarray(words, dtype) + jnp.asarray(contexts, dtype)
  fitted = jnp.sum(jnp.square(sums), axis=1) + jnp.asarray(offset, dtype)
  check_rank(1, counts=counts)
  if jnp.shape(counts) != fitted.shape:
    raise ValueError(f"counts must have shape {fitted.shape}, got {jnp.shape(counts)}")
  return _weighted_error(fitted, counts, x_max=x_max, alpha=alpha)


def log_partition(
  words: ArrayLike, contexts: ArrayLike, *, block_size: int | None = None
) -> jax.Array:
  r"""Logarithm of the sum that normalises a log-linear model of words, for every context.

  .. math:: \log Z_c = \log \sum_w \exp(v_w^\top c)

  RAND-WALK's theory rests on Z_c being nearly the same for all c of one length, which it is if the
  vectors point in all directions alike.

  Args:
    words: vectors v of the whole vocabulary, shape (V, D).
    contexts: vectors c, shape (B, D).
    block_size: contexts at a time, to bound memory to (block_size, V); None takes all. The result
      does not depend on it.

  Returns:
    Logarithms in nats, shape (B,), float32 or wider. Gradient flows to both arguments.

  Raises:
    TypeError: if an array is not floating point or block_size is not an integer.
    ValueError: if an array is not of rank 2, their dimensions differ, or block_size is below 1.

  Example:
    >>> round(log_partition(jnp.zeros((3, 2)), jnp.ones((1, 2))).item(), 4)  # log 3
    1.0986

  References:
    Arora, Li, Liang, Ma & Risteski, A Latent Variable Model Approach to PMI-based Word Embeddings,
      2016. arXiv:1502.03520
  """
  check_float(words=words, contexts=contexts)
  check_rank(2, words=words, contexts=contexts)
  if jnp.shape(words)[1] != jnp.shape(contexts)[1]:
    raise ValueError(
      f"words and contexts must have the same last axis, got {jnp.shape(words)} and "
      f"{jnp.shape(contexts)}"
    )
  dtype = wide_dtype(words, contexts)
  words, contexts = jnp.asarray(words, dtype), jnp.asarray(contexts, dtype)
  of = lambda c: jax.nn.logsumexp(jnp.matmul(c, words.T, precision="highest"), axis=-1)
  if block_size is None:
    return of(contexts)
  check_positive_int(block_size=block_size)
  size = min(block_size, contexts.shape[0])
  return jax.lax.map(jax.checkpoint(of), contexts, batch_size=size)


def _weighted_error(
  fitted: jax.Array, counts: ArrayLike, *, x_max: float, alpha: float
) -> jax.Array:
  """f(X) (fitted - log X)^2, with 0 for X = 0."""
  check_float(counts=counts)
  check_range(0.0, strict=True, x_max=x_max)
  check_range(0.0, alpha=alpha)
  x = jax.lax.stop_gradient(jnp.asarray(counts, fitted.dtype))
  occurs = x > 0
  x = jnp.where(occurs, x, 1)
  weights = jnp.where(occurs, jnp.minimum(1, x / x_max) ** alpha, 0)
  return weights * jnp.square(fitted - jnp.log(x))
