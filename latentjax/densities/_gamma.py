"""Differences of log-gamma functions and of exponentials that keep their digits, and Gamma variables.

log n! and n log n agree in most digits for large n, so densities of counts lose in float32 what
they owe to their difference. Written as deviances plus Stirling remainders (Loader, 2000) nothing
large cancels.
"""

import jax
import jax.numpy as jnp

# Coefficients of Stirling's series in 1 / a, 1 / a^3, ..., from the Bernoulli numbers.
_STIRLING = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360, 1 / 156)
_SHIFT = 5
_LARGE = 1e4


def stirling_remainder(a: jax.Array) -> jax.Array:
  """log Gamma(a) - [(a - 1/2) log a - a + log(2 pi) / 2] for a > 0; about 1 / (12 a)."""
  small = a < _SHIFT
  low = jnp.where(small, a, 1)
  inverse = 1 / jnp.where(small, a + _SHIFT, a)
  series = jnp.zeros_like(inverse)
  for coefficient in reversed(_STIRLING):
    series = series * inverse * inverse + coefficient
  # Gamma(a + 1) = a Gamma(a) moves a small argument to where the series converges. The first step
  # without 1 / a, whose derivatives overflow.
  steps = low[..., None] + jnp.arange(1, _SHIFT, dtype=low.dtype)
  shifts = jnp.sum((steps + 0.5) * jnp.log1p(1 / steps) - 1, axis=-1)
  shifts += (low + 0.5) * (jnp.log1p(low) - jnp.log(low)) - 1
  return series * inverse + jnp.where(small, shifts, 0)


def log_gamma_ratio(a: jax.Array, b: jax.Array | float) -> jax.Array:
  """log Gamma(a + b) - log Gamma(a) for a, b > 0."""
  remainders = stirling_remainder(a + b) - stirling_remainder(a)
  return (a - 0.5) * jnp.log1p(b / a) + b * jnp.log(a + b) - b + remainders


def draw_log_gamma(key: jax.Array, a: jax.Array, shape: tuple[int, ...]) -> jax.Array:
  """Logarithms of reparameterised Gamma(a) variables, for a of any size.

  The derivative that JAX takes of its sampler needs some a iterations. For large a the cube root of
  the variable over a is a Gaussian (Wilson & Hilferty, 1931) to the last digit of float32.
  """
  key_exact, key_normal = jax.random.split(key)
  large = a > _LARGE
  exact = jax.random.loggamma(key_exact, jnp.where(large, 1, a), shape, a.dtype)
  size = jnp.where(large, a, _LARGE)
  normal = jax.random.normal(key_normal, shape, a.dtype)
  root = normal / (3 * jnp.sqrt(size)) - 1 / (9 * size)
  return jnp.where(large, jnp.log(size) + 3 * jnp.log1p(root), exact)


def exp_remainder(d: jax.Array) -> jax.Array:
  """exp(d) - 1 - d, at least 0; about d^2 / 2."""
  small = jnp.abs(d) < 0.5
  low, high = jnp.where(small, d, 0), jnp.where(small, 1, d)
  series = jnp.ones_like(low)
  for n in range(15, 2, -1):
    series = 1 + low / n * series
  return jnp.where(small, 0.5 * low * low * series, jnp.expm1(high) - high)
