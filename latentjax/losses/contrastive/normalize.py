"""Rows of norm 1, on which most contrastive losses are defined."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_float, wide_dtype

__all__ = ["l2_normalize"]


def l2_normalize(z: ArrayLike, *, axis: int = -1) -> jax.Array:
  r"""Vectors divided by their Euclidean norm.

  .. math:: z / \|z\|_2

  A zero vector stays zero. Neither value nor gradient overflows or underflows for any finite z,
  because each vector is first divided by its largest entry, on which the result does not depend.

  Args:
    z: vectors, any shape, such as (B, D).
    axis: that of the entries of a vector.

  Returns:
    Vectors of norm 1, the shape and dtype of z. Gradient flows to z; at a zero vector it is that of
    the identity.

  Raises:
    TypeError: if z is not floating point.

  Example:
    >>> [round(float(entry), 4) for entry in l2_normalize(jnp.array([3.0, 4.0]))]
    [0.6, 0.8]

  References:
    Chen et al., A Simple Framework for Contrastive Learning of Visual Representations, 2020 (cosine
      similarity). arXiv:2002.05709
  """
  check_float(z=z)
  z = jnp.asarray(z)
  wide = z.astype(wide_dtype(z))
  largest = jax.lax.stop_gradient(jnp.max(jnp.abs(wide), axis=axis, keepdims=True, initial=0.0))
  wide = wide / jnp.where(largest > 0, largest, 1.0)
  squared = jnp.sum(jnp.square(wide), axis=axis, keepdims=True)
  norm = jnp.sqrt(jnp.where(largest > 0, squared, 1.0))
  return (wide / norm).astype(z.dtype)
