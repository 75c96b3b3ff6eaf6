"""Pairs of the members of two sets: distances, soft minima, potentials."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_choice, check_float, check_rank, wide_dtype
from latentjax.distances import squared_distances


def as_sets(x: ArrayLike, y: ArrayLike) -> tuple[jax.Array, jax.Array]:
  """Checks that x is of shape (B, S, D) and y of shape (B, R, D); returns them in float32 or wider."""
  check_float(x=x, y=y)
  check_rank(3, x=x, y=y)
  shape_x, shape_y = jnp.shape(x), jnp.shape(y)
  if (shape_x[0], shape_x[2]) != (shape_y[0], shape_y[2]) or 0 in (*shape_x, *shape_y):
    raise ValueError(f"x and y must be of shape (B, S, D) and (B, R, D), got {shape_x}, {shape_y}")
  dtype = wide_dtype(x, y)
  return jnp.asarray(x, dtype), jnp.asarray(y, dtype)


def distances(x: jax.Array, y: jax.Array, kind: str) -> jax.Array:
  """Distance of every member of x to every member of y, shape (B, S, R)."""
  check_choice(("euclidean", "half_squared", "iou"), distance=kind)
  if kind == "iou":
    x, y = x[:, :, None], y[:, None]
    union = jnp.sum(jnp.maximum(x, y), axis=-1)
    overlap = jnp.sum(jnp.minimum(x, y), axis=-1)
    return jnp.where(union > 0, 1 - overlap / jnp.where(union > 0, union, 1), 0)
  squared = squared_distances(x, y, exact=True)
  if kind == "half_squared":
    return 0.5 * squared
  # Of a member to itself the distance is 0, and so is the gradient.
  return jnp.where(squared > 0, jnp.sqrt(jnp.where(squared > 0, squared, 1)), 0)


def soft_minimum(costs: jax.Array, epsilon: ArrayLike) -> jax.Array:
  """-epsilon log of the mean of exp(-costs / epsilon) over the last axis."""
  least = jax.lax.stop_gradient(jnp.min(costs, axis=-1, keepdims=True))
  excess = costs - least
  # A compiled program may compute the costs a second time here and round them otherwise than for the
  # minimum: large ones are then below it, by enough for the exponential to overflow.
  excess += jax.lax.stop_gradient(jnp.maximum(excess, 0) - excess)
  return least[..., 0] - epsilon * jnp.log(jnp.mean(jnp.exp(-excess / epsilon), axis=-1))


def self_potential(costs: jax.Array, epsilon: float, num_iterations: int) -> jax.Array:
  """Potential of the transport of a set to itself, shape (B, S), for its own costs (B, S, S)."""

  @jax.checkpoint  # or the gradient would hold the plans of all iterations
  def iterate(potential: jax.Array, _: None) -> tuple[jax.Array, None]:
    # Half-way steps converge fast.
    return 0.5 * (potential + soft_minimum(costs - potential[:, None], epsilon)), None

  start = jnp.zeros_like(costs[:, :, 0])
  return jax.lax.scan(iterate, start, None, length=num_iterations)[0]
