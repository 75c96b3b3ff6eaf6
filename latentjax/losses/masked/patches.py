"""Images as sequences of square patches, and back."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_positive_int, check_rank

__all__ = ["patchify", "unpatchify"]


def patchify(image: ArrayLike, *, patch_size: int) -> jax.Array:
  r"""Patches of images, row by row.

  .. math:: x_{b, \, i W / p + j} = \mathrm{vec} \, I_{b, \, ip : (i + 1) p, \, jp : (j + 1) p, \, :}

  Args:
    image: shape (B, H, W, C), any dtype.
    patch_size: p, side of a patch, a divisor of H and W.

  Returns:
    Patches, shape (B, H W / p^2, p^2 C); entries of a patch by row, column and channel.

  Raises:
    TypeError: if patch_size is not an integer.
    ValueError: if image is not of rank 4 or its sides are not multiples of patch_size.

  Example:
    >>> patchify(jnp.arange(8).reshape(1, 2, 4, 1), patch_size=2).tolist()
    [[[0, 1, 4, 5], [2, 3, 6, 7]]]

  References:
    Dosovitskiy et al., An Image is Worth 16x16 Words, 2021. arXiv:2010.11929
  """
  check_rank(4, image=image)
  batch, height, width, channels = jnp.shape(image)
  rows, columns = _grid((height, width), patch_size)
  split = (batch, rows, patch_size, columns, patch_size, channels)
  patches = jnp.asarray(image).reshape(split).swapaxes(2, 3)
  return patches.reshape(batch, rows * columns, patch_size * patch_size * channels)


def unpatchify(patches: ArrayLike, *, image_size: tuple[int, int], patch_size: int) -> jax.Array:
  r"""Images from their patches; inverts `patchify`.

  .. math:: \mathrm{unpatchify}(\mathrm{patchify}(I)) = I

  Args:
    patches: shape (B, H W / p^2, p^2 C), any dtype.
    image_size: (H, W).
    patch_size: p, side of a patch, a divisor of H and W.

  Returns:
    Images, shape (B, H, W, C).

  Raises:
    TypeError: if patch_size is not an integer.
    ValueError: if the shapes do not fit.

  Example:
    >>> unpatchify(jnp.arange(8).reshape(1, 2, 4), image_size=(2, 4), patch_size=2)[0, 0, :, 0].tolist()
    [0, 1, 4, 5]

  References:
    He et al., Masked Autoencoders Are Scalable Vision Learners, 2022. arXiv:2111.06377
  """
  check_rank(3, patches=patches)
  rows, columns = _grid(image_size, patch_size)
  batch, count, entries = jnp.shape(patches)
  if count != rows * columns or entries % patch_size**2:
    raise ValueError(
      f"patches must have shape (B, {rows * columns}, {patch_size**2} C), got {jnp.shape(patches)}"
    )
  split = (batch, rows, columns, patch_size, patch_size, entries // patch_size**2)
  return jnp.asarray(patches).reshape(split).swapaxes(2, 3).reshape(batch, *image_size, -1)


def _grid(image_size: tuple[int, int], patch_size: int) -> tuple[int, int]:
  check_positive_int(patch_size=patch_size)
  if any(side % patch_size for side in image_size):
    raise ValueError(f"patch_size must divide {tuple(image_size)}, got {patch_size}")
  return image_size[0] // patch_size, image_size[1] // patch_size
