"""The U-Net of diffusion models: residual blocks told of time and condition, attention where it is cheap."""

import math
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_rank
from latentjax.models.denoising import ConditionEmbedding

__all__ = ["UNet"]

zeros = nn.initializers.zeros


class UNet(nn.Module):
  """Images (B, H, W, C) of any size at times t to predictions of the same shape, float32.

  Every level halves the resolution, odd sides rounded up; on the way back each block also sees what its
  twin put out on the way down. At first the last layer is zero, and so is the output.

  Attributes:
    channels: of the feature maps, from the full resolution downwards.
    blocks: residual blocks of a level; one more on the way back.
    attention: levels at which blocks are followed by attention, 0 the full resolution; the middle, at
      the lowest resolution, always has it.
    heads: attention heads, a divisor of the channels where there is attention.
    num_classes: of labels, without the null class; None: conditions are vectors.
    dtype: dtype of the computation; parameters and outputs are float32.

  References:
    Ho et al., Denoising Diffusion Probabilistic Models, 2020. arXiv:2006.11239
    Dhariwal and Nichol, Diffusion Models Beat GANs on Image Synthesis, 2021. arXiv:2105.05233
  """

  channels: tuple[int, ...] = (32, 64, 64)
  blocks: int = 1
  attention: tuple[int, ...] = (2,)
  heads: int = 4
  num_classes: int | None = None
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(
    self,
    x: jax.Array,
    t: jax.Array,
    condition: jax.Array | None = None,
    *,
    tokens: jax.Array | None = None,
  ) -> jax.Array:
    """Prediction, shape (B, H, W, C).

    Args:
      x: images, shape (B, H, W, C).
      t: times in [0, 1], shape (B,) or ().
      condition: labels (B,), int32, where num_classes or None is no class, or vectors (B, C).
      tokens: tokens, such as a text's, (B, T, C), that attention sees beside the feature map.
    """
    check_rank(4, x=x)
    c = ConditionEmbedding(4 * self.channels[0], self.num_classes, self.dtype, name="condition")(
      jnp.broadcast_to(t, x.shape[:1]), condition
    )
    c = silu(c)

    def block(h: jax.Array, channels: int, attend: bool) -> jax.Array:
      h = ResidualBlock(channels, self.dtype)(h, c)
      return ImageAttention(self.heads, self.dtype)(h, tokens) if attend else h

    h = conv(self.channels[0], self.dtype)(x)
    skips = [h]
    for level, channels in enumerate(self.channels):
      if level:
        h = conv(channels, self.dtype, strides=2)(h)
        skips.append(h)
      for _ in range(self.blocks):
        h = block(h, channels, level in self.attention)
        skips.append(h)

    h = block(h, self.channels[-1], True)
    h = block(h, self.channels[-1], False)

    for level, channels in reversed(list(enumerate(self.channels))):
      for _ in range(self.blocks + 1):
        h = jnp.concatenate([h, skips.pop()], axis=-1)
        h = block(h, channels, level in self.attention)
      if level:
        h = DoublingConv(channels, self.dtype)(h)[:, : skips[-1].shape[1], : skips[-1].shape[2]]

    h = silu(group_norm(h, self.dtype))
    return conv(x.shape[-1], self.dtype, kernel_init=zeros)(h).astype(jnp.float32)


class ResidualBlock(nn.Module):
  """Two convolutions, the second scaled and shifted by c (B, F); the identity at first, up to channels."""

  channels: int
  dtype: Any

  @nn.compact
  def __call__(self, x: jax.Array, c: jax.Array) -> jax.Array:
    h = conv(self.channels, self.dtype)(silu(group_norm(x, self.dtype)))
    scale, shift = jnp.split(nn.Dense(2 * self.channels, dtype=self.dtype)(c), 2, axis=-1)
    h = silu(group_norm(h, self.dtype, scale, shift))
    h = conv(self.channels, self.dtype, kernel_init=zeros)(h)
    if x.shape[-1] != self.channels:
      x = nn.Dense(self.channels, dtype=self.dtype)(x)
    return x + h


class ImageAttention(nn.Module):
  """Attention of every place of a feature map to all others, and to tokens; the identity at first."""

  heads: int
  dtype: Any

  @nn.compact
  def __call__(self, x: jax.Array, tokens: jax.Array | None) -> jax.Array:
    batch_size, channels = x.shape[0], x.shape[-1]

    def projected(h: jax.Array, count: int, name: str) -> list[jax.Array]:
      h = nn.Dense(count * channels, dtype=self.dtype, name=name)(h)
      h = h.reshape(batch_size, -1, count, self.heads, channels // self.heads)
      return [h[:, :, i] for i in range(count)]

    query, key, value = projected(group_norm(x, self.dtype), 3, "image")
    if tokens is not None:
      check_rank(3, tokens=tokens)
      more = projected(tokens, 2, "tokens")
      key, value = (jnp.concatenate(pair, axis=1) for pair in zip((key, value), more))
    h = jax.nn.dot_product_attention(query, key, value).reshape(x.shape)
    return x + nn.Dense(channels, dtype=self.dtype, kernel_init=zeros, name="attended")(h)


def conv(channels: int, dtype: Any, strides: int = 1, **kwargs: Any) -> nn.Conv:
  """3 x 3 convolution."""
  return nn.Conv(channels, (3, 3), strides, dtype=dtype, **kwargs)


class DoublingConv(nn.Module):
  """3 x 3 convolution of a feature map whose every place is first repeated as 2 x 2, (B, 2 H, 2 W, C).

  Computed on the map as it is, by a convolution 2 x 2 for each place of a repeated pixel: two of the three
  taps along an axis see the same pixel, so their sum does. That is 4/9 of the multiplications.
  """

  channels: int
  dtype: Any

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    shape = (3, 3, x.shape[-1], self.channels)
    kernel = self.param("kernel", nn.linear.default_kernel_init, shape).astype(self.dtype)
    bias = self.param("bias", zeros, (self.channels,))
    taps = jnp.array([[[1, 0, 0], [0, 1, 1]], [[1, 1, 0], [0, 0, 1]]], self.dtype)  # first, second
    kernel = jnp.einsum("pai,qbj,ijcd->abcpqd", taps, taps, kernel)
    h = jax.lax.conv_general_dilated(
      x.astype(self.dtype),
      kernel.reshape(2, 2, x.shape[-1], -1),
      (1, 1),
      ((1, 1), (1, 1)),
      dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    height, width = x.shape[1:3]
    h = h.reshape(*h.shape[:3], 2, 2, self.channels)
    rows = [
      jnp.stack([h[:, p : p + height, q : q + width, p, q] for q in range(2)], 3) for p in range(2)
    ]
    h = jnp.stack(rows, 2).reshape(-1, 2 * height, 2 * width, self.channels)
    return h + bias.astype(self.dtype)


def silu(x: jax.Array) -> jax.Array:
  """x sigmoid(x), in the form that CPUs compute fastest: it was an eighth of a whole evaluation."""
  return 0.5 * x * (1 + jnp.tanh(0.5 * x))


def group_norm(x: jax.Array, dtype: Any, *modulation: jax.Array) -> jax.Array:
  """Group norm of feature maps; groups of four channels, at most 32 of them."""
  channels = x.shape[-1]
  groups = math.gcd(channels, min(32, max(channels // 4, 1)))
  return GroupNorm(groups, dtype)(x, *modulation)


class GroupNorm(nn.Module):
  """`nn.GroupNorm`, then scaled by 1 + gain and shifted, both (B, C).

  One pass, with sums over places that keep the channels apart, which vectorise. Channels become groups and
  those channels by products: a repeat would be looked up again at every place, which does not vectorise.
  """

  groups: int
  dtype: Any

  @nn.compact
  def __call__(self, x: jax.Array, gain: ArrayLike = 0.0, shift: ArrayLike = 0.0) -> jax.Array:
    channels = x.shape[-1]
    scale = self.param("scale", nn.initializers.ones, (channels,))
    bias = self.param("bias", zeros, (channels,))
    wide = x.reshape(x.shape[0], -1, channels).astype(jnp.float32)
    size = channels // self.groups
    member = jnp.repeat(jnp.eye(self.groups), size, axis=0)  # (C, groups)
    product = partial(jnp.dot, precision="highest")
    # A new axis: of rows joined to rows, many would lie on other devices than before.
    sums = jnp.stack([wide.sum(1), jnp.square(wide).sum(1)])
    centre, square = product(product(sums, member), member.T) / (size * wide.shape[1])  # (B, C)
    slope = scale * jax.lax.rsqrt(jnp.maximum(square - jnp.square(centre), 0) + 1e-6)
    slope, offset = slope * (1 + gain), (bias - centre * slope) * (1 + gain) + shift
    return (x * slope[:, None, None] + offset[:, None, None]).astype(self.dtype)
