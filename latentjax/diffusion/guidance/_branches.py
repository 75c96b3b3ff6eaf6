"""What all guidance shares: two estimates at once, intervals of time, scores as estimates."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from latentjax.checks import check_batch, wide_dtype
from latentjax.diffusion.processes import Process

DenoiseFn = Callable[[jax.Array, jax.Array], jax.Array]
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


def check_interval(interval: tuple[float, float] | None) -> None:
  """Refuses what is not (low, high), rising, in [0, 1]."""
  if interval is not None and not 0 <= interval[0] < interval[1] <= 1:
    raise ValueError(f"interval must be (low, high) with 0 <= low < high <= 1, got {interval}")


def within(interval: tuple[float, float] | None, guided: DenoiseFn, plain: DenoiseFn) -> DenoiseFn:
  """The first where low < t <= high, the other, alone evaluated, elsewhere; refuses what is no batch."""

  def denoise(x_t: jax.Array, t: jax.Array) -> jax.Array:
    check_batch(x_t=x_t)
    if interval is None:
      return guided(x_t, t)
    low, high = interval
    return jax.lax.cond((t > low) & (t <= high), guided, plain, x_t, t)

  return denoise


def estimate_of_score(score: jax.Array, t: jax.Array, process: Process) -> jax.Array:
  """By how much x0_hat changes for a change of the score; where alpha is 0, not at all."""
  t = jnp.asarray(t, wide_dtype(t, score))
  alpha, sigma = process.alpha(t), process.sigma(t)
  reach = jnp.where(alpha > 0, jnp.square(sigma) / jnp.where(alpha > 0, alpha, 1), 0)
  return reach.astype(score.dtype) * score
