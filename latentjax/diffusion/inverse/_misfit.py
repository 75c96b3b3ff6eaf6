"""How far data is from a measurement."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from latentjax.checks import check_float, check_same_shape, wide_dtype

MeasureFn = Callable[[jax.Array], jax.Array]


def misfit(measure_fn: MeasureFn, x: jax.Array, measurement: jax.Array) -> jax.Array:
  """y - A(x), float32 or wider, refused where the shapes differ."""
  measured = measure_fn(x)
  check_float(measurement=measurement, measured=measured)
  check_same_shape(measurement=measurement, measured=measured)
  dtype = wide_dtype(measurement, measured)
  return jnp.asarray(measurement, dtype) - measured.astype(dtype)


def row_dot(a: jax.Array, b: jax.Array) -> jax.Array:
  """Inner products of rows, with axes to multiply rows of any rank by: (B,)."""
  return jnp.sum(a * b, axis=tuple(range(1, a.ndim)))


def per_row(values: jax.Array, x: jax.Array) -> jax.Array:
  """Numbers (B,) with the axes of x."""
  return values.reshape(values.shape + (1,) * (x.ndim - 1))
