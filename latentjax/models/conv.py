"""Small convolutional encoder and decoder for images, NHWC."""

import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from latentjax.checks import check_rank
from latentjax.models.heads import LikelihoodHead, PosteriorHead, activation_fn, glorot
from latentjax.models.strided import DoublingTranspose, HalvingConv

__all__ = ["ConvDecoder", "ConvEncoder"]


class ConvEncoder(nn.Module):
  """Images (B, H, W, C) to the mean and log_scale of q(z|x), each (B, latent_dim), float32.

  Attributes:
    latent_dim: Z.
    channels: channels of the convolutions, each of which halves the resolution.
    hidden: width of the fully connected layer that follows.
    activation: name of a function in `flax.linen`, or a function.
    dtype: dtype of the computation; parameters and outputs are float32.
  """

  latent_dim: int
  channels: tuple[int, ...] = (32, 64)
  hidden: int = 256
  activation: str | Callable[[jax.Array], jax.Array] = "relu"
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    check_rank(4, x=x)
    act, h = activation_fn(self.activation), x
    for channels in self.channels:
      h = act(HalvingConv(channels, dtype=self.dtype)(h))
    h = h.reshape(h.shape[0], -1)
    h = act(nn.Dense(self.hidden, dtype=self.dtype, kernel_init=glorot)(h))
    return PosteriorHead(self.latent_dim, self.dtype)(h)


class ConvDecoder(nn.Module):
  """Latents (B, Z) to the parameters of p(x|z) for images of shape `data_shape`, float32.

  Attributes:
    data_shape: (H, W, C).
    channels: channels of the feature maps from the data inwards; each transposed convolution
      doubles the resolution.
    hidden: width of the fully connected layer in front.
    activation: name of a function in `flax.linen`, or a function.
    likelihood: "bernoulli" gives (logits,), "gaussian" gives (mean, log_scale) with one learned
      log_scale.
    output_bias: initial bias of the output, of shape `data_shape` or a number.
    dtype: dtype of the computation; parameters and outputs are float32.
  """

  data_shape: tuple[int, int, int]
  channels: tuple[int, ...] = (32, 64)
  hidden: int = 256
  activation: str | Callable[[jax.Array], jax.Array] = "relu"
  likelihood: str = "bernoulli"
  output_bias: Any = 0.0
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, z: jax.Array) -> tuple[jax.Array, ...]:
    height, width, image_channels = self.data_shape
    act, scale = activation_fn(self.activation), 2 ** len(self.channels)
    # Sizes are rounded up to a multiple of the scale; the surplus is cut off at the end.
    grid = (-(-height // scale), -(-width // scale), self.channels[-1])
    h = act(nn.Dense(self.hidden, dtype=self.dtype, kernel_init=glorot)(z))
    h = act(nn.Dense(math.prod(grid), dtype=self.dtype, kernel_init=glorot)(h))
    h = h.reshape(z.shape[0], *grid)
    for channels in reversed(self.channels[:-1]):
      h = act(DoublingTranspose(channels, dtype=self.dtype)(h))
    h = DoublingTranspose(image_channels, use_bias=False, dtype=self.dtype)(h)[:, :height, :width]
    return LikelihoodHead(self.data_shape, self.likelihood, self.output_bias)(h)
