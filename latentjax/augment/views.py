"""Several random views of one image, and the composition that made contrastive learning work."""

from collections.abc import Callable

import jax
from jax.typing import ArrayLike

from latentjax.augment._image import Range, as_image, as_size
from latentjax.augment.blur import gaussian_blur
from latentjax.augment.color import color_jitter, random_grayscale
from latentjax.augment.crop import random_flip, random_resized_crop
from latentjax.checks import check_positive_int, check_range

__all__ = ["multi_crop", "simclr_view", "two_views"]


def two_views(
  key: jax.Array, image: ArrayLike, augment_fn: Callable[[jax.Array, jax.Array], jax.Array]
) -> tuple[jax.Array, jax.Array]:
  r"""One image changed twice, independently.

  .. math:: x_1 = t_1(x), \; x_2 = t_2(x), \qquad t_1, t_2 \sim \mathcal T

  Args:
    key: random key.
    image: shape (H, W, C).
    augment_fn: `(key, image) -> image`, one draw of t and its result.

  Returns:
    Both views, each of the shape that `augment_fn` gives.

  Raises:
    TypeError: if image is not floating point.
    ValueError: if image is not of rank 3.

  Example:
    >>> z_1, z_2 = two_views(jax.random.key(0), jnp.ones((8, 8, 1)), random_resized_crop)
    >>> z_1.shape
    (8, 8, 1)

  References:
    Chen et al., A Simple Framework for Contrastive Learning of Visual Representations, 2020.
      arXiv:2002.05709
  """
  image = as_image(image)
  views = jax.vmap(augment_fn, (0, None))(jax.random.split(key), image)
  return views[0], views[1]


def simclr_view(
  key: jax.Array,
  image: ArrayLike,
  *,
  size: int | tuple[int, int] | None = None,
  scale: Range = (0.08, 1.0),
  strength: float = 1.0,
  flip_prob: float = 0.5,
  blur_prob: float = 0.5,
) -> jax.Array:
  r"""Crop and resize, flip, colour jitter, grayscale, blur: a view as SimCLR makes it.

  .. math:: t = blur \circ gray \circ jitter_{strength} \circ flip \circ crop

  Jitter happens with probability 0.8 and grayscale with 0.2; the blur's sigma is uniform in
  [0.1, 2] pixels, which is meant for large images. For CIFAR-10 the paper takes strength 0.5 and no
  blur. A flip changes what digits and letters are: set its probability to 0 for them.

  Args:
    key: random key.
    image: shape (H, W, C) in [0, 1].
    size: (height, width) of the view, one number for a square, None for the image's own.
    scale: smallest and largest area of the crop, as a share of the image's.
    strength: factor of the jitter's ranges, in [0, 2.5].
    flip_prob: probability of the flip.
    blur_prob: probability of the blur.

  Returns:
    View in [0, 1] in the image's dtype, shape (height, width, C). Gradient flows to the image.

  Raises:
    TypeError: if image is not floating point.
    ValueError: if image is not of rank 3 or a setting is out of range.

  Example:
    >>> simclr_view(jax.random.key(0), jnp.ones((32, 32, 3)), strength=0.5, blur_prob=0.0).shape
    (32, 32, 3)

  References:
    Chen et al., A Simple Framework for Contrastive Learning of Visual Representations, 2020,
      appendix A. arXiv:2002.05709
  """
  check_range(0.0, 2.5, strength=strength)
  tone, hue = 0.8 * strength, 0.2 * strength
  key_crop, key_flip, key_jitter, key_gray, key_blur = jax.random.split(key, 5)
  x = random_resized_crop(key_crop, image, size=size, scale=scale)
  x = random_flip(key_flip, x, prob=flip_prob)
  x = color_jitter(key_jitter, x, brightness=tone, contrast=tone, saturation=tone, hue=hue)
  x = random_grayscale(key_gray, x)
  return gaussian_blur(key_blur, x, prob=blur_prob) if blur_prob else x


def multi_crop(
  key: jax.Array,
  image: ArrayLike,
  *,
  augment_fn: Callable[[jax.Array, jax.Array], jax.Array] | None = None,
  num_global: int = 2,
  num_local: int = 6,
  global_size: int | tuple[int, int] | None = None,
  local_size: int | tuple[int, int] | None = None,
  global_scale: Range = (0.4, 1.0),
  local_scale: Range = (0.05, 0.4),
) -> tuple[jax.Array, jax.Array]:
  r"""A few large crops at full size and more small ones at a smaller size.

  .. math:: \{t(crop_{global}(x))\}_{G}, \quad \{t(crop_{local}(x))\}_{L}

  Args:
    key: random key.
    image: shape (H, W, C).
    augment_fn: `(key, crop) -> crop`, what else happens to each; None: nothing.
    num_global: G, at least 1.
    num_local: L, at least 0.
    global_size: (height, width) of a global crop, one number for a square, None for the image's own.
    local_size: that of a local crop; None for half the global one, rounded up.
    global_scale: smallest and largest area of a global crop, as a share of the image's.
    local_scale: that of a local crop.

  Returns:
    Global crops (G, height, width, C) and local crops (L, height', width', C), in the image's dtype.
    Gradient flows to the image.

  Raises:
    TypeError: if image is not floating point, or a number or size is not an integer.
    ValueError: if image is not of rank 3 or a setting is out of range.

  Example:
    >>> views = multi_crop(jax.random.key(0), jnp.ones((32, 32, 3)))
    >>> [v.shape for v in views]
    [(2, 32, 32, 3), (6, 16, 16, 3)]

  References:
    Caron et al., Unsupervised Learning of Visual Features by Contrasting Cluster Assignments, 2020.
      arXiv:2006.09882
    Caron et al., Emerging Properties in Self-Supervised Vision Transformers, 2021. arXiv:2104.14294
  """
  image = as_image(image)
  check_positive_int(num_global=num_global)
  if num_local < 0:
    raise ValueError(f"num_local must be at least 0, got {num_local}")
  out = as_size(image, global_size=global_size)
  half = -(-out[0] // 2), -(-out[1] // 2)
  small = as_size(image, local_size=half if local_size is None else local_size)

  def crop(key: jax.Array, size: tuple[int, int], scale: Range) -> jax.Array:
    key_crop, key_augment = jax.random.split(key)
    view = random_resized_crop(key_crop, image, size=size, scale=scale)
    return view if augment_fn is None else augment_fn(key_augment, view)

  keys = jax.random.split(key, num_global + num_local)
  return (
    jax.vmap(lambda key: crop(key, out, global_scale))(keys[:num_global]),
    jax.vmap(lambda key: crop(key, small, local_scale))(keys[num_global:]),
  )
