"""Distances between sets: other formulas for the same numbers, and their known limits."""

import jax
import numpy as np
import pytest
from contract import check_kernel
from scipy import linalg, special, stats

from latentjax.transport import (
  _pairs,
  frechet_distance,
  generalized_energy_distance,
  hausdorff_divergence,
  sinkhorn_divergence,
)

B, S, R, D = 8, 5, 3, 4
RNG = np.random.default_rng(0)
X, Y = RNG.uniform(size=(B, S, D)), RNG.uniform(size=(B, R, D))
SETTINGS = ("epsilon", "num_iterations", "cost")
BAD = [
  ((X.astype(int), Y), {}, TypeError, "x must be a floating point"),
  ((X, Y[0]), {}, ValueError, "y must have 3 axes"),
  ((X, Y[..., :2]), {}, ValueError, r"x and y must be of shape \(B, S, D\) and \(B, R, D\)"),
]


def pairs(distance, x, y):
  return np.array([[[distance(a, b) for b in ys] for a in xs] for xs, ys in zip(x, y)])


def soft_iou(a, b):
  """|A n B| / |A u B| of the sets under two graphs, integrated over the height."""
  levels = (np.arange(4000) + 0.5) / 4000
  low, high = a[:, None] > levels, b[:, None] > levels
  return 1 - (low & high).sum() / (low | high).sum()


def test_generalized_energy_distance():
  def expected(x, y):
    mean = lambda a, b: pairs(soft_iou, a, b).mean((1, 2))
    return 2 * mean(x, y) - mean(x, x) - mean(y, y)

  check_kernel(
    jax.jit(generalized_energy_distance, static_argnames="distance"),
    (X, Y),
    oracle=expected,
    atol=1e-3,
    extreme=[(0 * X, 0 * Y), (0 * X, Y)],
    bad_inputs=[*BAD, ((X, Y), {"distance": "dice"}, ValueError, "distance must be one of")],
  )


def test_energy_distance_on_a_line_is_that_of_scipy():
  x, y = RNG.standard_normal((2, 1, 6, 1)).astype(np.float32)
  expected = stats.energy_distance(x.ravel(), y.ravel()) ** 2
  distance = lambda x: generalized_energy_distance(x, y, distance="euclidean").sum()
  got, grad = jax.jit(jax.value_and_grad(distance))(x)
  np.testing.assert_allclose(got, expected, rtol=1e-5)
  assert np.isfinite(grad).all()


def test_frechet_distance():
  def expected(x, y):
    cov = lambda a: np.cov(a, rowvar=False, bias=True)
    root = lambda a, b: np.trace(linalg.sqrtm(cov(a) @ cov(b))).real
    shift = np.square(x.mean(1) - y.mean(1)).sum(1)
    return shift + [np.trace(cov(a) + cov(b)) - 2 * root(a, b) for a, b in zip(x, y)]

  check_kernel(
    jax.jit(frechet_distance),
    (X, Y),
    oracle=expected,
    atol=1e-4,
    extreme=[(X, X[:, :R]), (1e6 * X, Y)],
    bad_inputs=BAD,
  )


def test_hausdorff_divergence():
  def expected(x, y, epsilon, **_):
    """As a difference of kernel densities of weighted sets, whose own density is one over the weight."""
    kernel = lambda at, of: (
      np.exp(-pairs(lambda a, b: ((a - b) ** 2).sum() / 2 / epsilon, at, of)) / of.shape[1]
    )

    def log_density(of, *places):
      weight = np.ones(of.shape[:2])
      for _ in range(200):
        weight = np.sqrt(weight / np.einsum("bij,bj->bi", kernel(of, of), weight))
      return [np.log(np.einsum("bij,bj->bi", kernel(at, of), weight)).mean(1) for at in places]

    (of_x_at_x, of_x_at_y), (of_y_at_x, of_y_at_y) = log_density(x, x, y), log_density(y, x, y)
    return epsilon / 2 * (of_x_at_x - of_x_at_y + of_y_at_y - of_y_at_x)

  check_kernel(
    jax.jit(hausdorff_divergence, static_argnames=SETTINGS),
    (X, Y),
    kwargs={"epsilon": 0.3},
    oracle=expected,
    atol=1e-5,
    extreme=[(1e3 * X, Y), (X, X[:, :R])],
    bad_inputs=[
      *BAD,
      ((X, Y), {"epsilon": 0.0}, ValueError, "epsilon must be in"),
      ((X, Y), {"cost": "iou"}, ValueError, "cost must be one of"),
    ],
  )


@pytest.mark.parametrize("divergence", [hausdorff_divergence, sinkhorn_divergence])
def test_costs_that_are_large_against_epsilon(divergence):
  """From afar y is one point: transport costs the mean distance of x, its nearest member counts too."""
  x = np.float32(1e6 * X + 1e6)
  run = jax.jit(jax.value_and_grad(lambda x: divergence(x, Y, epsilon=0.3).sum()))
  value, slope = run(x)
  costs = (np.float64(x) ** 2).sum(2) / 2
  mean, least = costs.mean(1).sum(), costs.min(1).sum()
  expected = mean if divergence is sinkhorn_divergence else 0.5 * (mean + least)
  np.testing.assert_allclose(value, expected, rtol=1e-5)
  assert np.isfinite(slope).all() and np.any(slope)


def primal(costs, epsilon):
  """Entropic cost from the plan itself, by matrix scaling."""
  kernel, v = np.exp(-costs / epsilon), np.ones(costs.shape[1])
  for _ in range(300):
    u = 1 / (kernel @ v / costs.shape[1])
    v = 1 / (kernel.T @ u / costs.shape[0])
  ratio = u[:, None] * kernel * v
  plan = ratio / costs.size
  return (plan * costs).sum() + epsilon * special.rel_entr(plan, 1 / costs.size).sum()


def test_sinkhorn_divergence():
  def expected(x, y, epsilon, **_):
    cost = lambda a, b: pairs(lambda p, q: ((p - q) ** 2).sum() / 2, a, b)
    value = lambda a, b: np.array([primal(c, epsilon) for c in cost(a, b)])
    return value(x, y) - value(x, x) / 2 - value(y, y) / 2

  check_kernel(
    jax.jit(sinkhorn_divergence, static_argnames=SETTINGS),
    (X, Y),
    kwargs={"epsilon": 0.5, "num_iterations": 25},
    oracle=expected,
    atol=1e-5,
    extreme=[(1e3 * X, Y), (0 * X, 0 * Y)],
    bad_inputs=[
      *BAD,
      ((X, Y), {"epsilon": 0.0}, ValueError, "epsilon must be in"),
      ((X, Y), {"num_iterations": 0}, ValueError, "num_iterations must be a positive"),
      ((X, Y), {"cost": "iou"}, ValueError, "cost must be one of"),
    ],
  )


@pytest.mark.parametrize(("epsilon", "count"), [(1.0, 1), (0.3, 40), (0.003, 40)])
def test_iterations_with_one_plan_are_those_with_soft_minima(epsilon, count):
  """Also where the potentials run away from every plan, as with the least epsilon, and for its gradient."""
  x, y = RNG.standard_normal((2, 1, 12, 3))
  y = y + 2.0

  def plainly(x, y, epsilon):
    cost = ((x[0][:, None] - y[0]) ** 2).sum(2) / 2
    soft = lambda c: -epsilon * (jax.nn.logsumexp(-c / epsilon, axis=1) - np.log(c.shape[1]))
    f = 0.0
    for _ in range(count):
      g = soft(cost.T - f)
      f = soft(cost - g)
    return f.mean() + soft(cost.T - f).mean()

  def ours(x, y, epsilon):
    both = lambda x, y: _pairs.distances(x, y, "half_squared")
    iterate = lambda rows, columns, f: rows(columns(f))
    f = _pairs.potential_after(count, iterate, both(x, y), epsilon)
    return f.mean() + _pairs.soft_minimum(both(x, y), f, epsilon, -2).mean()

  with jax.enable_x64(True):
    run = lambda f: jax.jit(jax.value_and_grad(f, (0, 1, 2)))(x, y, epsilon)
    for mine, theirs in zip(jax.tree.leaves(run(ours)), jax.tree.leaves(run(plainly))):
      np.testing.assert_allclose(mine, theirs, rtol=1e-9, atol=1e-12)


def test_sinkhorn_limits():
  x, y = RNG.standard_normal((2, 1, 6, 1)).astype(np.float32)
  run = jax.jit(sinkhorn_divergence, static_argnames=SETTINGS)
  near = run(x, y, epsilon=0.005, num_iterations=3000, cost="euclidean")[0]
  np.testing.assert_allclose(near, stats.wasserstein_distance(x.ravel(), y.ravel()), rtol=0.03)
  far = run(x, y, epsilon=1e3)[0]
  np.testing.assert_allclose(far, (x.mean() - y.mean()) ** 2 / 2, rtol=0.02, atol=1e-3)


def test_hausdorff_limits():
  run = jax.jit(hausdorff_divergence, static_argnames="cost")
  cost = np.square(X[:, :, None] - Y[:, None]).sum(3) / 2
  nearest = cost.min(2).mean(1) / 2 + cost.min(1).mean(1) / 2
  np.testing.assert_allclose(run(X, Y, epsilon=1e-4), nearest, rtol=1e-2)
  means = np.square(X.mean(1) - Y.mean(1)).sum(1) / 2
  np.testing.assert_allclose(run(X, Y, epsilon=1e3), means, rtol=0.02, atol=1e-3)


def test_equal_sets_are_at_distance_zero_and_others_are_not():
  for fn in (
    generalized_energy_distance,
    frechet_distance,
    hausdorff_divergence,
    sinkhorn_divergence,
  ):
    same, other = jax.jit(lambda x, y, fn=fn: (fn(x, x[:, ::-1]), fn(x, y)))(X, Y)
    np.testing.assert_allclose(same, 0, atol=1e-5)
    assert (np.asarray(other) > 1e-3).all(), fn
