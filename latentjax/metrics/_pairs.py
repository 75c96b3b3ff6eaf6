"""What measures of two representations of the same examples share."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_float, check_rank, wide_dtype
from latentjax.collectives import device_mean


def as_pair(least: int, axis_name: str | None, **arrays: ArrayLike) -> list[jax.Array]:
  """Two representations (N, D) and (N, E) of at least so many examples, in a common wide dtype."""
  check_float(**arrays)
  check_rank(2, **arrays)
  shapes = [jnp.shape(array) for array in arrays.values()]
  if shapes[0][0] != shapes[1][0]:
    raise ValueError(
      f"{' and '.join(arrays)} must have equally many rows, got {shapes[0]} and {shapes[1]}"
    )
  if num_rows(shapes[0][0], axis_name) < least:
    raise ValueError(f"{next(iter(arrays))} must have at least {least} rows, got {shapes[0][0]}")
  dtype = wide_dtype(*arrays.values())
  return [jnp.asarray(array, dtype) for array in arrays.values()]


def num_rows(local: int, axis_name: str | None) -> int:
  """Rows of all devices."""
  return local * (1 if axis_name is None else jax.lax.axis_size(axis_name))


def scaled(x: jax.Array, axis_name: str | None) -> jax.Array:
  """x over its largest magnitude, a constant, so that no square leaves the range."""
  largest = jnp.max(jnp.abs(jax.lax.stop_gradient(x)))
  largest = largest if axis_name is None else jax.lax.pmax(largest, axis_name)
  return x / jnp.maximum(largest, jnp.finfo(x.dtype).tiny)


def unit_of(z: jax.Array) -> jax.Array:
  """Largest magnitude of every column, a constant: in this unit no square leaves the range."""
  largest = jnp.max(jnp.abs(jax.lax.stop_gradient(z)), axis=0)
  return jnp.maximum(largest, jnp.finfo(z.dtype).tiny)


def centred(x: jax.Array, axis_name: str | None) -> jax.Array:
  """Columns of mean 0, and 0 where only rounding is left of them, of x over its largest magnitude."""
  x = scaled(x, axis_name)
  x = x - device_mean(jnp.mean(x, axis=0), axis_name)
  spread = device_mean(jnp.mean(jnp.square(jax.lax.stop_gradient(x)), axis=0), axis_name)
  return jnp.where(spread <= 16 * jnp.finfo(x.dtype).eps ** 2, 0, x)  # NaN stays NaN


def safe_sqrt(x: jax.Array) -> jax.Array:
  """Root of x, 0 with gradient 0 where x is not positive; NaN stays NaN."""
  bad = x <= 0
  return jnp.where(bad, 0, jnp.sqrt(jnp.where(bad, 1, x)))


def ratio(numerator: jax.Array, denominator: jax.Array) -> jax.Array:
  """Quotient, 0 where the denominator is not positive; NaN stays NaN."""
  bad = denominator <= 0
  return jnp.where(bad, 0, numerator / jnp.where(bad, 1, denominator))
