"""Skip-gram with negative sampling (word2vec)."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_float, check_rank, check_same_shape, wide_dtype

__all__ = ["sgns_loss"]


def sgns_loss(words: ArrayLike, contexts: ArrayLike, negatives: ArrayLike) -> jax.Array:
  r"""Skip-gram loss with negative sampling (SGNS): tell a word's context from random ones.

  .. math:: -\log \sigma(v_b^\top u_b) - \sum_{k=1}^K \log \sigma(-v_b^\top u_{bk})

  With negatives from the distribution q of contexts, and vectors long enough, its minimum is at
  v_w . u_c = log p(w, c) / (p(w) q(c)) - log K, pointwise mutual information shifted by log K. The
  authors draw negatives in proportion to the 3/4th power of the words' counts.

  Args:
    words: vectors v of the words, shape (B, D).
    contexts: vectors u of a word in the context of each, from a second table, shape (B, D).
    negatives: vectors u of K words drawn at random for each, shape (B, K, D).

  Returns:
    Loss per pair in nats, shape (B,), float32 or wider. Gradient flows to all arguments.

  Raises:
    TypeError: if an array is not floating point.
    ValueError: if words and contexts differ in shape or are not of rank 2, or negatives are not of
      shape (B, K, D).

  Example:
    >>> v = jnp.zeros((1, 3))
    >>> round(sgns_loss(v, v, jnp.zeros((1, 4, 3))).item(), 4)  # five coins: 5 log 2
    3.4657

  References:
    Mikolov et al., Distributed Representations of Words and Phrases and their Compositionality, 2013.
      arXiv:1310.4546
    Levy & Goldberg, Neural Word Embedding as Implicit Matrix Factorization, 2014 (the minimum).
  """
  check_float(words=words, contexts=contexts, negatives=negatives)
  check_rank(2, words=words)
  check_same_shape(words=words, contexts=contexts)
  check_rank(3, negatives=negatives)
  batch, dim = jnp.shape(words)
  if jnp.shape(negatives)[::2] != (batch, dim):
    raise ValueError(
      f"negatives must have shape ({batch}, K, {dim}), as words have {jnp.shape(words)}, got "
      f"{jnp.shape(negatives)}"
    )
  dtype = wide_dtype(words, contexts, negatives)
  v, u, u_negative = (jnp.asarray(array, dtype) for array in (words, contexts, negatives))
  positive = jnp.einsum("bd,bd->b", v, u, precision="highest")
  negative = jnp.einsum("bd,bkd->bk", v, u_negative, precision="highest")
  return jax.nn.softplus(-positive) + jnp.sum(jax.nn.softplus(negative), axis=1)
