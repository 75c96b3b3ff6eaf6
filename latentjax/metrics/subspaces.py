"""How alike two subspaces are."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_float, check_not_empty, wide_dtype

__all__ = ["subspace_affinity"]


def subspace_affinity(frames_a: ArrayLike, frames_b: ArrayLike) -> jax.Array:
  r"""Root mean square cosine of the principal angles between subspaces.

  .. math:: \frac{\|U^\top V\|_F}{\sqrt{\min(R, S)}} = \sqrt{\frac{\sum_i \cos^2 \theta_i}{\min(R, S)}}

  Args:
    frames_a: U, orthonormal columns, shape (..., D, R); not checked.
    frames_b: V, orthonormal columns, shape (..., D, S), with leading axes that broadcast.

  Returns:
    Affinity in [0, 1], shape (...), float32 or wider: 1 if one contains the other, 0 if they are
    orthogonal. Gradient flows to both; it is zero where the affinity is.

  Raises:
    TypeError: if an argument is not floating point.
    ValueError: if the shapes do not fit.

  Example:
    >>> plane, line = jnp.eye(3)[:, :2], jnp.array([[0.6], [0.0], [0.8]])
    >>> round(float(subspace_affinity(plane, line)), 4)
    0.6

  References:
    Soltanolkotabi and Candes, A Geometric Analysis of Subspace Clustering with Outliers, 2012.
      arXiv:1112.4258
  """
  check_float(frames_a=frames_a, frames_b=frames_b)
  shapes = jnp.shape(frames_a), jnp.shape(frames_b)
  if min(map(len, shapes)) < 2 or shapes[0][-2] != shapes[1][-2]:
    raise ValueError(
      f"frames_a and frames_b must have shapes (..., D, R) and (..., D, S), got {shapes[0]} and "
      f"{shapes[1]}"
    )
  check_not_empty(frames_a=frames_a, frames_b=frames_b)
  leading = shapes[0][:-2], shapes[1][:-2]
  if any(m != n and 1 not in (m, n) for m, n in zip(*(axes[::-1] for axes in leading))):
    raise ValueError(
      f"frames_a and frames_b must have leading axes that broadcast, got {leading[0]} and {leading[1]}"
    )
  dtype = wide_dtype(frames_a, frames_b)
  a, b = jnp.asarray(frames_a, dtype), jnp.asarray(frames_b, dtype)
  products = jnp.einsum("...dr,...ds->...rs", a, b, precision="highest")
  square = jnp.sum(jnp.square(products), axis=(-2, -1)) / min(products.shape[-2:])
  return jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1)), 0)
