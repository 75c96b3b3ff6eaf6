"""Pairs of Gaussian vectors whose mutual information is chosen, and the critic that is optimal for them."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike


def draw(
  key: jax.Array, level: jax.Array, num_rows: int, dim: int, *, cubic: ArrayLike = False
) -> tuple[jax.Array, jax.Array]:
  """Pairs (num_rows, dim) with `level` nats of mutual information; the cube of y has the same.

  All coordinates have mean 0 and variance 1, and those of x and y are correlated one by one.
  """
  rho, (x, noise) = _correlation(level, dim), jax.random.normal(key, (2, num_rows, dim))
  y = rho * x + jnp.sqrt(1 - rho**2) * noise
  return x, jnp.where(cubic, y**3 / math.sqrt(15), y)


def log_ratio(level: jax.Array, x: jax.Array, y: jax.Array) -> jax.Array:
  """log p(x, y) / p(x) p(y) of all pairs of Gaussian x and y, shape (B, B)."""
  rho, norm_y = _correlation(level, x.shape[1]), jnp.sum(y**2, axis=1)
  errors = norm_y - 2 * rho * x @ y.T + rho**2 * jnp.sum(x**2, axis=1)[:, None]
  return (norm_y - errors / (1 - rho**2)) / 2 + level


def _correlation(level: jax.Array, dim: int) -> jax.Array:
  return jnp.sqrt(-jnp.expm1(-2 * level / dim))
