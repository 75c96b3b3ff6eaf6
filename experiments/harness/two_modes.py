"""A model whose posterior has two modes: z ~ N(0, 1), x = (a z^2 + b, c z) + Gaussian noise."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from latentjax.densities import gaussian

TRUTH = {"a": 1.5, "b": 0.0, "c": 1.0, "log_noise": np.log([0.4, 1.2])}
GRID = np.linspace(-7.0, 7.0, 2801)


def decode_fn(params: Any, z: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Mean (B, 2) and log_scale (2,) of p(x|z)."""
  theta = params["decoder"]
  mean = jnp.concatenate([theta["a"] * z**2 + theta["b"], theta["c"] * z], axis=1)
  return mean, theta["log_noise"]


def generate(rng: np.random.Generator, count: int) -> np.ndarray:
  """Examples of the true model, float32 (count, 2)."""
  z = rng.standard_normal(count)
  mean = np.stack([TRUTH["a"] * z**2 + TRUTH["b"], TRUTH["c"] * z], axis=1)
  return (mean + np.exp(TRUTH["log_noise"]) * rng.standard_normal((count, 2))).astype(np.float32)


def log_joint(params: Any, x: jax.Array) -> jax.Array:
  """log p(x, z) on the grid, shape (G, B)."""
  z = jnp.asarray(GRID, jnp.float32)[:, None]
  mean, log_scale = decode_fn(params, z)
  return (
    gaussian.log_prob(x[None], mean[:, None], log_scale) + gaussian.standard_log_prob(z)[:, None]
  )
