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


@jax.custom_vjp
def soft_minimum(costs: jax.Array, potential: jax.Array, epsilon: ArrayLike) -> jax.Array:
  """-epsilon log of the mean over j of exp((potential_j - costs_ij) / epsilon): half a Sinkhorn iteration.

  For costs (..., S, R) and potential (..., R) it is of shape (..., S). Its backward pass makes the
  plan from the costs, which all iterations share: iterations keep vectors and never their plans.
  """
  return _soft_minimum(costs, potential, epsilon)[0]


def _excess(costs: jax.Array, potential: jax.Array, least: jax.Array) -> jax.Array:
  # A compiled program may compute the costs a second time here and round them otherwise than for the
  # minimum: large ones are then below it, by enough for the exponential to overflow.
  return jnp.maximum(costs - potential[..., None, :] - least[..., None], 0)


def _soft_minimum(
  costs: jax.Array, potential: jax.Array, epsilon: ArrayLike
) -> tuple[jax.Array, tuple[ArrayLike, ...]]:
  least = jnp.min(costs - potential[..., None, :], axis=-1)
  mass = jnp.mean(jnp.exp(-_excess(costs, potential, least) / epsilon), axis=-1)
  return least - epsilon * jnp.log(mass), (costs, potential, epsilon, least, mass)


def _pull_back(kept: tuple[jax.Array, ...], slope: jax.Array) -> tuple[jax.Array, ...]:
  costs, potential, epsilon, least, mass = kept
  excess = _excess(costs, potential, least)
  weights = (slope / (mass * costs.shape[-1]))[..., None]
  plan = jnp.exp(-excess / epsilon) * weights  # its rows sum to the slopes
  own = -jnp.sum(slope * jnp.log(mass)) - jnp.sum(plan * excess) / epsilon
  return plan, -jnp.sum(plan, axis=-2), jnp.asarray(own, jnp.result_type(epsilon))


soft_minimum.defvjp(_soft_minimum, _pull_back)


def self_potential(costs: jax.Array, epsilon: float, num_iterations: int) -> jax.Array:
  """Potential of the transport of a set to itself, shape (B, S), for its own costs (B, S, S)."""

  def iterate(potential: jax.Array, _: None) -> tuple[jax.Array, None]:
    # Half-way steps converge fast.
    return 0.5 * (potential + soft_minimum(costs, potential, epsilon)), None

  start = jnp.zeros_like(costs[:, :, 0])
  return jax.lax.scan(iterate, start, None, length=num_iterations)[0]
