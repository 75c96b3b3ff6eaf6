"""Fully connected networks: encoder, decoder, and what stands between features and a loss."""

import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from latentjax.collectives import device_mean
from latentjax.models.heads import LikelihoodHead, PosteriorHead, activation_fn, glorot

__all__ = ["MLP", "BatchNormMLP", "MLPDecoder", "MLPEncoder"]


class MLP(nn.Module):
  """Fully connected network for vectors (B, D), such as a discriminator of codes; float32 outputs.

  Attributes:
    features: outputs.
    hidden: widths of the hidden layers.
    activation: name of a function in `flax.linen`, such as "relu", or a function.
    dtype: dtype of the computation; parameters and outputs are float32.
  """

  features: int
  hidden: tuple[int, ...] = (200, 200)
  activation: str | Callable[[jax.Array], jax.Array] = "relu"
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    for width in self.hidden:
      x = activation_fn(self.activation)(nn.Dense(width, dtype=self.dtype, kernel_init=glorot)(x))
    return nn.Dense(self.features, dtype=self.dtype, kernel_init=glorot)(x).astype(jnp.float32)


class BatchNormMLP(nn.Module):
  """Fully connected network whose hidden layers are normalised over the batch; float32 outputs.

  A projector or predictor of self-supervised learning: it is dropped after training, so that it has
  no running averages, and needs the batch that it is trained with.

  Attributes:
    features: outputs.
    hidden: widths of the hidden layers.
    activation: name of a function in `flax.linen`, or a function.
    axis_name: mapped device axis over which the batch is split, inside `pmap` or `shard_map`.
    dtype: dtype of the matrix products; parameters and statistics are float32.
  """

  features: int
  hidden: tuple[int, ...] = (128,)
  activation: str | Callable[[jax.Array], jax.Array] = "relu"
  axis_name: str | None = None
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    for i, width in enumerate(self.hidden):
      h = nn.Dense(width, use_bias=False, dtype=self.dtype)(x).astype(jnp.float32)
      scale = self.param(f"scale_{i}", nn.initializers.ones, (width,))
      bias = self.param(f"bias_{i}", nn.initializers.zeros, (width,))
      centred = h - device_mean(jnp.mean(h, axis=0), self.axis_name)
      variance = device_mean(jnp.mean(jnp.square(centred), axis=0), self.axis_name)
      x = activation_fn(self.activation)(centred * jax.lax.rsqrt(variance + 1e-5) * scale + bias)
    return nn.Dense(self.features, dtype=self.dtype)(x).astype(jnp.float32)


class MLPEncoder(nn.Module):
  """Data of any shape (B, ...) to the mean and log_scale of q(z|x), each (B, latent_dim), float32.

  Attributes:
    latent_dim: Z.
    hidden: widths of the hidden layers.
    activation: name of a function in `flax.linen`, such as "tanh", or a function.
    dtype: dtype of the computation; parameters and outputs are float32.
  """

  latent_dim: int
  hidden: tuple[int, ...] = (200, 200)
  activation: str | Callable[[jax.Array], jax.Array] = "tanh"
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    h = x.reshape(x.shape[0], -1)
    for width in self.hidden:
      h = activation_fn(self.activation)(nn.Dense(width, dtype=self.dtype, kernel_init=glorot)(h))
    return PosteriorHead(self.latent_dim, self.dtype)(h)


class MLPDecoder(nn.Module):
  """Latents (B, Z) to the parameters of p(x|z) with data of shape `data_shape`, float32.

  Attributes:
    data_shape: shape of one example.
    hidden: widths of the hidden layers.
    activation: name of a function in `flax.linen`, such as "tanh", or a function.
    likelihood: "bernoulli" gives (logits,), "gaussian" gives (mean, log_scale) with one learned
      log_scale.
    output_bias: initial bias of the output, of shape `data_shape` or a number.
    dtype: dtype of the computation; parameters and outputs are float32.
  """

  data_shape: tuple[int, ...]
  hidden: tuple[int, ...] = (200, 200)
  activation: str | Callable[[jax.Array], jax.Array] = "tanh"
  likelihood: str = "bernoulli"
  output_bias: Any = 0.0
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, z: jax.Array) -> tuple[jax.Array, ...]:
    h = z
    for width in self.hidden:
      h = activation_fn(self.activation)(nn.Dense(width, dtype=self.dtype, kernel_init=glorot)(h))
    h = nn.Dense(math.prod(self.data_shape), use_bias=False, dtype=self.dtype, kernel_init=glorot)(
      h
    )
    h = h.reshape(z.shape[0], *self.data_shape)
    return LikelihoodHead(self.data_shape, self.likelihood, self.output_bias)(h)
