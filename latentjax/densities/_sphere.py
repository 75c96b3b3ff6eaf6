"""What densities on the unit sphere share: shapes, sums over events, its area, points at an angle."""

import math
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_float
from latentjax.densities._shapes import check_shapes, sum_event, widen


def promote_directions(
  event_ndim: int | None,
  directions: Mapping[str, ArrayLike],
  concentrations: Mapping[str, ArrayLike],
) -> tuple[jax.Array, ...]:
  """Checks directions (..., D) against concentrations (...); returns all in float32 or wider.

  `event_ndim` counts axes of the directions; None means that no axis is a batch axis.

  Raises:
    TypeError: if an array is not floating point.
    ValueError: if the shapes do not combine explicitly, D is below 2, or `event_ndim` is not between
      1 and the rank.
  """
  check_float(**directions, **concentrations)
  shapes = {name: jnp.shape(array) for name, array in directions.items()}
  dims = {shape[-1:] for shape in shapes.values()}
  if len(dims) > 1 or min(dims) < (2,):
    listed = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
    raise ValueError(f"{' and '.join(shapes)} must share a last axis of at least 2, got {listed}")
  if event_ndim is not None and event_ndim < 1:
    raise ValueError(f"event_ndim must be at least 1, the last axis, got {event_ndim}")
  leading = {f"{name} without its last axis": shape[:-1] for name, shape in shapes.items()}
  leading |= {name: jnp.shape(array) for name, array in concentrations.items()}
  check_shapes(None if event_ndim is None else event_ndim - 1, leading)
  return widen(*directions.values(), *concentrations.values())


def sum_by_concentration(
  fn: Callable[[jax.Array, int], jax.Array],
  direction: ArrayLike,
  log_concentration: ArrayLike,
  event_ndim: int,
) -> jax.Array:
  """`fn(kappa, D)` of every direction, summed over events; the direction counts by its shape alone."""
  direction, log_concentration = promote_directions(
    event_ndim, {"direction": direction}, {"log_concentration": log_concentration}
  )
  leading = jnp.broadcast_shapes(direction.shape[:-1], log_concentration.shape)
  kappa = jnp.broadcast_to(jnp.exp(log_concentration), leading)
  return sum_event(fn(kappa, direction.shape[-1]), event_ndim - 1)


def log_area(dim: int) -> float:
  """Logarithm of the area of the unit sphere in `dim` dimensions."""
  return math.log(2) + 0.5 * dim * math.log(math.pi) - math.lgamma(0.5 * dim)


def half_square_distance(x: jax.Array, y: jax.Array) -> jax.Array:
  """1 - x . y for unit vectors, without cancellation."""
  return 0.5 * jnp.sum(jnp.square(x - y), axis=-1)


def point_at_angle(direction: jax.Array, angle: jax.Array, noise: jax.Array) -> jax.Array:
  """The unit vector at `angle` from `direction`, on the side to which `noise` points."""
  if direction.shape[-1] == 2:
    # The noise may well be parallel to the direction, and its rest has no length to divide by.
    across = jnp.stack([-direction[..., 1], direction[..., 0]], axis=-1)
    tangent = jnp.where(jnp.sum(noise * across, axis=-1, keepdims=True) < 0, -across, across)
  else:
    tangent = noise - jnp.sum(noise * direction, axis=-1, keepdims=True) * direction
    tangent /= jnp.linalg.norm(tangent, axis=-1, keepdims=True)
  return jnp.cos(angle)[..., None] * direction + jnp.sin(angle)[..., None] * tangent
