"""Likelihood of token sequences, and the bag-of-words loss that keeps a latent in use."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_alike, check_float, check_rank, wide_dtype

__all__ = ["bag_of_words_loss", "sequence_log_prob"]


def sequence_log_prob(tokens: ArrayLike, logits: ArrayLike, *, end_token: int = 0) -> jax.Array:
  r"""Log-probability of sequences up to and including their end, in nats.

  .. math:: \sum_{t \le t_{end}} \log \mathrm{softmax}(l_t)_{x_t}

  What follows the first end token is padding and does not count. A sequence without one counts to
  its last token.

  Args:
    tokens: integers in [0, V), shape (B, T).
    logits: of every token given those before it, shape (B, T, V).
    end_token: token that ends a sequence.

  Returns:
    Log-probability, shape (B,), float32 or wider. Gradient flows to the logits.

  Raises:
    TypeError: if tokens are not integers or logits not floating point.
    ValueError: if the shapes do not match.

  Example:
    >>> sequence_log_prob(jnp.array([[1, 0, 0]]), jnp.zeros((1, 3, 2))).tolist()  # -2 log 2
    [-1.386294...]

  References:
    Bowman et al., Generating Sentences from a Continuous Space, 2016. arXiv:1511.06349
  """
  check_float(logits=logits)
  check_rank(3, logits=logits)
  tokens, logits = jnp.asarray(tokens), jnp.asarray(logits, wide_dtype(logits))
  if not jnp.issubdtype(tokens.dtype, jnp.integer):
    raise TypeError(f"tokens must be integers, got {tokens.dtype}")
  if tokens.shape != logits.shape[:2]:
    raise ValueError(f"tokens must have shape {logits.shape[:2]}, as logits, got {tokens.shape}")
  log_prob = jax.nn.log_softmax(logits, axis=2)
  picked = jnp.take_along_axis(log_prob, tokens[..., None], axis=2)[..., 0]
  ends = (tokens == end_token).astype(jnp.int32)
  ended_before = jnp.cumsum(ends, axis=1) - ends > 0
  return jnp.sum(jnp.where(ended_before, 0, picked), axis=1)


def bag_of_words_loss(logits: ArrayLike, counts: ArrayLike) -> jax.Array:
  r"""Cross-entropy of a bag of words predicted at once, from a latent alone; to be minimised.

  .. math:: -\sum_v n_v \log \mathrm{softmax}(l)_v

  For edits the bag has the inserted and the deleted tokens: as no word helps to predict another, the
  latent has to carry them.

  Args:
    logits: one for every word, shape (B, V).
    counts: how often each word occurs, at least 0, shape (B, V).

  Returns:
    Loss in nats, shape (B,), float32 or wider. Gradient flows to the logits; counts are detached.

  Raises:
    TypeError: if logits or counts are not floating point.
    ValueError: if the shapes differ or are not of rank 2.

  Example:
    >>> bag_of_words_loss(jnp.zeros((1, 4)), jnp.array([[2.0, 0.0, 1.0, 0.0]])).tolist()  # 3 log 4
    [4.158883...]

  References:
    Zhao, Zhao & Eskenazi, Learning Discourse-level Diversity for Neural Dialog Models using
      Conditional Variational Autoencoders, 2017. arXiv:1703.10960
    Marrese-Taylor, Reid & Matsuo, Variational Inference for Learning Representations of Natural
      Language Edits, 2020. arXiv:2004.09143
  """
  check_alike(2, logits=logits, counts=counts)
  dtype = wide_dtype(logits, counts)
  counts = jax.lax.stop_gradient(jnp.asarray(counts, dtype))
  return -jnp.sum(counts * jax.nn.log_softmax(jnp.asarray(logits, dtype), axis=1), axis=1)
