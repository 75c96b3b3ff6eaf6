r"""Compact manifolds as latent spaces: how to project on them, and what the divergence needs to know.

A point is a vector of an ambient Euclidean space. A network's output, or a point plus noise, becomes
a point of the manifold by `project`. Distances are angles: on the sphere between unit vectors, on the
torus along every circle, for rotations the angle of the relative rotation, in projective space the
angle between lines. Projecting Gaussian noise gives a uniform point on each of these manifolds.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from latentjax.checks import check_positive_int
from latentjax.densities._sphere import log_area

__all__ = ["Manifold", "projective_space", "rotations", "sphere", "torus"]


_dot = partial(jnp.matmul, precision="highest")


class Manifold(NamedTuple):
  """A compact Riemannian manifold in an ambient space.

  Attributes:
    project: the nearest point of the manifold, shape (..., A) to (..., A).
    dim: d, dimension of the manifold.
    ambient_dim: A, dimension of the ambient space.
    log_volume: logarithm of its volume.
    scalar_curvature: which is constant on it.
    noise_scale: length in the ambient space of a tangent of length one.
  """

  project: Callable[[jax.Array], jax.Array]
  dim: int
  ambient_dim: int
  log_volume: float
  scalar_curvature: float
  noise_scale: float = 1.0


def sphere(*, dim: int) -> Manifold:
  r"""The unit sphere, as unit vectors of D = dim + 1 numbers.

  .. math:: S^d = \{x : \|x\| = 1\}, \quad \mathrm{Scal} = d (d - 1)

  Args:
    dim: d; 1 is the circle.

  Returns:
    Manifold.

  Raises:
    TypeError: if dim is not an integer.
    ValueError: if dim is below 1.

  Example:
    >>> sphere(dim=2).project(jnp.array([0.0, 0.0, 5.0])).tolist()
    [0.0, 0.0, 1.0]

  References:
    Perez Rey, Menkovski & Portegies, Diffusion Variational Autoencoders, 2020. arXiv:1901.08991
  """
  check_positive_int(dim=dim)
  return Manifold(_normalise, dim, dim + 1, log_area(dim + 1), dim * (dim - 1.0))


def torus(*, dim: int) -> Manifold:
  r"""The flat torus, a product of circles: the cosine and sine of every angle, one pair after the other.

  .. math:: T^d = S^1 \times \dots \times S^1, \quad \mathrm{Vol} = (2\pi)^d, \quad \mathrm{Scal} = 0

  Args:
    dim: d, number of circles.

  Returns:
    Manifold.

  Raises:
    TypeError: if dim is not an integer.
    ValueError: if dim is below 1.

  Example:
    >>> torus(dim=2).project(jnp.array([3.0, 4.0, 0.0, -2.0])).round(3).tolist()
    [0.600..., 0.800..., 0.0, -1.0]

  References:
    Perez Rey, Menkovski & Portegies, Diffusion Variational Autoencoders, 2020. arXiv:1901.08991
  """
  check_positive_int(dim=dim)

  def project(x: jax.Array) -> jax.Array:
    return _normalise(x.reshape(*x.shape[:-1], dim, 2)).reshape(x.shape)

  return Manifold(project, dim, 2 * dim, dim * math.log(2 * math.pi), 0.0)


def rotations() -> Manifold:
  r"""The rotations of space, SO(3), as matrices of nine numbers, row after row.

  .. math:: \mathrm{SO}(3) = \{R \in \mathbb{R}^{3 \times 3} : R^\top R = I, \det R = 1\}, \quad
    \mathrm{Vol} = 8 \pi^2, \quad \mathrm{Scal} = \tfrac32

  The distance is the angle of the relative rotation (the paper takes that of the matrices, which is
  the root of two times as long). The derivative of the projection is bounded where singular values
  meet, as they do at every rotation.

  Args:
    Nothing.

  Returns:
    Manifold.

  Raises:
    Nothing.

  Example:
    >>> rotations().project(2 * jnp.eye(3).reshape(9)).reshape(3, 3).round(3).tolist()
    [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]

  References:
    Perez Rey, Menkovski & Portegies, Diffusion Variational Autoencoders, 2020. arXiv:1901.08991
  """

  def project(x: jax.Array) -> jax.Array:
    return _nearest_rotation(x.reshape(*x.shape[:-1], 3, 3)).reshape(x.shape)

  return Manifold(project, 3, 9, math.log(8 * math.pi**2), 1.5, math.sqrt(2))


def projective_space(*, dim: int) -> Manifold:
  r"""The lines through the origin, as projection matrices of (dim + 1)^2 numbers, row after row.

  .. math:: \mathbb{RP}^d = \{z z^\top : \|z\| = 1\}, \quad \mathrm{Vol} = \tfrac12 \mathrm{Vol}(S^d),
    \quad \mathrm{Scal} = d (d - 1)

  Args:
    dim: d; lines lie in a space of d + 1 dimensions.

  Returns:
    Manifold.

  Raises:
    TypeError: if dim is not an integer.
    ValueError: if dim is below 1.

  Example:
    >>> projective_space(dim=1).project(jnp.array([1.0, 0.0, 0.0, 3.0])).tolist()
    [0.0, 0.0, 0.0, 1.0]

  References:
    Perez Rey, Menkovski & Portegies, Diffusion Variational Autoencoders, 2020. arXiv:1901.08991
  """
  check_positive_int(dim=dim)
  side = dim + 1

  def project(x: jax.Array) -> jax.Array:
    matrix = x.reshape(*x.shape[:-1], side, side)
    return _nearest_line(0.5 * (matrix + jnp.swapaxes(matrix, -1, -2))).reshape(x.shape)

  log_volume = log_area(side) - math.log(2)
  return Manifold(project, dim, side * side, log_volume, dim * (dim - 1.0), math.sqrt(2))


def _normalise(x: jax.Array) -> jax.Array:
  """Unit vectors; the zero vector, which has no direction, stays with a finite gradient."""
  size = jax.lax.stop_gradient(jnp.max(jnp.abs(x), axis=-1, keepdims=True))
  x = x / jnp.where(size > 0, size, 1)  # squares of any length stay in range
  square = jnp.sum(jnp.square(x), axis=-1, keepdims=True)
  return x * jax.lax.rsqrt(jnp.where(square > 0, square, 1))


@jax.custom_jvp
def _nearest_rotation(matrix: jax.Array) -> jax.Array:
  u, _, vt = _proper_svd(matrix)
  return _dot(u, vt)


@_nearest_rotation.defjvp
def _nearest_rotation_jvp(primals: tuple, tangents: tuple) -> tuple[jax.Array, jax.Array]:
  """With M = R P the antisymmetric R^T dR solves W P + P W = R^T dM - dM^T R."""
  u, s, vt = _proper_svd(primals[0])
  inner = _dot(_dot(jnp.swapaxes(u, -1, -2), tangents[0]), jnp.swapaxes(vt, -1, -2))
  gap = _bounded(s[..., :, None] + s[..., None, :], s[..., :1, None])
  turn = (inner - jnp.swapaxes(inner, -1, -2)) / gap
  return _dot(u, vt), _dot(_dot(u, turn), vt)


def _proper_svd(matrix: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Singular values, the last with the sign of the determinant, and factors that rotate."""
  u, s, vt = jnp.linalg.svd(matrix)
  sign = jnp.sign(jnp.linalg.det(_dot(u, vt)))[..., None]
  flip = jnp.concatenate([jnp.ones_like(sign), jnp.ones_like(sign), sign], axis=-1)
  return u * flip[..., None, :], s * flip, vt


@jax.custom_jvp
def _nearest_line(matrix: jax.Array) -> jax.Array:
  top = jnp.linalg.eigh(matrix)[1][..., -1]
  return top[..., :, None] * top[..., None, :]


@_nearest_line.defjvp
def _nearest_line_jvp(primals: tuple, tangents: tuple) -> tuple[jax.Array, jax.Array]:
  """First-order perturbation of the eigenvector, in which only gaps to the largest eigenvalue appear."""
  values, vectors = jnp.linalg.eigh(primals[0])
  top, rest = vectors[..., -1:], vectors[..., :-1]
  size = jnp.max(jnp.abs(values), axis=-1, keepdims=True)
  gap = _bounded(values[..., -1:] - values[..., :-1], size)
  slope = _dot(jnp.swapaxes(rest, -1, -2), _dot(tangents[0], top))
  moved = _dot(rest, slope / gap[..., None])
  outer = moved * jnp.swapaxes(top, -1, -2)
  return top * jnp.swapaxes(top, -1, -2), outer + jnp.swapaxes(outer, -1, -2)


def _bounded(gap: jax.Array, size: jax.Array) -> jax.Array:
  """Gaps of at least a thousandth of the matrix: where they close the nearest point jumps."""
  return jnp.maximum(gap, jnp.where(size > 0, 1e-3 * size, 1))
