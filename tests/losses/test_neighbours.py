"""KSG against loops over points, against scikit-learn, and on Gaussians of known information."""

from functools import partial

import jax
import numpy as np
import pytest
from contract import check_kernel
from scipy.special import digamma

from latentjax.losses.information import ksg_mutual_information

B, D, E = 16, 3, 2
RNG = np.random.default_rng(0)
X = RNG.standard_normal((B, D)).astype(np.float32)
Y = X[:, :E] + 0.5 * RNG.standard_normal((B, E)).astype(np.float32)


def oracle(x, y, num_neighbours=3, algorithm="cubes", **_):
  """Both algorithms, one point at a time."""
  k, size = num_neighbours, len(x)
  values = []
  for i in range(size):
    others = [j for j in range(size) if j != i]
    dx = np.array([max(abs(x[i] - x[j])) for j in others])
    dy = np.array([max(abs(y[i] - y[j])) for j in others])
    order = np.argsort(np.maximum(dx, dy))[:k]
    if algorithm == "cubes":
      radius = max(dx[order[-1]], dy[order[-1]])
      counts = [np.sum(d < radius) + 1 for d in (dx, dy)]
      values.append(digamma(k) + digamma(size) - digamma(counts).sum())
    else:
      counts = [np.sum(d <= d[order].max()) for d in (dx, dy)]
      values.append(digamma(k) - 1 / k + digamma(size) - digamma(counts).sum())
  return np.array(values)


def test_contract():
  args = (X, Y)
  check_kernel(
    partial(ksg_mutual_information, block_size=2),
    args,
    oracle=oracle,
    kwargs={"num_neighbours": 2, "algorithm": "rectangles"},
    detached=[0, 1],
    batch_coupled=True,
    extreme=[(0 * X, 0 * Y), (1e30 * X, Y)],
    bad_inputs=[
      ((X.astype(int), Y), {}, TypeError, "x must be a floating point"),
      ((X[0], Y), {}, ValueError, "x must have 2 axes"),
      ((X[:4], Y), {}, ValueError, "x and y must have the same number of rows"),
      ((X[:2], Y[:2]), {}, ValueError, "more rows than the 2 neighbours, got 2"),
      (args, {"num_neighbours": 0}, ValueError, "num_neighbours must be a positive integer"),
      (args, {"algorithm": "balls"}, ValueError, "algorithm must be one of"),
      (args, {"block_size": 1.5}, TypeError, "block_size must be a positive integer"),
    ],
  )


def test_cubes():
  """Against the loops; in blocks that do not divide the rows the result is the same."""
  for block_size in (None, 5):
    values = jax.jit(partial(ksg_mutual_information, block_size=block_size))(X, Y)
    np.testing.assert_allclose(values, oracle(X, Y), rtol=1e-5, atol=1e-6)


@pytest.fixture(scope="module")
def correlated():
  rho = 0.8
  x, noise = RNG.standard_normal((2, 2000))
  return x, rho * x + np.sqrt(1 - rho**2) * noise, -0.5 * np.log(1 - rho**2)


def test_against_scikit_learn(correlated):
  from sklearn.feature_selection import mutual_info_regression

  x, y, _ = (v[:300] if np.ndim(v) else v for v in correlated)
  expected = mutual_info_regression(x[:, None], y, n_neighbors=4, random_state=0)
  x, y = (v[:, None] / v.std() for v in (x, y))  # as it does
  value = jax.jit(partial(ksg_mutual_information, num_neighbours=4))(x, y).mean()
  np.testing.assert_allclose(value, expected[0], rtol=1e-4)


@pytest.mark.parametrize("algorithm", ["cubes", "rectangles"])
def test_gaussians_of_known_information(correlated, algorithm):
  """Within the estimate's standard error; nothing for independent samples, in any dimension."""
  x, y, information = correlated
  run = jax.jit(partial(ksg_mutual_information, algorithm=algorithm, block_size=250))
  for args, truth in (((x[:, None], y[:, None]), information), ((x[:, None], y[::-1, None]), 0.0)):
    assert abs(float(run(*args).mean()) - truth) < 0.08
