"""Two estimates at once: with the condition, and without."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from latentjax.checks import wide_dtype

ConditionalFn = Callable[[jax.Array, jax.Array, Any], jax.Array]


def both(
  denoise_fn: ConditionalFn, x: jax.Array, t: jax.Array, condition: Any, null: Any, together: bool
) -> tuple[jax.Array, jax.Array]:
  """Estimates (conditional, unconditional), in one call for twice as many rows if `together`."""
  null = jax.tree.map(lambda c, n: jnp.broadcast_to(n, jnp.shape(c)), condition, null)
  if not together:
    return one(denoise_fn, x, t, condition), one(denoise_fn, x, t, null)
  # The two of a row lie beside each other, so that rows split over devices stay where they are.
  merge = lambda a, b: jnp.stack([a, b], axis=1).reshape(-1, *jnp.shape(a)[1:])
  x0 = one(denoise_fn, merge(x, x), t, jax.tree.map(merge, condition, null))
  return x0[::2], x0[1::2]


def one(denoise_fn: ConditionalFn, x: jax.Array, t: jax.Array, condition: Any) -> jax.Array:
  """An estimate, float32 or wider: differences are taken of it."""
  x0 = denoise_fn(x, t, condition)
  return x0.astype(wide_dtype(x0))


def rows(statistic: jax.Array, x: jax.Array) -> jax.Array:
  """(B,) so that it broadcasts against x (B, ...)."""
  return statistic.reshape(statistic.shape + (1,) * (x.ndim - 1))
