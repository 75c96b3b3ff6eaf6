"""Recurrent encoder and decoder of sequences."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from latentjax.checks import check_rank
from latentjax.models.heads import PosteriorHead, glorot

__all__ = ["GRUDecoder", "GRUEncoder"]


class GRUEncoder(nn.Module):
  """Sequences (B, T, D) to the mean and log_scale of q(z|x), each (B, latent_dim), float32.

  Attributes:
    latent_dim: Z.
    hidden: units of the recurrent layer, whose last state is read.
    dtype: dtype of the computation; parameters and outputs are float32.
  """

  latent_dim: int
  hidden: int = 64
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    check_rank(3, x=x)
    states: Any = nn.RNN(nn.GRUCell(self.hidden, dtype=self.dtype))(x)
    return PosteriorHead(self.latent_dim, self.dtype)(states[:, -1])


class GRUDecoder(nn.Module):
  """Latents (B, Z) and the sequence (B, T, D) itself to the parameters of p(x_t | x_<t, z).

  The sequence is shifted by one step: the output at t, shape (B, T, output_dim) in float32, sees the
  inputs before t alone (teacher forcing).

  Attributes:
    output_dim: numbers per time.
    hidden: units of the recurrent layer.
    dtype: dtype of the computation; parameters and outputs are float32.
  """

  output_dim: int
  hidden: int = 64
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, z: jax.Array, x: jax.Array) -> jax.Array:
    check_rank(2, z=z)
    check_rank(3, x=x)
    before = jnp.pad(x, ((0, 0), (1, 0), (0, 0)))[:, :-1]
    everywhere = jnp.broadcast_to(z[:, None], (*before.shape[:2], z.shape[1]))
    start = jnp.tanh(nn.Dense(self.hidden, dtype=self.dtype, kernel_init=glorot)(z))
    inputs = jnp.concatenate([before, everywhere], axis=-1)
    states: Any = nn.RNN(nn.GRUCell(self.hidden, dtype=self.dtype))(inputs, initial_carry=start)
    return nn.Dense(self.output_dim, dtype=self.dtype)(states).astype(jnp.float32)
