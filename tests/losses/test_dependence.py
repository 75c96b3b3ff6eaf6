"""HSIC and Cauchy-Schwarz measures against Gram matrices, sums over tuples and closed forms."""

from functools import partial
from itertools import permutations

import jax
import numpy as np
import pytest
from contract import check_kernel
from scipy import stats
from scipy.spatial import distance
from split import check_split

from latentjax.losses.information import (
  cs_conditional_divergence,
  cs_divergence,
  cs_information,
  hsic,
)

B, D, E = 8, 3, 2
RNG = np.random.default_rng(0)
X = RNG.standard_normal((B, D)) + 5
Y = X[:, :E] + 0.5 * RNG.standard_normal((B, E))
Y_HAT = Y + 0.3 * RNG.standard_normal((B, E))
H = 1.5


def measures(x, y, y_hat, axis_name=None, block_size=None):
  run = {"axis_name": axis_name, "block_size": block_size}
  return {
    "unbiased": hsic(x, y, estimator="unbiased", **run),
    "conditional": cs_conditional_divergence(x, y, y_hat, bandwidth_x=H, **run),
  }


def gram(a, b, h):
  return np.exp(-distance.cdist(a, b, "sqeuclidean") / h / 2)


def oracle(x, y, y_hat):
  size = len(x)
  k, k_wide, values = gram(x, x, H), gram(x, x, 2 * D), gram(y, y, 2 * E)
  # Song et al.: means over tuples of different rows.
  tuples = lambda count: np.array(list(permutations(range(size), count))).T
  pairs, triples, quadruples = (tuples(count) for count in (2, 3, 4))
  conditional = [
    np.log(sum((k[j] @ m[j]) / k[j].sum() ** 2 for j in range(size)))
    for m in (values, gram(y_hat, y_hat, 2 * E), gram(y_hat, y, 2 * E))
  ]
  return {
    "unbiased": np.mean(k_wide[tuple(pairs)] * values[tuple(pairs)])
    + np.mean(k_wide[tuple(quadruples[:2])] * values[tuple(quadruples[2:])])
    - 2 * np.mean(k_wide[tuple(triples[:2])] * values[tuple(triples[[0, 2]])]),
    "conditional": conditional[0] + conditional[1] - 2 * conditional[2],
  }


def test_measures():
  integers, args = X.astype(int), (X, Y, Y_HAT)
  check_kernel(
    measures,
    args,
    oracle=oracle,
    batch_coupled=True,
    rtol=1e-4,
    atol=2e-6,
    extreme=[(1e3 * X, -1e3 * Y, Y_HAT), (0 * X, 0 * Y, 0 * Y_HAT)],
    bad_inputs=[
      ((integers, Y, Y_HAT), {}, TypeError, "x must be a floating point"),
      ((X[0], Y, Y_HAT), {}, ValueError, "x must have 2 axes"),
      ((X[:4], Y, Y_HAT), {}, ValueError, "x and y must have the same number of rows"),
      ((X, Y, Y_HAT[:, :1]), {}, ValueError, "y and y_hat must have the same shape"),
      (args, {"block_size": 0}, ValueError, "block_size must be a positive integer"),
    ],
  )


@pytest.mark.parametrize(
  ("call", "match"),
  [
    (partial(hsic, X, Y, bandwidth_y=0.0), "bandwidth_y must be in"),
    (partial(hsic, X, Y, estimator="exact"), "estimator must be one of"),
    (partial(hsic, X[:3], Y[:3], estimator="unbiased"), "'unbiased' must have at least 4 rows"),
    (partial(cs_divergence, X, X, bandwidth=-1.0), "bandwidth must be in"),
    (partial(cs_divergence, X, Y), "x and y must have the same last axis"),
  ],
)
def test_bad_settings(call, match):
  with pytest.raises(ValueError, match=match):
    call()


def test_blocks_on_four_devices():
  """Blocks that do not divide a device's three rows."""

  def fn(x, y, axis_name):
    run = {"axis_name": axis_name, "block_size": 2}
    return {
      "biased": hsic(x, y, bandwidth_x=H, **run),
      "divergence": cs_divergence(x[:, :E], y, bandwidth=H, **run),
      "information": cs_information(x, y, bandwidth_y=H, **run),
    }

  def expected(x, y):
    k, values, z = gram(x, x, 2 * D), gram(y, y, H), x[:, :E]
    centring = np.eye(len(x)) - 1 / len(x)
    overlap = gram(z, y, H).mean() ** 2 / (gram(z, z, H).mean() * values.mean())
    crossed = np.mean(k.mean(1) * values.mean(1))
    squares = np.trace(gram(x, x, H) @ centring @ gram(y, y, 2 * E) @ centring)
    return {
      "biased": squares / len(x) ** 2,
      "divergence": -np.log(overlap),
      "information": np.log((k * values).mean() * k.mean() * values.mean() / crossed**2),
    }

  check_split(fn, [np.concatenate([array, 1.1 * array[:4]]) for array in (X, Y)], expected)


def test_zeros_and_closed_forms():
  """Quantiles of Gaussians, whose kernel means are Gaussian densities; a grid is independent."""
  x = stats.norm.ppf((np.arange(400) + 0.5) / 400)[:, None]
  grid = np.stack(np.meshgrid(x[::20, 0], x[::25, 0]), axis=-1).reshape(-1, 2)
  run = jax.jit(
    lambda x, a, b: (
      cs_divergence(x, x + 2, bandwidth=0.7),
      cs_divergence(x, x),
      cs_information(a, b),
      hsic(a, b),
      cs_conditional_divergence(a, b, b),
    )
  )
  divergence, *zeros = run(x, grid[:, :1], grid[:, 1:])
  # N(0, 1) and N(m, 1), each blurred to variance 1 + h / 2: D = m^2 / (2 + h).
  np.testing.assert_allclose(divergence, 2**2 / (2 + 0.7), rtol=0.02)
  np.testing.assert_allclose(zeros, 0, atol=1e-5)
