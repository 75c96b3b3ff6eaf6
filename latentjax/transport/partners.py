"""Optimal transport as a coupling of two batches: everyone's partner, exact or entropic."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import (
  check_alike,
  check_float,
  check_positive_int,
  check_range,
  check_rank,
  wide_dtype,
)
from latentjax.collectives import all_gather_rows, local_rows, row_offset
from latentjax.distances import squared_distances
from latentjax.transport._pairs import soft_minimum

__all__ = ["entropic_partners", "optimal_assignment", "optimal_partners"]


def optimal_assignment(costs: ArrayLike) -> jax.Array:
  r"""The permutation of least total cost, exact.

  .. math:: \arg\min_\pi \sum_i c_{i \pi(i)}

  Rows are added one after the other, each by a shortest path over reduced costs (Jonker and Volgenant), in
  at most N^3 operations and O(N^2) memory: one program on any device, of about the time that SciPy's
  `linear_sum_assignment` takes on a CPU.

  Args:
    costs: shape (N, N); what is not finite counts as 1e30.

  Returns:
    Column of every row, int32, shape (N,). Detached.

  Raises:
    TypeError: if costs are not floating point.
    ValueError: if costs are not square.

  Example:
    >>> optimal_assignment(jnp.array([[4.0, 1.0, 3.0], [2.0, 0.0, 5.0], [3.0, 2.0, 2.0]])).tolist()
    [1, 0, 2]

  References:
    Jonker and Volgenant, A shortest augmenting path algorithm for dense and sparse linear assignment
      problems, 1987.
  """
  check_float(costs=costs)
  check_rank(2, costs=costs)
  if jnp.shape(costs)[0] != jnp.shape(costs)[1]:
    raise ValueError(f"costs must have shape (N, N), got {jnp.shape(costs)}")
  costs = jax.lax.stop_gradient(jnp.asarray(costs, wide_dtype(costs)))
  costs = jnp.where(jnp.isfinite(costs), costs, 1e30)  # among NaNs no path would end
  # Zeros and -1s made of the costs vary over devices as they do.
  none = jnp.where(costs[0] == costs[0], -1, 0).astype(jnp.int32)
  duals = costs[:, 0] * 0, jnp.min(costs, axis=0)
  add = lambda row, state: _add_row(costs, row, *state)
  *_, row_of = jax.lax.fori_loop(0, costs.shape[0], add, (*duals, none))
  return none.at[row_of].set(jnp.arange(costs.shape[0], dtype=jnp.int32))


def optimal_partners(
  x: ArrayLike, y: ArrayLike, *, group_size: int | None = None, axis_name: str | None = None
) -> jax.Array:
  r"""The second batch in the order in which it is matched to the first by exact optimal transport.

  .. math:: y_{\pi(1)}, ..., y_{\pi(B)}, \qquad \pi = \arg\min_\pi \sum_i \|x_i - y_{\pi(i)}\|^2

  For data and noise it makes the paths of flow matching and consistency training straighter, and keeps
  every member exactly once. Costs take O(B^2) memory for the whole batch, on every device, and finding the
  order up to O(B^3) operations; in groups of G rows both are B / G times those of G.

  Args:
    x: shape (B, ...).
    y: the same shape.
    group_size: rows that are matched with one another, G neighbours at a time, a divisor of the rows of a
      device; None: the whole batch.
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`: then the
      matching is of all devices' rows. Groups lie on one device, and nothing is exchanged.

  Returns:
    Partners of the rows of x, the shape and dtype of y. Gradient flows to y; the order is detached.

  Raises:
    TypeError: if an array is not floating point or group_size is not an integer.
    ValueError: if the shapes differ, there is no axis but the batch's, or group_size does not divide the
      rows.

  Example:
    >>> x, y = jnp.array([[0.0], [5.0], [9.0]]), jnp.array([[8.0], [1.0], [4.0]])
    >>> optimal_partners(x, y).tolist()
    [[1.0], [4.0], [8.0]]

  References:
    Tong et al., Improving and Generalizing Flow-Based Generative Models with Minibatch Optimal
      Transport, 2023. arXiv:2302.00482
    Pooladian et al., Multisample Flow Matching: Straightening Flows with Minibatch Couplings, 2023.
      arXiv:2304.14772
  """
  x, y = _whole(x, y, axis_name if group_size is None else None)
  if group_size is None:
    return y[local_rows(optimal_assignment(_squared_distances(x, y)), axis_name)]
  check_positive_int(group_size=group_size)
  if len(x) % group_size:
    raise ValueError(f"group_size must divide the {len(x)} rows, got {group_size}")
  groups = (rows.reshape(-1, group_size, *rows.shape[1:]) for rows in (x, y))
  return jax.vmap(optimal_partners)(*groups).reshape(y.shape)


def entropic_partners(
  key: jax.Array,
  x: ArrayLike,
  y: ArrayLike,
  *,
  epsilon: ArrayLike,
  num_iterations: int = 100,
  axis_name: str | None = None,
) -> jax.Array:
  r"""For every row of the first batch a partner drawn from the entropic plan.

  .. math::

    P(j \,|\, i) = B \pi_{ij}, \qquad
    \pi = \arg\min_\pi \sum_{ij} \pi_{ij} \|x_i - y_j\|^2 + \varepsilon \, KL(\pi \,\|\, \mathrm{uniform})

  with uniform marginals, by Sinkhorn's iteration in log-space. With epsilon = 2 s^2 it is the coupling of
  the Schroedinger bridge of scale s, see `linear_interpolant`; for epsilon to 0 that of `optimal_partners`,
  for epsilon to infinity independent. A member of y may be drawn several times, or never.

  Args:
    key: random key, the same on every device.
    x: shape (B, ...).
    y: the same shape.
    epsilon: weight of the entropy, in units of the squared distance, positive. Can be traced.
    num_iterations: Sinkhorn iterations; the smaller epsilon is against the distances, the more it takes.
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`: then the
      plan is of all devices' rows.

  Returns:
    Partners of the rows of x, the shape and dtype of y. Gradient flows to y; the choice is detached.

  Raises:
    TypeError: if an array is not floating point or num_iterations is not an integer.
    ValueError: if the shapes differ, epsilon is not positive or num_iterations is below 1.

  Example:
    >>> x = jnp.array([[0.0], [9.0]])
    >>> entropic_partners(jax.random.key(0), x, x[::-1] + 1.0, epsilon=0.5).tolist()
    [[1.0], [10.0]]

  References:
    Tong et al., Simulation-free Schroedinger bridges via score and flow matching, 2023. arXiv:2307.03672
    Cuturi, Sinkhorn Distances: Lightspeed Computation of Optimal Transport, 2013. arXiv:1306.0895
  """
  check_range(0.0, strict=True, epsilon=epsilon)
  check_positive_int(num_iterations=num_iterations)
  x, y = _whole(x, y, axis_name)
  costs = jax.lax.stop_gradient(_squared_distances(x, y))

  def iterate(g: jax.Array, _: None) -> tuple[jax.Array, None]:
    f = soft_minimum(costs, g, epsilon)
    return soft_minimum(costs, f, epsilon, -2), None

  g, _ = jax.lax.scan(iterate, costs[0] * 0, None, length=num_iterations)
  logits = local_rows((g - costs) / epsilon, axis_name)
  rows = row_offset(logits.shape[0], axis_name) + jnp.arange(logits.shape[0])
  keys = jax.vmap(lambda row: jax.random.fold_in(key, row))(rows)
  return y[jax.vmap(jax.random.categorical)(keys, logits)]


def _whole(x: ArrayLike, y: ArrayLike, axis_name: str | None) -> tuple[jax.Array, jax.Array]:
  check_alike(jnp.ndim(x), x=x, y=y)
  if jnp.ndim(x) < 2:
    raise ValueError(f"x must have shape (B, ...), got {jnp.shape(x)}")
  return all_gather_rows(jnp.asarray(x), axis_name), all_gather_rows(jnp.asarray(y), axis_name)


def _squared_distances(x: jax.Array, y: jax.Array) -> jax.Array:
  """(B, B), of what is flattened."""
  wide = wide_dtype(x, y)
  x, y = (a.reshape(a.shape[0], -1).astype(wide) for a in (x, y))
  return squared_distances(x, y)


def _add_row(
  costs: jax.Array, row: jax.Array, u: jax.Array, v: jax.Array, row_of: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Dual prices of rows and columns, and the row of every column, with one row more."""
  far, nowhere = jnp.full_like(v, jnp.inf), jnp.full_like(row_of, -1)

  def extend(path: tuple) -> tuple:
    at, distance, previous, done, reached, column = path
    through = reached + costs[at] - u[at] - v
    closer = ~done & (through < distance)
    distance = jnp.where(closer, through, distance)
    previous = jnp.where(closer, column, previous)
    column = jnp.argmin(jnp.where(done, jnp.inf, distance)).astype(jnp.int32)
    return row_of[column], distance, previous, done.at[column].set(True), distance[column], column

  # Until a column is free: -1 is nobody's row, and the path's beginning.
  start = (row_of[0] * 0 + row, far + v * 0, nowhere, row_of > row_of, v[0] * 0, row_of[0] * 0 - 1)
  path = jax.lax.while_loop(lambda path: path[0] >= 0, extend, start)
  _, distance, previous, done, reached, column = path
  rise = jnp.where(done, reached - distance, 0)
  others = jnp.where(done & (row_of >= 0), row_of, costs.shape[0])
  u = u.at[row].add(reached).at[others].add(rise, mode="drop")

  def shift(state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
    column, row_of = state
    before = previous[column]
    taken = jnp.where(before < 0, row, row_of[before])
    return before, row_of.at[column].set(taken.astype(row_of.dtype))

  _, row_of = jax.lax.while_loop(lambda state: state[0] >= 0, shift, (column, row_of))
  return u, v - rise, row_of
