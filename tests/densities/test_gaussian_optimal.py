"""The optimal-variance likelihood is the maximum of the Gaussian's over its variance."""

import battery
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import check_kernel
from scipy import optimize, stats

from latentjax.densities import gaussian, gaussian_optimal

B, D = 8, 5
RNG = np.random.default_rng(0)
X, MEAN = RNG.standard_normal((2, B, D))
BAD = [
  ((X.astype(int), MEAN), {}, TypeError, "x must be a floating point array"),
  ((X, MEAN[:, :1]), {}, ValueError, "x and mean must have equal shapes"),
  ((X, MEAN), {"min_log_scale": np.inf}, ValueError, "min_log_scale must be in"),
]


def best(x, mean):
  """The maximum over log sigma by search, for rows that share it."""
  loss = lambda s: -stats.norm.logpdf(x, mean, np.exp(s)).sum()
  return optimize.minimize_scalar(loss, bounds=(-6, 6), method="bounded", options={"xatol": 1e-9}).x


def maximum(x, mean, shared=False):
  rows = [(x, mean)] * B if shared else [(x[i], mean[i]) for i in range(B)]
  scales = np.exp([best(*row) for row in rows])
  return stats.norm.logpdf(x, mean, scales[:, None]).sum(1)


def test_log_prob_is_the_maximum_for_every_event():
  check_kernel(
    battery.jit(gaussian_optimal.log_prob),
    (X, MEAN),
    oracle=maximum,
    extreme=[(X, X), (1e4 * X, MEAN), (1e-9 * X, 0 * MEAN)],
    bad_inputs=BAD,
  )


def test_log_prob_with_one_variance_for_the_batch():
  check_kernel(
    battery.jit(gaussian_optimal.log_prob),
    (X, MEAN),
    kwargs={"shared": True},
    oracle=maximum,
    batch_coupled=True,
    extreme=[(X, X)],
    bad_inputs=BAD,
  )


@pytest.mark.parametrize("shared", [False, True])
def test_gradient_is_that_of_a_fixed_variance_at_the_optimum(shared):
  mean = jnp.asarray(MEAN)
  log_scale = gaussian_optimal.optimal_log_scale(X, mean, shared=shared)
  fixed = jnp.broadcast_to(jnp.reshape(log_scale, (-1, 1)), X.shape)
  slope = jax.grad(lambda m: gaussian_optimal.log_prob(X, m, shared=shared).sum())(mean)
  expected = jax.grad(lambda m: gaussian.log_prob(X, m, fixed).sum())(mean)
  np.testing.assert_allclose(slope, expected, rtol=1e-4, atol=1e-5)


def test_floor():
  floor = gaussian_optimal.log_prob(X, X, min_log_scale=-2.0)
  np.testing.assert_allclose(floor, D * stats.norm.logpdf(0, scale=np.exp(-2)), rtol=1e-5)
  np.testing.assert_array_equal(gaussian_optimal.mean(MEAN), np.float32(MEAN))
