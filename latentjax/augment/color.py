"""Random changes of brightness, contrast and colour. Images with one channel have no hue."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.augment._image import as_image, check_interval, maybe, uniform
from latentjax.checks import check_range, wide_dtype

__all__ = ["color_jitter", "random_grayscale", "random_solarize"]


def color_jitter(
  key: jax.Array,
  image: ArrayLike,
  *,
  brightness: float = 0.8,
  contrast: float = 0.8,
  saturation: float = 0.8,
  hue: float = 0.2,
  prob: float = 0.8,
) -> jax.Array:
  r"""Brightness, contrast, saturation and hue changed at random, in this order.

  .. math:: x \leftarrow b x, \quad x \leftarrow \bar x + c (x - \bar x), \quad
     S \leftarrow s S, \; H \leftarrow H + h, \qquad
     b \sim U(\max(0, 1 - brightness), 1 + brightness), \; c, s \text{ likewise}, \;
     h \sim U(-hue, hue)

  The mean is that of a channel over the image; S and H are saturation and hue of the HSV hexcone. What
  leaves [0, 1] is cut off after every step. The defaults are SimCLR's for ImageNet; half of them is
  what it takes for CIFAR-10. Deviation: the order is fixed. A random one would have to evaluate every
  change at every place once the function is mapped over images, four times the work.

  Args:
    key: random key.
    image: shape (H, W, C) in [0, 1]; saturation and hue are left alone unless C = 3.
    brightness: largest relative change, at least 0.
    contrast: largest relative change of the distance to the mean, at least 0.
    saturation: largest relative change, at least 0.
    hue: largest rotation, in turns, in [0, 0.5].
    prob: probability that anything changes.

  Returns:
    Image in [0, 1] in its dtype, shape (H, W, C). Gradient flows to it.

  Raises:
    TypeError: if image is not floating point.
    ValueError: if image is not of rank 3 or a setting is out of range.

  Example:
    >>> image = jnp.full((4, 4, 3), 0.5)
    >>> bool(jnp.all(color_jitter(jax.random.key(0), image, brightness=0.0) == image))  # all grey
    True

  References:
    Chen et al., A Simple Framework for Contrastive Learning of Visual Representations, 2020,
      appendix A. arXiv:2002.05709
  """
  image = as_image(image)
  check_range(0.0, brightness=brightness, contrast=contrast, saturation=saturation)
  check_range(0.0, 0.5, hue=hue)
  keys = jax.random.split(key, 5)
  b, c, s = (
    uniform(k, image, (max(0.0, 1 - most), 1 + most))
    for k, most in zip(keys, (brightness, contrast, saturation))
  )
  x = change_tone(image.astype(wide_dtype(image)), b, c)
  if image.shape[2] == 3 and (saturation or hue):
    x = change_color(x, s, uniform(keys[3], image, (-hue, hue)))
  return maybe(keys[4], prob, x, image)


def random_grayscale(key: jax.Array, image: ArrayLike, *, prob: float = 0.2) -> jax.Array:
  r"""Image without its colours, or as it is.

  .. math:: x'_c = 0.2989 x_R + 0.587 x_G + 0.114 x_B \text{ with probability } prob

  Args:
    key: random key.
    image: shape (H, W, C); one that has not three channels stays as it is.
    prob: probability of the change.

  Returns:
    Image in its dtype, shape (H, W, C). Gradient flows to it.

  Raises:
    TypeError: if image is not floating point.
    ValueError: if image is not of rank 3 or prob is outside [0, 1].

  Example:
    >>> red = jnp.array([[[1.0, 0.0, 0.0]]])
    >>> jnp.allclose(random_grayscale(jax.random.key(0), red, prob=1.0), 0.2989).tolist()
    True

  References:
    Chen et al., A Simple Framework for Contrastive Learning of Visual Representations, 2020,
      appendix A. arXiv:2002.05709
  """
  import dm_pix

  image = as_image(image)
  gray = dm_pix.rgb_to_grayscale(image, keep_dims=True) if image.shape[2] == 3 else image
  return maybe(key, prob, gray, image)


def random_solarize(
  key: jax.Array, image: ArrayLike, *, threshold: float = 0.5, prob: float = 0.2
) -> jax.Array:
  r"""Image whose bright pixels are inverted, or as it is.

  .. math:: x' = 1 - x \text{ where } x \ge threshold, \quad x \text{ elsewhere; with probability } prob

  Args:
    key: random key.
    image: shape (H, W, C) in [0, 1].
    threshold: the least value that is inverted, in [0, 1].
    prob: probability of the change.

  Returns:
    Image in its dtype, shape (H, W, C). Gradient flows to it.

  Raises:
    TypeError: if image is not floating point.
    ValueError: if image is not of rank 3, or threshold or prob is outside [0, 1].

  Example:
    >>> image = jnp.array([[[0.25], [0.75]]])
    >>> random_solarize(jax.random.key(0), image, prob=1.0).ravel().tolist()
    [0.25, 0.25]

  References:
    Grill et al., Bootstrap Your Own Latent, 2020, appendix B. arXiv:2006.07733
  """
  import dm_pix

  image = as_image(image)
  check_interval(0.0, 1.0, threshold=(threshold, 1.0))
  return maybe(key, prob, dm_pix.solarize(image, threshold), image)


def change_tone(image: jax.Array, brightness: jax.Array, contrast: jax.Array) -> jax.Array:
  """Image in [0, 1] times the brightness, then its distance from the mean times the contrast."""
  import dm_pix

  image = jnp.clip(image * brightness, 0.0, 1.0)
  return jnp.clip(dm_pix.adjust_contrast(image, contrast), 0.0, 1.0)


def change_color(image: jax.Array, saturation: jax.Array, hue: jax.Array) -> jax.Array:
  """Saturation of an RGB image times a factor, then hue plus turns; numbers or fields (H, W)."""
  import dm_pix

  h, s, v = jnp.moveaxis(dm_pix.rgb_to_hsv(image), -1, 0)
  s = jnp.clip(s * saturation, 0.0, 1.0)
  return dm_pix.hsv_to_rgb(jnp.stack([h + hue, s, v], axis=-1))
