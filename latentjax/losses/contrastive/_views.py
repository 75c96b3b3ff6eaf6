"""What the losses on several views of the same examples share."""

import math

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_alike, check_float, check_rank, wide_dtype
from latentjax.collectives import all_gather_rows, device_mean


def as_view_pair(**views: ArrayLike) -> list[jax.Array]:
  """Views of the same shape (B, D) in a common wide dtype."""
  check_alike(2, **views)
  dtype = wide_dtype(*views.values())
  return [jnp.asarray(view, dtype) for view in views.values()]


def as_views(least: int = 2, **views: ArrayLike) -> jax.Array:
  """Stacked views (V, B, D), at least so many, in a wide dtype."""
  check_float(**views)
  check_rank(3, **views)
  ((name, array),) = views.items()
  if jnp.shape(array)[0] < least:
    raise ValueError(
      f"{name} must have shape (V, B, D) with at least {least} views, got {jnp.shape(array)}"
    )
  return jnp.asarray(array, wide_dtype(array))


def log_mean_exp_rows(x: jax.Array, axis_name: str | None) -> jax.Array:
  """Log of the mean exponential over the rows of all devices, of x (..., B, K), shape (..., K)."""
  log_sums = all_gather_rows(jax.nn.logsumexp(x, axis=-2)[None], axis_name)
  num_rows = log_sums.shape[0] * x.shape[-2]
  return jax.nn.logsumexp(log_sums, axis=0) - math.log(num_rows)


def cross_view_entropy(targets: jax.Array, log_probs: jax.Array) -> jax.Array:
  """Cross-entropy of every example, (B,), averaged over the pairs of a target and another view.

  Target t is of view t: targets (T, B, K), log_probs (V, B, K), T <= V.
  """
  num_targets, num_views = targets.shape[0], log_probs.shape[0]
  is_other = 1 - jnp.eye(num_targets, num_views, dtype=targets.dtype)
  others = jnp.einsum("tv,vbk->tbk", is_other, log_probs, precision="highest")
  return -jnp.sum(targets * others, axis=(0, 2)) / (num_targets * (num_views - 1))


def mean_product(x: jax.Array, y: jax.Array, axis_name: str | None) -> jax.Array:
  """Mean of x_b y_b^T over the rows of all devices, of x (..., B, D) and y (..., B, E): (..., D, E)."""
  products = jnp.matmul(jnp.swapaxes(x, -1, -2), y, precision="highest")
  return device_mean(products / x.shape[-2], axis_name)
