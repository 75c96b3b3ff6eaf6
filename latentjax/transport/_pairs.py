"""Pairs of the members of two sets: distances, soft minima, potentials."""

import math
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_choice, check_float, check_rank, wide_dtype
from latentjax.distances import squared_distances

Half = Callable[[jax.Array], jax.Array]
_FAR = 30.0  # of e's exponent: what a plan in float32 holds as 0 is then below the others' rounding


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


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def soft_minimum(
  costs: jax.Array, potential: jax.Array, epsilon: ArrayLike, axis: int = -1
) -> jax.Array:
  """-epsilon log of the mean along an axis of exp((potential - costs) / epsilon).

  For costs (..., S, R) and a potential (..., R) of the columns it is of shape (..., S), half a Sinkhorn
  iteration; axis -2 takes a potential (..., S) to (..., R). Its backward pass makes the plan from the
  costs, which all iterations share: iterations keep vectors and never their plans.
  """
  return _soft_minimum(costs, potential, epsilon, axis)[0]


def _excess(costs: jax.Array, potential: jax.Array, least: jax.Array, axis: int) -> jax.Array:
  # A compiled program may compute the costs a second time here and round them otherwise than for the
  # minimum: large ones are then below it, by enough for the exponential to overflow.
  across = costs - jnp.expand_dims(potential, -3 - axis) - jnp.expand_dims(least, axis)
  return jnp.maximum(across, 0)


def _soft_minimum(
  costs: jax.Array, potential: jax.Array, epsilon: ArrayLike, axis: int
) -> tuple[jax.Array, tuple[ArrayLike, ...]]:
  least = jnp.min(costs - jnp.expand_dims(potential, -3 - axis), axis)
  mass = jnp.mean(jnp.exp(-_excess(costs, potential, least, axis) / epsilon), axis)
  return least - epsilon * jnp.log(mass), (costs, potential, epsilon, least, mass)


def _pull_back(axis: int, kept: tuple[jax.Array, ...], slope: jax.Array) -> tuple[jax.Array, ...]:
  costs, potential, epsilon, least, mass = kept
  excess = _excess(costs, potential, least, axis)
  weights = slope / (mass * costs.shape[axis])
  plan = jnp.exp(-excess / epsilon) * jnp.expand_dims(weights, axis)  # sums to the slopes
  own = -jnp.sum(slope * jnp.log(mass)) - jnp.sum(plan * excess) / epsilon
  return plan, -jnp.sum(plan, -3 - axis), jnp.asarray(own, jnp.result_type(epsilon))


soft_minimum.defvjp(_soft_minimum, _pull_back)


def self_potential(costs: jax.Array, epsilon: float, num_iterations: int) -> jax.Array:
  """Potential of the transport of a set to itself, shape (B, S), for its own costs (B, S, S)."""
  # Half-way steps converge fast.
  iterate = lambda rows, columns, potential: 0.5 * (potential + rows(potential))
  return potential_after(num_iterations, iterate, costs, epsilon)


def potential_after(
  num_iterations: int,
  iterate: Callable[[Half, Half, jax.Array], jax.Array],
  costs: jax.Array,
  epsilon: float,
) -> jax.Array:
  r"""Potential (B, S) of the rows of costs (B, S, R) after iterations that start from 0.

  `iterate(rows, columns, f)` makes the next one out of soft minima: `rows` takes a potential (B, R) to one of
  shape (B, S), `columns` back. All but the first few are done with one plan for many of them,

  .. math:: -\varepsilon \log \sum_j e^{(g_j - c_{ij}) / \varepsilon}
    = f'_i - \varepsilon \log \sum_j \pi_{ij}\, e^{(g_j - g'_j) / \varepsilon}, \qquad
    \pi_{ij} = e^{(f'_i + g'_j - c_{ij}) / \varepsilon},

  a matrix product where the soft minimum has two sweeps and S R exponentials. That is exact as long as
  potentials stay within some epsilon of f' and g', those it was made with; where they do not, the
  iterations are done as soft minima.
  """
  rows = lambda potential: soft_minimum(costs, potential, epsilon)
  columns = lambda potential: soft_minimum(costs, potential, epsilon, -2)
  plainly = partial(iterate, rows, columns)
  f = plainly(jnp.zeros_like(costs[..., 0]))  # the plan of the potentials 0 may be nothing but 0
  done, length = 1, 4
  while done < num_iterations:
    length = min(length, num_iterations - done)
    near = jax.lax.stop_gradient((f, columns(f)))
    by_plan = partial(_repeat_by_plan, iterate, costs, near, epsilon, length=length)
    _, far = jax.lax.stop_gradient(by_plan(f))
    instead = partial(_repeat, plainly, length=length)
    f, _ = jax.lax.cond(far < _FAR, by_plan, instead, f)
    done, length = done + length, 16 * length
  return f


def _repeat(step: Half, f: jax.Array, *, length: int) -> tuple[jax.Array, jax.Array]:
  f, _ = jax.lax.scan(lambda f, _: (step(f), None), f, None, length=length)
  return f, jnp.zeros_like(f, shape=())


def _repeat_by_plan(
  iterate: Callable[[Half, Half, jax.Array], jax.Array],
  costs: jax.Array,
  near: tuple[jax.Array, jax.Array],
  epsilon: float,
  f: jax.Array,
  *,
  length: int,
) -> tuple[jax.Array, jax.Array]:
  """The potential, and how many epsilon any one on the way was from those of the plan, at most _FAR."""
  plan = jnp.exp((near[1][..., None, :] - costs + near[0][..., None]) / epsilon)

  def step(f: jax.Array, _: None) -> tuple[jax.Array, jax.Array]:
    found = []

    def half(which: str, here: jax.Array, there: jax.Array, potential: jax.Array) -> jax.Array:
      moved = jnp.clip((potential - there) / epsilon, -_FAR, _FAR)
      count = there.shape[-1]
      mass = jnp.einsum(which, plan, jnp.exp(moved), precision="highest") / count
      rise = -jnp.log(jnp.clip(mass, math.exp(-_FAR), math.exp(_FAR)))
      found.extend([jnp.max(jnp.abs(moved)), jnp.max(jnp.abs(rise))])
      return here + epsilon * rise

    rows = partial(half, "...sr,...r->...s", near[0], near[1])
    columns = partial(half, "...sr,...s->...r", near[1], near[0])
    f = iterate(rows, columns, f)
    return f, jnp.max(jnp.stack(found))

  f, far = jax.lax.scan(step, f, None, length=length)
  return f, jnp.max(far)
