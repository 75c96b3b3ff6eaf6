"""Where an affine map takes every pixel from, and bilinear sampling of an image there."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike


def resample(
  image: jax.Array, rows: jax.Array, columns: jax.Array, *, fill: float | None = 0.0
) -> jax.Array:
  """Values of an image (H, W, C) at coordinates in pixels, in its dtype.

  All channels of a pixel are fetched at once, five times as fast on CPU as channel by channel.

  Args:
    image: shape (H, W, C).
    rows: shape S.
    columns: shape S.
    fill: value outside the image; None continues the border.

  Returns:
    Shape (*S, C).
  """
  height, width, channels = image.shape
  if fill is None:
    rows, columns = jnp.clip(rows, 0, height - 1), jnp.clip(columns, 0, width - 1)
    padded = jnp.pad(image, ((1, 1), (1, 1), (0, 0)), mode="edge")
  else:  # one pixel of `fill` on every side; what lies farther out is in its middle
    rows, columns = jnp.clip(rows, -1, height), jnp.clip(columns, -1, width)
    padded = jnp.pad(image, ((1, 1), (1, 1), (0, 0)), constant_values=fill)
  top = jnp.minimum(jnp.floor(rows), height - 1)
  left = jnp.minimum(jnp.floor(columns), width - 1)
  down, right = (rows - top)[..., None], (columns - left)[..., None]
  corner = (top.astype(int) + 1) * (width + 2) + left.astype(int) + 1
  pixels = padded.reshape(-1, channels)
  at = lambda offset: pixels.at[corner + offset].get(mode="promise_in_bounds")
  upper = (1 - right) * at(0) + right * at(1)
  lower = (1 - right) * at(width + 2) + right * at(width + 3)
  return ((1 - down) * upper + down * lower).astype(image.dtype)


def affine_coordinates(
  size: tuple[int, ...],
  shift: jax.Array,
  angle: jax.Array,
  log_scale: jax.Array,
  shear: ArrayLike = 0.0,
) -> tuple[jax.Array, jax.Array]:
  """Rows and columns c + S R^-1 (u - c - t) / scale of an image of this size, in pixels.

  The shift t (2, ...) in pixels, the angle, the log of the scale and the shear are numbers or vary over
  the image, (H, W).
  """
  height, width = size
  down, right = (jnp.arange(n, dtype=shift.dtype) - (n - 1) / 2 for n in size)
  row, column = down[:, None] - shift[0], right - shift[1]
  shrink = jnp.exp(-log_scale)
  sin, cos = shrink * jnp.sin(angle), shrink * jnp.cos(angle)
  row, column = cos * row + sin * column, cos * column - sin * row
  return row + (height - 1) / 2, column + shear * row + (width - 1) / 2
