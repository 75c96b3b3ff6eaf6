"""Random affine maps of the plane: rotation, translation, scale and shear."""

import math

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.augment._image import Range, as_image, check_interval, uniform
from latentjax.augment._resample import affine_coordinates, resample
from latentjax.checks import check_range

__all__ = ["random_affine", "random_rotation"]


def random_affine(
  key: jax.Array,
  image: ArrayLike,
  *,
  angle: float = math.pi / 12,
  shift: float = 0.1,
  scale: Range = (0.9, 1.1),
  shear: float = 0.0,
  fill: float = 0.0,
) -> jax.Array:
  r"""Image rotated, sheared, scaled and shifted at random, sampled bilinearly.

  .. math:: x'(u) = x\big(c + \tfrac1s \, S_k R_a^{-1} (u - c - t)\big), \qquad
     a \sim U(-angle, angle), \; t \sim U(-shift, shift)^2 (H, W), \; s \sim U(scale), \;
     k \sim U(-shear, shear)

  Coordinates are (row, column) in pixels and c the centre of the image; R turns the picture
  counter-clockwise by a, S = [[1, 0], [k, 1]] adds k times the row to the column.

  Args:
    key: random key.
    image: shape (H, W, C).
    angle: largest rotation in radians, at least 0.
    shift: largest translation as a share of height and width, at least 0.
    scale: smallest and largest magnification, positive.
    shear: largest shear, at least 0.
    fill: value outside the image.

  Returns:
    Image in its dtype, shape (H, W, C). Gradient flows to it.

  Raises:
    TypeError: if image is not floating point.
    ValueError: if image is not of rank 3 or a setting is out of range.

  Example:
    >>> image = jnp.eye(5)[..., None]
    >>> still = {"angle": 0.0, "shift": 0.0, "scale": (1.0, 1.0)}
    >>> bool(jnp.all(random_affine(jax.random.key(0), image, **still) == image))
    True

  References:
    Simard, Steinkraus & Platt, Best Practices for Convolutional Neural Networks Applied to Visual
      Document Analysis, 2003.
  """
  image = as_image(image)
  check_range(0.0, angle=angle, shift=shift, shear=shear)
  check_interval(0.0, scale=scale)
  if scale[0] == 0:
    raise ValueError(f"scale must be positive, got {scale}")
  keys = jax.random.split(key, 5)
  intervals = ((-angle, angle), (-shift, shift), (-shift, shift), scale, (-shear, shear))
  a, t_row, t_column, s, k = (uniform(*draw) for draw in zip(keys, [image] * 5, intervals))
  shift_pixels = jnp.stack([t_row * image.shape[0], t_column * image.shape[1]])
  rows, columns = affine_coordinates(image.shape[:2], shift_pixels, a, jnp.log(s), k)
  return resample(image, rows, columns, fill=fill)


def random_rotation(
  key: jax.Array, image: ArrayLike, *, angle: float = math.pi / 12, fill: float = 0.0
) -> jax.Array:
  r"""Image turned about its centre by a random angle, sampled bilinearly.

  .. math:: x'(u) = x\big(c + R_a^{-1} (u - c)\big), \qquad a \sim U(-angle, angle)

  Args:
    key: random key.
    image: shape (H, W, C).
    angle: largest rotation in radians, at least 0.
    fill: value outside the image.

  Returns:
    Image in its dtype, shape (H, W, C). Gradient flows to it.

  Raises:
    TypeError: if image is not floating point.
    ValueError: if image is not of rank 3 or angle is negative.

  Example:
    >>> random_rotation(jax.random.key(0), jnp.ones((5, 5, 1)))[2, 2].round(3).tolist()
    [1.0]

  References:
    Gidaris, Singh & Komodakis, Unsupervised Representation Learning by Predicting Image Rotations,
      2018. arXiv:1803.07728
  """
  return random_affine(key, image, angle=angle, shift=0.0, scale=(1.0, 1.0), fill=fill)
