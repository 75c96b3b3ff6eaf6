"""Convolutions that halve and double a feature map, computed as the platform does it fastest.

On CPUs XLA convolves few channels more slowly than it multiplies matrices; there those are products of
patches with a matrix, and the gradient of the other transposed convolutions has a form of its own. Elsewhere
all are XLA's convolutions. The platform is the one that the program is compiled for, not the one that it is
traced on.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from latentjax.models.heads import glorot

__all__ = ["DoublingTranspose", "HalvingConv"]

FEW = (
  8  # channels, below which the patches are small: from 32 on they were slower than a convolution
)
DIMENSIONS = ("NHWC", "HWIO", "NHWC")


class HalvingConv(nn.Module):
  """4 x 4 convolution at every second place: (B, H, W, C) to (B, ceil(H / 2), ceil(W / 2), channels)."""

  channels: int
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    kernel = self.param("kernel", glorot, (4, 4, x.shape[-1], self.channels))
    bias = self.param("bias", nn.initializers.zeros, (self.channels,))
    x, kernel = x.astype(self.dtype), kernel.astype(self.dtype)
    if x.shape[-1] >= FEW:
      h = halve(x, kernel)
    else:
      h = lax.platform_dependent(x, kernel, cpu=halve_by_patches, default=halve)
    return h + bias.astype(self.dtype)


class DoublingTranspose(nn.Module):
  """Transposed 4 x 4 convolution: (B, H, W, C) to (B, 2 H, 2 W, channels).

  A kernel size that the stride divides leaves no checkerboard.
  """

  channels: int
  use_bias: bool = True
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    kernel = self.param("kernel", glorot, (4, 4, x.shape[-1], self.channels))
    x, kernel = x.astype(self.dtype), kernel.astype(self.dtype)
    on_cpu = double_by_patches if min(kernel.shape[2:]) < FEW else double_commuting
    h = lax.platform_dependent(x, kernel, cpu=on_cpu, default=double)
    if not self.use_bias:
      return h
    return h + self.param("bias", nn.initializers.zeros, (self.channels,)).astype(self.dtype)


def halve(x: jax.Array, kernel: jax.Array) -> jax.Array:
  """The convolution, as XLA has it."""
  return lax.conv_general_dilated(x, kernel, (2, 2), "SAME", dimension_numbers=DIMENSIONS)


def double(x: jax.Array, kernel: jax.Array) -> jax.Array:
  """The transposed convolution, as XLA has it."""
  return lax.conv_transpose(x, kernel, (2, 2), "SAME", dimension_numbers=DIMENSIONS)


@jax.custom_jvp
def double_commuting(x: jax.Array, kernel: jax.Array) -> jax.Array:
  """The transposed convolution, with a gradient of the kernel that CPUs compute fast.

  XLA's own convolves the places of x, spread out, with the whole gradient of the result as a kernel: 44 ms
  where its transpose takes 1.5 (`double` of 128 maps of 7 x 7 x 64 to 32 channels, on two cores). Here the
  derivative along the kernel is the same sum with the two exchanged, of which the transpose is that.
  """
  return double(x, kernel)


@double_commuting.defjvp
def _double_commuting_jvp(
  primals: tuple[jax.Array, jax.Array], tangents: tuple[jax.Array, jax.Array]
) -> tuple[jax.Array, jax.Array]:
  (x, kernel), (x_dot, kernel_dot) = primals, tangents
  along_x = double(x_dot, kernel)  # itself, it could not be mapped
  return double_commuting(x, kernel), along_x + double_by_kernel(kernel_dot, x)


def double_by_kernel(kernel: jax.Array, x: jax.Array) -> jax.Array:
  """The transposed convolution as one of the kernel, with every second place of the maps x as its taps."""
  return lax.conv_general_dilated(
    kernel[::-1, ::-1],
    x[:, ::-1, ::-1],
    window_strides=(1, 1),
    padding=[(2 * side - 3, 2 * side - 3) for side in x.shape[1:3]],
    rhs_dilation=(2, 2),
    dimension_numbers=("HWCN", "OHWI", "CHWN"),
  )


def halve_by_patches(x: jax.Array, kernel: jax.Array) -> jax.Array:
  """The convolution as a product of patches, (B, H / 2, W / 2, 16 C), and the kernel."""
  batch_size, height, width, in_channels = x.shape
  rows, columns = -(-height // 2), -(-width // 2)
  x = jnp.pad(x, ((0, 0), (1, 1 + height % 2), (1, 1 + width % 2), (0, 0)))
  # Pairs of pixels along both axes become channels; a patch is 2 x 2 of those.
  x = x.reshape(batch_size, rows + 1, 2, columns + 1, 2, in_channels)
  x = x.transpose(0, 1, 3, 2, 4, 5).reshape(batch_size, rows + 1, columns + 1, 4 * in_channels)
  return product(corners(x), by_phase(kernel).reshape(16 * in_channels, -1))


def double_by_patches(x: jax.Array, kernel: jax.Array) -> jax.Array:
  """The transposed convolution, by the smaller of two products.

  A pixel (2 i + p, 2 j + q) of the result sees 2 x 2 pixels around (i, j), with the taps of phase (p, q).
  Either those are gathered before the product, 4 C numbers a place, or the 16 numbers a channel that each
  pixel gives to its neighbours are added after it.
  """
  batch_size, height, width, in_channels = x.shape
  phases = by_phase(kernel)  # (2, 2, 2, 2, C, O): taps, then phases
  out_channels = kernel.shape[-1]
  if 4 * out_channels < in_channels:
    given = product(x, phases.transpose(4, 2, 3, 0, 1, 5).reshape(in_channels, -1))
    given = given.reshape(batch_size, height, width, 2, 2, 2, 2, out_channels)
    given = jnp.pad(given, ((0, 0), (1, 1), (1, 1)) + ((0, 0),) * 5)
    place = lambda p, q: sum(
      given[:, t + p : t + p + height, u + q : u + q + width, p, q, t, u]
      for t in range(2)
      for u in range(2)
    )
  else:
    matrix = phases.transpose(0, 1, 4, 2, 3, 5).reshape(4 * in_channels, 4 * out_channels)
    patches = corners(jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))))
    h = product(patches, matrix).reshape(batch_size, height + 1, width + 1, 2, 2, out_channels)
    place = lambda p, q: h[:, p : p + height, q : q + width, p, q]
  h = jnp.stack([jnp.stack([place(p, q) for q in range(2)], 3) for p in range(2)], 2)
  return h.reshape(batch_size, 2 * height, 2 * width, out_channels)


def corners(x: jax.Array) -> jax.Array:
  """Every place with its neighbours to the right, below and both, (B, H - 1, W - 1, 4 C)."""
  return jnp.concatenate([x[:, :-1, :-1], x[:, :-1, 1:], x[:, 1:, :-1], x[:, 1:, 1:]], axis=-1)


def product(x: jax.Array, matrix: jax.Array) -> jax.Array:
  """The last axis of x times a matrix; as one product of two matrices, which is faster than of more axes."""
  return (x.reshape(-1, x.shape[-1]) @ matrix).reshape(*x.shape[:-1], -1)


def by_phase(kernel: jax.Array) -> jax.Array:
  """A kernel (4, 4, C, O) as (2, 2, 2, 2, C, O): which pair of taps along both axes, then which of a pair."""
  pairs = kernel.reshape(2, 2, 2, 2, *kernel.shape[2:])
  return pairs.transpose(0, 2, 1, 3, 4, 5)
