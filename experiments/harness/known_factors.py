"""Melodies and sprites as one kind of thing: what to train on, what to measure on, and networks."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.harness import factor_images
from latentjax.data import factors as known
from latentjax.data.factors.melodies import NUM_TOKENS
from latentjax.densities import bernoulli, categorical
from latentjax.models import MLP, Networks, mlp_vae

NOTE_DIM = 16


@dataclasses.dataclass(frozen=True)
class Examples:
  """A set: what to train on, what to measure on, and networks."""

  feature: str
  likelihood: Any
  latent_dim: int
  train: np.ndarray
  test: jax.Array
  factors: jax.Array
  sizes: tuple[int, ...]
  networks: Any

  @property
  def values(self) -> jax.Array:
    """The test data as what is to be reconstructed: tokens, or pixels black and white."""
    return self.test if self.feature == "tokens" else jnp.round(self.test)


def melodies(num_train: int, num_test: int, hidden: int) -> Examples:
  """Melodies drawn at random, none of them twice."""
  some = known.melodies()
  both = num_train + num_test
  drawn = np.random.default_rng(0).choice(some.num_combinations, both, replace=False)
  factors = known.factors_from_index(jnp.asarray(drawn, jnp.int32), some.sizes)
  tokens = jax.jit(jax.vmap(some.render))(factors)
  return Examples(
    "tokens", categorical, 32, np.asarray(tokens[:num_train]), tokens[num_train:], factors[num_train:],
    some.sizes, melody_networks(hidden, 32),
  )  # fmt: skip


def melody_networks(hidden: int, latent_dim: int) -> Networks:
  """Fully connected networks between codes and embedded notes."""
  widths = (hidden, hidden)
  encoder, decoder = MLP(2 * latent_dim, widths), MLP(16 * NOTE_DIM, widths)

  def init_fn(key: jax.Array) -> dict[str, Any]:
    keys = jax.random.split(key, 4)
    return {
      "encoder": encoder.init(keys[0], jnp.zeros((1, 16 * NOTE_DIM))),
      "decoder": decoder.init(keys[1], jnp.zeros((1, latent_dim))),
      "notes": jax.random.normal(keys[2], (NUM_TOKENS, NOTE_DIM)),
      "logits": jax.random.normal(keys[3], (NOTE_DIM, NUM_TOKENS)) / NOTE_DIM**0.5,
    }

  def encode_fn(params: Any, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    notes = jax.nn.one_hot(x, NUM_TOKENS) @ params["notes"]
    mean, log_scale = jnp.split(encoder.apply(params["encoder"], notes.reshape(len(x), -1)), 2, 1)
    return mean, log_scale

  def decode_fn(params: Any, z: jax.Array) -> tuple[jax.Array, ...]:
    notes = decoder.apply(params["decoder"], z).reshape(len(z), 16, NOTE_DIM)
    return (notes @ params["logits"],)

  return Networks(init_fn, encode_fn, decode_fn)


def sprites(hidden: int) -> Examples:
  """All images of a moving white shape, to train and to measure on."""
  images, factors = factor_images.make()
  x = (images / 255).astype(np.float32)
  networks = mlp_vae(
    x.shape[1:], 10, hidden=(hidden, hidden), activation="relu", data_mean=x.mean(axis=0)
  )
  return Examples(
    "image", bernoulli, 10, x, jnp.asarray(x), jnp.asarray(factors), factor_images.SIZES, networks
  )
