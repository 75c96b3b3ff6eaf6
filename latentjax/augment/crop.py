"""Crops and flips."""

import math

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.augment._image import Range, as_image, as_size, check_interval, maybe, uniform

__all__ = ["random_crop", "random_flip", "random_resized_crop"]


def random_resized_crop(
  key: jax.Array,
  image: ArrayLike,
  *,
  size: int | tuple[int, int] | None = None,
  scale: Range = (0.08, 1.0),
  ratio: Range = (3 / 4, 4 / 3),
) -> jax.Array:
  r"""Rectangle of random area, shape and place, resized to a fixed size.

  .. math:: h w = a H W, \quad w / h = r, \qquad a \sim U(scale), \; \log r \sim U(\log ratio)

  The place is uniform among those inside the image and not bound to whole pixels. Resampling is
  linear and, where it shrinks, antialiased; it sees the pixels around the crop. Deviation: a side
  that would exceed the image is cut to it, where others draw again.

  Args:
    key: random key.
    image: shape (H, W, C).
    size: (height, width) of the result, one number for a square, None for the image's own.
    scale: smallest and largest area, as a share of the image's, in (0, 1].
    ratio: smallest and largest width over height, positive.

  Returns:
    Image of the given size in its dtype, shape (height, width, C). Gradient flows to it.

  Raises:
    TypeError: if image is not floating point or size is not an integer.
    ValueError: if image is not of rank 3, or size, scale or ratio is out of range.

  Example:
    >>> image = jnp.ones((28, 28, 1))
    >>> random_resized_crop(jax.random.key(0), image, size=14).shape
    (14, 14, 1)

  References:
    Szegedy et al., Going Deeper with Convolutions, 2014. arXiv:1409.4842
    Chen et al., A Simple Framework for Contrastive Learning of Visual Representations, 2020.
      arXiv:2002.05709
  """
  image = as_image(image)
  check_interval(0.0, 1.0, scale=scale)
  check_interval(0.0, ratio=ratio)
  if not scale[0] * ratio[0] > 0:
    raise ValueError(f"scale and ratio must be positive, got {scale} and {ratio}")
  height, width, channels = image.shape
  out = as_size(image, size=size)
  key_area, key_ratio, key_top, key_left = jax.random.split(key, 4)
  area = height * width * uniform(key_area, image, scale)
  root = jnp.exp(0.5 * uniform(key_ratio, image, (math.log(ratio[0]), math.log(ratio[1]))))
  crop_height = jnp.minimum(jnp.sqrt(area) / root, height)
  crop_width = jnp.minimum(jnp.sqrt(area) * root, width)
  top = uniform(key_top, image, (0.0, 1.0)) * (height - crop_height)
  left = uniform(key_left, image, (0.0, 1.0)) * (width - crop_width)
  zoom = jnp.stack([out[0] / crop_height, out[1] / crop_width])
  resized = jax.image.scale_and_translate(  # two products with banded matrices
    image, (*out, channels), (0, 1), zoom, -zoom * jnp.stack([top, left]), "linear"
  )
  return resized.astype(image.dtype)


def random_crop(
  key: jax.Array,
  image: ArrayLike,
  *,
  padding: int = 4,
  size: int | tuple[int, int] | None = None,
  fill: float = 0.0,
) -> jax.Array:
  r"""Part of the padded image, at a place that is uniform over whole pixels.

  .. math:: x'_{ij} = x_{i + a - p, j + b - p}, \qquad a \sim U\{0, \dots, H + 2p - h\}, \;
     b \sim U\{0, \dots, W + 2p - w\}

  Args:
    key: random key.
    image: shape (H, W, C).
    padding: p, pixels added on every side, at least 0.
    size: (h, w) of the result, one number for a square, None for the image's own.
    fill: value of the added pixels.

  Returns:
    Image in its dtype, shape (h, w, C). Gradient flows to what is seen.

  Raises:
    TypeError: if image is not floating point or size is not an integer.
    ValueError: if image is not of rank 3, padding is negative or size exceeds the padded image.

  Example:
    >>> random_crop(jax.random.key(0), jnp.ones((28, 28, 1)), padding=0, size=24).shape
    (24, 24, 1)

  References:
    He et al., Deep Residual Learning for Image Recognition, 2015, section 4.2. arXiv:1512.03385
  """
  image = as_image(image)
  if padding < 0:
    raise ValueError(f"padding must be at least 0, got {padding}")
  out = as_size(image, size=size)
  room = [image.shape[i] + 2 * padding - out[i] for i in (0, 1)]
  if min(room) < 0:
    raise ValueError(f"size must fit into the padded image, got {out}, {-min(room)} pixels more")
  padded = jnp.pad(image, ((padding, padding), (padding, padding), (0, 0)), constant_values=fill)
  top, left = jax.random.randint(key, (2,), 0, jnp.array(room) + 1)
  return jax.lax.dynamic_slice(padded, (top, left, 0), (*out, image.shape[2]))


def random_flip(key: jax.Array, image: ArrayLike, *, prob: float = 0.5) -> jax.Array:
  r"""Image with left and right exchanged, or not.

  .. math:: x'_{ij} = x_{i, W - 1 - j} \text{ with probability } prob, \quad x_{ij} \text{ otherwise}

  Args:
    key: random key.
    image: shape (H, W, C).
    prob: probability of the exchange.

  Returns:
    Image in its dtype, shape (H, W, C). Gradient flows to it.

  Raises:
    TypeError: if image is not floating point.
    ValueError: if image is not of rank 3 or prob is outside [0, 1].

  Example:
    >>> random_flip(jax.random.key(0), jnp.array([[[1.0], [2.0]]]), prob=1.0)[0, :, 0].tolist()
    [2.0, 1.0]

  References:
    Krizhevsky, Sutskever & Hinton, ImageNet Classification with Deep Convolutional Neural Networks,
      2012, section 4.1.
  """
  image = as_image(image)
  return maybe(key, prob, image[:, ::-1], image)
