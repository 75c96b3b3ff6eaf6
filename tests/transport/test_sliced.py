"""Sliced Wasserstein distance against scipy in one dimension, and a shift in three."""

from functools import partial

import jax
import numpy as np
import pytest
from contract import check_kernel
from scipy import stats

from latentjax.transport import sliced_wasserstein_distance

RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((16, 1)), 2 * RNG.standard_normal((24, 1)) + 0.5


def test_one_dimension(key):
  check_kernel(
    partial(sliced_wasserstein_distance, num_projections=3, order=1.0),
    (X, Y),
    key=key,
    oracle=lambda x, y: stats.wasserstein_distance(x[:, 0], y[:, 0]),
    batch_coupled=True,
    extreme=[(0 * X, 0 * Y), (1e30 * X, 1e-30 * Y)],
    bad_inputs=[
      ((X.astype(int), Y), {}, TypeError, "x must be a floating point"),
      ((X[0], Y), {}, ValueError, "x must have 2 axes"),
      ((X, np.ones((4, 2))), {}, ValueError, "x and y must have the same width"),
      ((X[:0], Y), {}, ValueError, "x must not be empty"),
      ((X, Y), {"order": 0.5}, ValueError, "order must be in"),
      ((X, Y), {"num_projections": 0}, ValueError, "num_projections must be a positive"),
    ],
  )


def test_more_dimensions(key):
  x, shift = RNG.standard_normal((20, 3)), np.array([3.0, 0.0, 4.0])
  run = jax.jit(lambda x, y: sliced_wasserstein_distance(key, x, y, num_projections=4000))
  assert float(run(x, x + shift)) == pytest.approx(5 / np.sqrt(3), rel=0.03)
  assert float(run(x, RNG.permutation(x))) == 0
  few = x[:5]  # each stands for four rows
  assert float(run(x, few)) == pytest.approx(float(run(x, np.tile(few, (4, 1)))), rel=1e-5)
  grown = np.sqrt(np.mean(x**2))  # quantiles of 2 x are those of x, twice
  assert float(run(x, 2 * x)) == pytest.approx(grown, rel=0.03)
