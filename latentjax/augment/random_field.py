"""Augmentations whose strength varies over the image as a Gaussian random field."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from latentjax.augment._image import as_image
from latentjax.augment._resample import affine_coordinates, resample
from latentjax.augment.color import change_color, change_tone
from latentjax.checks import check_positive_int, check_range, check_same_shape, wide_dtype

__all__ = ["gaussian_random_field", "local_color", "local_warp", "random_field_augment"]


def gaussian_random_field(
  key: jax.Array, *, shape: tuple[int, ...], gamma: ArrayLike, max_frequency: int | None = None
) -> jax.Array:
  r"""Stationary Gaussian fields on a torus, whose power falls with the frequency as a power law.

  .. math:: f(u) = \sum_k a_k \epsilon_k (\cos 2 \pi k^\top u + \sin 2 \pi k^\top u), \quad
     a_k^2 \propto \max(|k|, 1 / \sqrt 2)^{-\gamma}, \; \sum_k a_k^2 = 1, \qquad
     \epsilon_k \sim N(0, 1)

  k counts periods along the longer side. gamma = 0 is white noise, above 4 fields have slopes that do
  not grow with the resolution, and as gamma grows they become constant: the law has no value at
  k = 0, here its power is 2^(gamma / 2) times that at |k| = 1. Two products with matrices of waves, on
  CPU faster than a Fourier transform of a small image; most of the time goes into the noise, and
  frequencies without power to speak of are worth leaving out.

  Args:
    key: random key.
    shape: (..., H, W), one independent field for every leading index.
    gamma: minus the slope of log power by log frequency, at least 0. Can be traced.
    max_frequency: largest frequency along a side that is drawn; None for all.

  Returns:
    Fields of the given shape, float32 (float64 under x64), with mean 0 and variance 1 over draws.

  Raises:
    TypeError: if max_frequency is not an integer.
    ValueError: if shape has less than two axes, gamma is negative or max_frequency is below 1.

  Example:
    >>> gaussian_random_field(jax.random.key(0), shape=(5, 28, 28), gamma=4.0).shape
    (5, 28, 28)

  References:
    Mansfield, Afkanpour, Morningstar & Singhal, Random Field Augmentations for Self-Supervised
      Representation Learning, 2023. arXiv:2311.03629
  """
  check_range(0.0, gamma=gamma)
  if len(shape) < 2:
    raise ValueError(f"shape must end in height and width, got {shape}")
  if max_frequency is not None:
    check_positive_int(max_frequency=max_frequency)
  sides = shape[-2:]
  known = [np.arange(-(n // 2), (n + 1) // 2) for n in sides]
  drawn = [k if max_frequency is None else k[abs(k) <= max_frequency] for k in known]
  row, column = (k * max(sides) / n for k, n in zip(drawn, sides))
  log_radius = np.log(np.maximum(np.hypot(row[:, None], column), math.sqrt(0.5)))
  power = jax.nn.softmax(-jnp.asarray(gamma) * log_radius, axis=(0, 1))
  noise = jax.random.normal(key, (*shape[:-2], *power.shape)) * jnp.sqrt(power)
  down, right = (2 * np.pi * np.outer(np.arange(n), k) / n for n, k in zip(sides, drawn))
  # cos(a + b) + sin(a + b) = cos a (cos b + sin b) + sin a (cos b - sin b)
  rows = np.stack([np.cos(down), np.sin(down)])
  columns = np.stack([np.cos(right) + np.sin(right), np.cos(right) - np.sin(right)])
  waves = [jnp.asarray(w, noise.dtype) for w in (rows, columns)]
  return jnp.einsum("thk,...kl,twl->...hw", waves[0], noise, waves[1])


def local_warp(
  image: ArrayLike,
  shift: ArrayLike,
  angle: ArrayLike,
  log_scale: ArrayLike,
  *,
  fill: float | None = None,
) -> jax.Array:
  r"""Image shifted, turned and scaled by other amounts at every pixel, sampled bilinearly.

  .. math:: x'(u) = x\big(c + e^{-s(u)} R_{a(u)}^{-1} (u - c - t(u))\big)

  Coordinates are (row, column) in pixels and c the centre of the image; R turns the picture
  counter-clockwise. Constant fields give an affine map of the whole image.

  Args:
    image: shape (H, W, C).
    shift: t in pixels down and right, shape (2, H, W).
    angle: a in radians, shape (H, W).
    log_scale: s, log of the magnification, shape (H, W).
    fill: value outside the image; None continues its border.

  Returns:
    Image in its dtype, shape (H, W, C). Gradient flows to all arguments, to the fields by the slope of
    the interpolated image.

  Raises:
    TypeError: if image is not floating point.
    ValueError: if image is not of rank 3 or a field has another shape.

  Example:
    >>> image, still = jnp.eye(3)[..., None], jnp.zeros((3, 3))
    >>> moved = local_warp(image, jnp.stack([still, still + 1]), still, still, fill=0.0)
    >>> moved[..., 0].tolist()
    [[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]]

  References:
    Mansfield et al., Random Field Augmentations for Self-Supervised Representation Learning, 2023.
      arXiv:2311.03629
  """
  image = as_image(image)
  _check_fields(image, angle=angle, log_scale=log_scale)
  if jnp.shape(shift) != (2, *image.shape[:2]):
    raise ValueError(f"shift must have shape {(2, *image.shape[:2])}, got {jnp.shape(shift)}")
  wide = [jnp.asarray(field, wide_dtype(image, field)) for field in (shift, angle, log_scale)]
  rows, columns = affine_coordinates(image.shape[:2], *wide)
  return resample(image, rows, columns, fill=fill)


def local_color(
  image: ArrayLike,
  brightness: ArrayLike,
  contrast: ArrayLike,
  saturation: ArrayLike,
  hue: ArrayLike,
) -> jax.Array:
  r"""Brightness, contrast, saturation and hue changed by other amounts at every pixel.

  .. math:: x \leftarrow b(u) x, \quad x \leftarrow \bar x + c(u) (x - \bar x), \quad
     S \leftarrow s(u) S, \; H \leftarrow H + h(u)

  The mean is that of a channel over the image; what leaves [0, 1] is cut off after every step.

  Args:
    image: shape (H, W, C) in [0, 1]; saturation and hue are left alone unless C = 3.
    brightness: b, factor, shape (H, W).
    contrast: c, factor, shape (H, W).
    saturation: s, factor, shape (H, W).
    hue: h in turns, shape (H, W).

  Returns:
    Image in [0, 1] in its dtype, shape (H, W, C). Gradient flows to all arguments that are used.

  Raises:
    TypeError: if image is not floating point.
    ValueError: if image is not of rank 3 or a field has another shape.

  Example:
    >>> image, one = jnp.full((2, 2, 1), 0.5), jnp.ones((2, 2))
    >>> local_color(image, jnp.array([[0.0, 1.0], [1.0, 4.0]]), one, one, one)[..., 0].tolist()
    [[0.0, 0.5], [0.5, 1.0]]

  References:
    Mansfield et al., Random Field Augmentations for Self-Supervised Representation Learning, 2023.
      arXiv:2311.03629
  """
  image = as_image(image)
  _check_fields(image, brightness=brightness, contrast=contrast, saturation=saturation, hue=hue)
  b, c, s, h = (
    jnp.asarray(f, wide_dtype(image, f)) for f in (brightness, contrast, saturation, hue)
  )
  x = change_tone(image.astype(wide_dtype(image)), b[..., None], c[..., None])
  return (change_color(x, s, h) if image.shape[2] == 3 else x).astype(image.dtype)


def random_field_augment(
  key: jax.Array,
  image: ArrayLike,
  *,
  gamma: ArrayLike = 5.0,
  strength: ArrayLike = 1.0,
  shift: float = 0.05,
  angle: float = 0.15,
  scale: float = 0.1,
  brightness: float = 0.3,
  contrast: float = 0.3,
  saturation: float = 0.3,
  hue: float = 0.05,
  max_frequency: int | None = 4,
) -> jax.Array:
  r"""Local colour change, then local warp, whose parameters are independent Gaussian random fields.

  .. math:: t = \sigma_t f_1, \; a = \sigma_a f_2, \; s = \sigma_s f_3, \quad
     (b, c, s') = \exp(\sigma f), \; h = \sigma_h f_7, \qquad f_i \sim GRF(\gamma)

  Large gamma gives affine maps and colour jitter of the whole image, small gamma tears it. How strong
  and how smooth decides what it is good for; the defaults are mild, and ours.

  Args:
    key: random key.
    image: shape (H, W, C) in [0, 1].
    gamma: minus the slope of the fields' log power by log frequency. Can be traced.
    strength: factor of all that follow, at least 0. Can be traced.
    shift: standard deviation of the translation, as a share of height and width.
    angle: that of the rotation, in radians.
    scale: that of the log of the magnification.
    brightness: that of the log of the brightness factor.
    contrast: that of the log of the contrast factor.
    saturation: that of the log of the saturation factor.
    hue: that of the hue's rotation, in turns.
    max_frequency: largest frequency of the fields along a side. Those above 4 have 0.2 % of the
      variance for gamma = 5; None for all.

  Returns:
    Image in [0, 1] in its dtype, shape (H, W, C). Gradient flows to it.

  Raises:
    TypeError: if image is not floating point.
    ValueError: if image is not of rank 3 or a setting is negative.

  Example:
    >>> random_field_augment(jax.random.key(0), jnp.ones((28, 28, 1))).shape
    (28, 28, 1)

  References:
    Mansfield, Afkanpour, Morningstar & Singhal, Random Field Augmentations for Self-Supervised
      Representation Learning, 2023. arXiv:2311.03629
  """
  image = as_image(image)
  check_range(0.0, strength=strength, shift=shift, angle=angle, scale=scale)
  check_range(0.0, brightness=brightness, contrast=contrast, saturation=saturation, hue=hue)
  height, width, channels = image.shape
  spread = [shift * height, shift * width, angle, scale, brightness, contrast, saturation, hue]
  used = 8 if channels == 3 else 6
  fields = gaussian_random_field(
    key, shape=(used, height, width), gamma=gamma, max_frequency=max_frequency
  )
  fields = fields * (strength * jnp.asarray(spread[:used]))[:, None, None]
  fields = jnp.pad(fields, ((0, 8 - used), (0, 0), (0, 0)))
  b, c, s = jnp.exp(fields[4]), jnp.exp(fields[5]), jnp.exp(fields[6])
  # In this order XLA does not sample the image again in every channel that a new colour depends on.
  x = local_color(image, b, c, s, fields[7])
  return local_warp(x, fields[:2], fields[2], fields[3])


def _check_fields(image: jax.Array, **fields: ArrayLike) -> None:
  for name, field in fields.items():
    check_same_shape(**{"image without channels": image[..., 0], name: field})
