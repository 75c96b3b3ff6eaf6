"""Squares of random size, place and brightness painted over an image."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_float, check_positive_int, check_range, check_rank

__all__ = ["random_squares"]


def random_squares(
  key: jax.Array,
  image: ArrayLike,
  *,
  num_squares: int = 3,
  max_size: int = 8,
  low: float = 0.0,
  high: float = 1.0,
) -> jax.Array:
  r"""Image with squares of one brightness each painted over it, for context encoding.

  .. math:: x'_{ij} = v_k \text{ in square } k, \quad x_{ij} \text{ elsewhere}, \qquad
     s_k \sim U\{0, \dots, s_{max}\}, \; v_k \sim U(low, high)

  The upper left corner is uniform among those that keep the square inside the image. A size of 0
  leaves a square out; of overlapping ones the last is seen.

  Args:
    key: random key.
    image: shape (H, W, C).
    num_squares: largest number of squares.
    max_size: largest side in pixels, at most H and W.
    low: lower end of the brightness.
    high: upper end of the brightness.

  Returns:
    The image in its dtype, shape (H, W, C). Gradient flows to what is not covered.

  Raises:
    TypeError: if image is not floating point or a size is not an integer.
    ValueError: if image is not of rank 3, a size is below 1, or max_size exceeds the image.

  Example:
    >>> image = jnp.full((8, 8, 1), 2.0)
    >>> changed = random_squares(jax.random.key(0), image, max_size=3)
    >>> 0 <= int((changed != 2.0).sum()) <= 3 * 9
    True

  References:
    Zimmerer et al., Context-encoding Variational Autoencoder for Unsupervised Anomaly Detection,
      2018. arXiv:1812.05941
  """
  check_float(image=image)
  check_rank(3, image=image)
  check_positive_int(num_squares=num_squares, max_size=max_size)
  check_range(low=low, high=high)
  image = jnp.asarray(image)
  height, width = image.shape[:2]
  if max_size > min(height, width):
    raise ValueError(f"max_size must be at most {min(height, width)}, got {max_size}")
  rows, columns = jnp.arange(height)[:, None], jnp.arange(width)[None]
  for square_key in jax.random.split(key, num_squares):
    key_size, key_top, key_left, key_value = jax.random.split(square_key, 4)
    size = jax.random.randint(key_size, (), 0, max_size + 1)
    top = jax.random.randint(key_top, (), 0, height - size + 1)
    left = jax.random.randint(key_left, (), 0, width - size + 1)
    value = jax.random.uniform(key_value, (), minval=low, maxval=high).astype(image.dtype)
    inside = (rows >= top) & (rows < top + size) & (columns >= left) & (columns < left + size)
    image = jnp.where(inside[..., None], value, image)
  return image
