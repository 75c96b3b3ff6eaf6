"""An autoencoder of digits whose latents are a grid of tokens, for diffusion models of latents."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from experiments.harness.config import Config
from latentjax import data
from latentjax.losses.masked import patchify, unpatchify
from latentjax.objectives import vae
from latentjax.training import train

GRID, PATCH, CHANNELS = 4, 7, 4  # tokens of a side, pixels of a token's side, latents of a token
LATENTS = (GRID, GRID, CHANNELS)


class GridVAE(NamedTuple):
  """A trained autoencoder of digits (N, 28, 28, 1) in [-1, 1].

  Attributes:
    encode: `(x) -> (mean, scale)` of the latents, each (N, 4, 4, 4).
    decode: `(z) -> x`.
  """

  encode: Callable[[Any], tuple[jax.Array, jax.Array]]
  decode: Callable[[Any], jax.Array]


def neighbours(x: jax.Array) -> jax.Array:
  """Every token with the eight around it, (B, H, W, C) to (B, H, W, 9 C): a 3 x 3 convolution's input."""
  padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
  rows, columns = x.shape[1:3]
  shifts = [padded[:, i : i + rows, j : j + columns] for i in range(3) for j in range(3)]
  return jnp.concatenate(shifts, axis=-1)


class Encoder(nn.Module):
  """Images in [0, 1] to mean and log_scale of their latents, each (B, Z)."""

  @nn.compact
  def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    patches = patchify(x, patch_size=PATCH).reshape(len(x), GRID, GRID, -1)
    h = nn.relu(nn.Dense(64)(patches))
    h = nn.relu(nn.Dense(128)(neighbours(h)))
    mean, log_scale = jnp.split(nn.Dense(2 * CHANNELS)(h), 2, axis=-1)
    return mean.reshape(len(x), -1), log_scale.reshape(len(x), -1)


class Decoder(nn.Module):
  """Latents (B, Z) to logits of pixels."""

  @nn.compact
  def __call__(self, z: jax.Array) -> jax.Array:
    h = nn.relu(nn.Dense(128)(neighbours(z.reshape(-1, *LATENTS))))
    h = nn.relu(nn.Dense(128)(neighbours(h)))
    patches = nn.Dense(PATCH**2)(h).reshape(len(z), GRID**2, -1)
    return unpatchify(patches, image_size=(GRID * PATCH, GRID * PATCH), patch_size=PATCH)


def fit_grid_vae(
  x: np.ndarray, config: Config, folder: Path, *, steps: int, beta: float
) -> GridVAE:
  """Train the autoencoder, its divergence weighted by beta, or take it from `folder`.

  Args:
    x: digits in [-1, 1], shape (N, 28, 28, 1).
    config: how to train, but for the number of steps.
    folder: where its checkpoints go.
    steps: of training.
    beta: small, for details: the diffusion model is the prior.
  """
  encoder, decoder, size = Encoder(), Decoder(), int(np.prod(LATENTS))
  model = vae(
    lambda params, x: encoder.apply(params[0], x),
    lambda params, z: decoder.apply(params[1], z),
    latent_dim=size,
    beta=beta,
    axis_name=config.axis_name,
  )

  def init_fn(key: jax.Array) -> Any:
    params = encoder.init(key, jnp.zeros((1, *x.shape[1:])))
    return (params, decoder.init(jax.random.fold_in(key, 1), jnp.zeros((1, size)))), ()

  config = dataclasses.replace(config, steps=steps, ema_decay=None)
  dataset = data.load({"image": (x + 1) / 2})
  result = train(
    model.objective, init_fn, config.optimizer(), dataset, config, folder, name="grid_vae"
  )
  params = config.first_seed(result.state.params)

  @jax.jit
  def encode(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    def one(image: jax.Array) -> tuple[jax.Array, jax.Array]:
      mean, log_scale = encoder.apply(params[0], (image[None] + 1) / 2)
      return mean.reshape(LATENTS), jnp.exp(log_scale).reshape(LATENTS)

    return jax.lax.map(one, x, batch_size=1000)

  @jax.jit
  def decode(z: jax.Array) -> jax.Array:
    return 2 * jax.nn.sigmoid(decoder.apply(params[1], z.reshape(-1, size))) - 1

  return GridVAE(encode, decode)
