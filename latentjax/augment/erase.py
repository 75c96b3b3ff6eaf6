"""Cutout: a square of the image is taken away."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.augment._image import as_image, maybe
from latentjax.checks import check_positive_int

__all__ = ["cutout"]


def cutout(
  key: jax.Array, image: ArrayLike, *, size: int = 8, fill: float = 0.0, prob: float = 1.0
) -> jax.Array:
  r"""Image in which a square around a random pixel has one value.

  .. math:: x'_{ij} = fill \text{ where } -\lfloor s / 2 \rfloor \le i - a, \, j - b < \lceil s / 2 \rceil,
     \qquad a \sim U\{0, \dots, H - 1\}, \; b \sim U\{0, \dots, W - 1\}

  The square may reach over the border, so every pixel is about as likely to be covered.

  Args:
    key: random key.
    image: shape (H, W, C).
    size: s, side of the square in pixels.
    fill: value that it gets; the data's mean in the paper, 0 after normalisation.
    prob: probability of the change.

  Returns:
    Image in its dtype, shape (H, W, C). Gradient flows to what is not covered.

  Raises:
    TypeError: if image is not floating point or size is not an integer.
    ValueError: if image is not of rank 3, size is below 1 or prob is outside [0, 1].

  Example:
    >>> image = cutout(jax.random.key(0), jnp.ones((8, 8, 1)), size=3)
    >>> 4 <= int(64 - image.sum()) <= 9
    True

  References:
    DeVries & Taylor, Improved Regularization of Convolutional Neural Networks with Cutout, 2017.
      arXiv:1708.04552
  """
  image = as_image(image)
  check_positive_int(size=size)
  key_row, key_column, key_prob = jax.random.split(key, 3)
  rows, columns = (
    box(k, n, jnp.int32(size)) for k, n in zip((key_row, key_column), image.shape[:2])
  )
  inside = (rows[:, None] & columns)[..., None]
  return maybe(key_prob, prob, jnp.where(inside, jnp.asarray(fill, image.dtype), image), image)


def box(key: jax.Array, length: int, size: jax.Array) -> jax.Array:
  """Which of so many pixels lie within `size` around a random one, bool (length,)."""
  centre = jax.random.randint(key, (), 0, length)
  offset = jnp.arange(length) - centre + size // 2
  return (offset >= 0) & (offset < size)
