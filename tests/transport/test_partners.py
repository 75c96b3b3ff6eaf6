"""Couplings of two batches: exact against SciPy, entropic against the plan, over several devices."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import AXIS, check_kernel, fast_jit
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P
from scipy.optimize import linear_sum_assignment

from latentjax import transport

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((2, 8, 3)).astype(np.float32)


def costs_of(x, y):
  return ((x[:, None] - y) ** 2).sum(-1)


def test_assignment():
  """As cheap as SciPy's for real, for few distinct, for large and for equal costs."""
  costs = RNG.standard_normal((5, 24, 24))
  costs[1] = RNG.integers(0, 4, (24, 24))
  costs[2] *= 1e4
  costs[3] = 1.0
  costs[4, 3:5] = np.nan  # a permutation none the less
  found = np.asarray(fast_jit(jax.vmap(transport.optimal_assignment))(np.float32(costs)))
  assert (np.sort(found, axis=1) == np.arange(24)).all()
  for cost, columns in zip(np.float64(np.float32(costs[:4])), found):
    best = cost[linear_sum_assignment(cost)].sum()
    assert cost[np.arange(24), columns].sum() <= best + 1e-5 * np.abs(cost).sum()


def test_optimal_partners():
  check_kernel(
    transport.optimal_partners,
    [X, Y],
    oracle=lambda x, y: y[linear_sum_assignment(costs_of(x, y))[1]],
    detached=(0,),
    batch_coupled=True,
    extreme=[[X, X], [1e4 * X, 0 * Y]],
    bad_inputs=[
      ([X, Y[:4]], {}, ValueError, "x and y must have the same shape"),
      ([X, Y.astype(int)], {}, TypeError, "y must be a floating"),
      ([X[:, 0], Y[:, 0]], {}, ValueError, "x must have shape"),
    ],
  )


def test_partners_in_groups():
  """Neighbours alone are matched: the same on one device and on four, with two rows each."""

  def oracle(x, y):
    halves = zip(np.split(x, 4), np.split(y, 4))
    return np.concatenate([b[linear_sum_assignment(costs_of(a, b))[1]] for a, b in halves])

  grouped = partial(transport.optimal_partners, group_size=2)
  check_kernel(
    grouped,
    [X, Y],
    oracle=oracle,
    detached=(0,),
    bad_inputs=[
      ([X[:5], Y[:5]], {}, ValueError, "group_size must divide the 5 rows, got 2"),
      ([X, Y], {"group_size": 0}, ValueError, "group_size must be"),
    ],
  )
  mesh = Mesh(np.array(jax.devices()[:4]), (AXIS,))
  mapped = jax.shard_map(
    partial(grouped, axis_name=AXIS), mesh=mesh, in_specs=P(AXIS), out_specs=P(AXIS)
  )
  np.testing.assert_array_equal(jax.jit(mapped)(X, Y), grouped(X, Y))
  whole = transport.optimal_partners(X, Y)
  np.testing.assert_array_equal(transport.optimal_partners(X, Y, group_size=8), whole)
  assert not np.array_equal(transport.optimal_partners(X, Y, group_size=2), whole)


def test_entropic_partners():
  """Finite where epsilon is nothing against the costs; the same rows on several devices."""
  partners = partial(transport.entropic_partners, KEY, epsilon=1.0, num_iterations=30)
  mesh = Mesh(np.array(jax.devices()[:4]), (AXIS,))
  mapped = jax.shard_map(
    partial(partners, axis_name=AXIS), mesh=mesh, in_specs=P(AXIS), out_specs=P(AXIS)
  )
  one, many, far = fast_jit(lambda x, y: (partners(x, y), mapped(x, y), partners(1e4 * x, 0 * y)))(
    X, Y
  )
  np.testing.assert_array_equal(many, one)
  assert not np.any(far)
  with pytest.raises(ValueError, match="epsilon must be in"):
    partners(X, Y, epsilon=0.0)
  with pytest.raises(ValueError, match="num_iterations must be a positive"):
    partners(X, Y, num_iterations=0)


def test_entropic_plan():
  """How often who is drawn is the plan of Sinkhorn's matrix scaling; little entropy gives the permutation."""
  epsilon, draws = 1.5, 4000
  kernel = np.exp(-costs_of(X, Y).astype(np.float64) / epsilon)
  plan = kernel
  for _ in range(500):
    plan = plan / plan.sum(0)
    plan = plan / plan.sum(1, keepdims=True)
  labels = jnp.arange(8.0)[:, None]

  def draw(key, epsilon):
    # Partners carry their number along: a second column that costs nothing.
    far = jnp.concatenate([Y, 1e-6 * labels], axis=1)
    near = jnp.concatenate([X, 0 * labels], axis=1)
    partners = transport.entropic_partners(key, near, far, epsilon=epsilon, num_iterations=300)
    return jnp.round(1e6 * partners[:, 3]).astype(int)

  run = fast_jit(jax.vmap(draw, in_axes=(0, None)))
  chosen = np.asarray(run(jax.random.split(KEY, draws), epsilon))
  counts = np.stack([np.bincount(row, minlength=8) for row in chosen.T])
  assert (np.abs(counts - draws * plan) < 4.5 * np.sqrt(draws * plan * (1 - plan)) + 2).all()
  sharp = np.asarray(run(jax.random.split(KEY, draws), 0.02))[0]
  assert sharp.tolist() == linear_sum_assignment(costs_of(X, Y))[1].tolist()


def test_bad_costs():
  with pytest.raises(ValueError, match="costs must have shape"):
    transport.optimal_assignment(jnp.ones((2, 3)))
  with pytest.raises(TypeError, match="costs must be a floating"):
    transport.optimal_assignment(jnp.ones((2, 2), int))
