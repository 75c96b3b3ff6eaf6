"""Smoothness of a latent space: how evenly what is decoded changes along a path."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import (
  check_batch,
  check_positive_int,
  check_range,
  check_same_shape,
  wide_dtype,
)
from latentjax.losses.contrastive import l2_normalize
from latentjax.metrics._pairs import safe_sqrt

__all__ = ["interpolation_deviation", "slerp"]


def interpolation_deviation(
  decode_fn: Callable[[jax.Array], jax.Array],
  z_0: ArrayLike,
  z_1: ArrayLike,
  *,
  num_frames: int = 11,
) -> jax.Array:
  r"""Interpolation standard deviation (ISTD): of the distances between neighbouring frames of a path.

  .. math::

    \mathrm{std}_n \|x_{n + 1} - x_n\|, \qquad
    x_n = \mathrm{decode}\big(\mathrm{slerp}(z_0, z_1, \tfrac n{N - 1})\big)

  0 if what is decoded changes evenly along the great circle.

  Args:
    decode_fn: `(z) -> x`, z (M, ...), x (M, ...); all frames of all pairs at once.
    z_0: where paths begin, normal noise, shape (B, ...).
    z_1: where they end, the same shape.
    num_frames: N, at least 3.

  Returns:
    Deviation for every pair, in units of x, shape (B,). Gradient flows to both ends and through
    decode_fn; it is zero where the deviation is.

  Raises:
    TypeError: if an array is not floating point or num_frames not an integer.
    ValueError: if the shapes differ or num_frames is below 3.

  Example:
    >>> z_0, z_1 = jnp.array([[1.0, 0.0]]), jnp.array([[0.0, 1.0]])
    >>> bool(interpolation_deviation(lambda z: z, z_0, z_1)[0] < 1e-6)
    True

  References:
    Guo et al., Smooth Diffusion: Crafting Smooth Latent Spaces in Diffusion Models, 2023.
      arXiv:2312.04410
  """
  check_positive_int(num_frames=num_frames)
  check_range(3, num_frames=num_frames)
  check_batch(z_0=z_0, z_1=z_1)
  check_same_shape(z_0=z_0, z_1=z_1)
  place = jnp.linspace(0.0, 1.0, num_frames)
  path = jax.vmap(lambda share: slerp(z_0, z_1, share))(place)
  frames = decode_fn(path.reshape(-1, *path.shape[2:]))
  frames = frames.reshape(num_frames, path.shape[1], -1).astype(wide_dtype(frames))
  distances = safe_sqrt(jnp.sum(jnp.square(frames[1:] - frames[:-1]), axis=-1))
  return safe_sqrt(jnp.var(distances, axis=0))


def slerp(z_0: ArrayLike, z_1: ArrayLike, share: ArrayLike) -> jax.Array:
  r"""Spherical interpolation: along the arc between two directions.

  .. math::

    \frac{\sin((1 - s) \omega)}{\sin \omega} z_0 + \frac{\sin(s \omega)}{\sin \omega} z_1, \qquad
    \omega = \angle(z_0, z_1)

  Of normal noise of many dimensions it is nearly as normal as its ends, in contrast to a straight line,
  which becomes short; where the two are parallel it is that line.

  Args:
    z_0: shape (B, ...).
    z_1: the same shape.
    share: s in [0, 1], of shape ().

  Returns:
    Points, the shape of z_0, float32 or wider. Gradient flows to all arguments.

  Raises:
    TypeError: if an array is not floating point.
    ValueError: if the shapes differ, are () or empty, or share is not a scalar.

  Example:
    >>> z = slerp(jnp.array([[2.0, 0.0]]), jnp.array([[0.0, 2.0]]), 0.5)
    >>> round(float(z[0, 0]), 4), round(float(z[0, 1]), 4)
    (1.4142, 1.4142)

  References:
    Shoemake, Animating Rotation with Quaternion Curves, 1985.
  """
  check_batch(z_0=z_0, z_1=z_1)
  check_same_shape(z_0=z_0, z_1=z_1)
  if jnp.ndim(share) != 0:
    raise ValueError(f"share must be a scalar, got shape {jnp.shape(share)}")
  dtype = wide_dtype(z_0, z_1)
  z_0, z_1 = jnp.asarray(z_0, dtype), jnp.asarray(z_1, dtype)
  u, v = (l2_normalize(z.reshape(z.shape[0], -1)) for z in (z_0, z_1))
  cosine = jnp.sum(u * v, axis=1).reshape(-1, *(1,) * (z_0.ndim - 1))
  bent = jnp.abs(cosine) < 1 - 1e-6
  omega = jnp.arccos(jnp.where(bent, cosine, 0))
  first, second = (
    jnp.where(bent, jnp.sin(part * omega) / jnp.sin(omega), part) for part in (1 - share, share)
  )
  return first * z_0 + second * z_1
