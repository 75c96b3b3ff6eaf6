"""Fully connected networks of a conditional model: y is concatenated to what they read."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from latentjax.models import MLPDecoder, MLPEncoder, Networks
from latentjax.models.networks import output_bias


def conditional_mlp(
  data_shape: tuple[int, ...],
  condition_dim: int,
  latent_dim: int,
  *,
  hidden: tuple[int, ...],
  activation: str = "relu",
  likelihood: str = "bernoulli",
  data_mean: np.ndarray | None = None,
  dtype: Any = jnp.float32,
) -> Networks:
  """`encode_fn(params, x, y)` and `decode_fn(params, z, y)` for y of shape (B, condition_dim)."""
  encoder = MLPEncoder(latent_dim, hidden, activation, dtype)
  bias = output_bias(data_mean, data_shape, likelihood)
  decoder = MLPDecoder(data_shape, hidden[::-1], activation, likelihood, bias, dtype)

  def init_fn(key: jax.Array) -> dict[str, Any]:
    key_encoder, key_decoder = jax.random.split(key)
    inputs = jnp.zeros((1, math.prod(data_shape) + condition_dim))
    latents = jnp.zeros((1, latent_dim + condition_dim))
    return {
      "encoder": encoder.init(key_encoder, inputs)["params"],
      "decoder": decoder.init(key_decoder, latents)["params"],
    }

  def encode_fn(params: Any, x: jax.Array, y: jax.Array) -> Any:
    inputs = jnp.concatenate([x.reshape(len(x), -1), y], axis=1)
    return encoder.apply({"params": params["encoder"]}, inputs)

  def decode_fn(params: Any, z: jax.Array, y: jax.Array) -> Any:
    return decoder.apply({"params": params["decoder"]}, jnp.concatenate([z, y], axis=1))

  return Networks(init_fn, encode_fn, decode_fn)  # type: ignore[arg-type]
