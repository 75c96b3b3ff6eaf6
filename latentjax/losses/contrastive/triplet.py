"""Triplet loss: the positive closer than the negative, by a margin."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import (
  check_alike,
  check_range,
  wide_dtype,
)

__all__ = ["triplet_loss"]


def triplet_loss(
  anchor: ArrayLike, positive: ArrayLike, negative: ArrayLike, *, margin: ArrayLike = 0.2
) -> jax.Array:
  r"""Hinge on the difference of the squared distances to a positive and to a negative.

  .. math:: \ell_i = \max\bigl(\|a_i - p_i\|_2^2 - \|a_i - n_i\|_2^2 + m, \, 0\bigr)

  Args:
    anchor: embeddings, of norm 1 in the paper (see `l2_normalize`), shape (B, D).
    positive: of the same class as their anchors, shape (B, D).
    negative: of another class, shape (B, D).
    margin: m, at least 0, a squared length. Can be traced.

  Returns:
    Loss per triplet, shape (B,), float32 or wider. Gradient flows to all three; it is 0 for a
    triplet that keeps the margin.

  Raises:
    TypeError: if an array is not floating point.
    ValueError: if the shapes differ or are not of rank 2, or margin is negative.

  Example:
    >>> anchor, negative = jnp.zeros((1, 2)), jnp.full((1, 2), 0.1)
    >>> round(float(triplet_loss(anchor, anchor, negative)[0]), 4)  # 0.2 - 0.02
    0.18

  References:
    Schroff, Kalenichenko & Philbin, FaceNet: A Unified Embedding for Face Recognition and
      Clustering, 2015. arXiv:1503.03832
  """
  check_alike(2, anchor=anchor, positive=positive, negative=negative)
  check_range(low=0.0, margin=margin)
  dtype = wide_dtype(anchor, positive, negative)
  anchor, positive, negative = (jnp.asarray(a, dtype) for a in (anchor, positive, negative))
  # |a - p|^2 - |a - n|^2, without the difference of two large numbers if all three are close.
  gap = jnp.sum((negative - positive) * (2 * anchor - positive - negative), axis=1)
  return jax.nn.relu(gap + jnp.asarray(margin, dtype))
