"""Factor analysis against scipy's densities, scikit-learn's fit, and conditioning of the joint Gaussian."""

from functools import partial

import jax
import numpy as np
import pytest
from contract import check_kernel
from scipy import stats

from latentjax.densities import factor_analysis

B, D, Z = 8, 5, 2
RNG = np.random.default_rng(0)
X = RNG.standard_normal((B, D))
MEAN, LOG_SCALE = RNG.standard_normal(D), 0.5 * RNG.standard_normal(D)
LOADINGS = RNG.standard_normal((D, Z))
ARGS = (X, MEAN, LOADINGS, LOG_SCALE)
FIT = jax.jit(partial(factor_analysis.factor_analysis_em, latent_dim=Z, num_steps=300))


def covariance(loadings, log_scale):
  return loadings @ loadings.T + np.diag(np.exp(2 * log_scale))


def drawn(count, loadings=LOADINGS):
  z, eps = RNG.standard_normal((count, Z)), RNG.standard_normal((count, D))
  return MEAN + z @ loadings.T + eps * np.exp(LOG_SCALE)


def test_log_prob():
  like = (X, MEAN, 0 * LOADINGS + 10, np.full(D, -10.0))  # columns, over little noise
  check_kernel(
    jax.jit(factor_analysis.log_prob),
    ARGS,
    oracle=lambda x, m, w, s: stats.multivariate_normal(m, covariance(w, s)).logpdf(x),
    batch_axes=(0, None, None, None),
    extreme=[like, *((X, MEAN, 1e-3 * LOADINGS, np.full(D, s)) for s in (40.0, -15.0))],
    bad_inputs=[
      ((X[:, :2], *ARGS[1:]), {}, ValueError, "x must have D = 5 numbers on its last axis"),
      ((X, MEAN[None], *ARGS[2:]), {}, ValueError, "mean must have D = 5 numbers"),
      ((X, MEAN, MEAN, LOG_SCALE), {}, ValueError, "loadings must have 2 axes"),
      ((X.astype(int), *ARGS[1:]), {}, TypeError, "x must be a floating point array"),
    ],
  )


def test_log_prob_keeps_its_digits_when_the_noise_is_small():
  log_scale = LOG_SCALE - 7
  x = (
    MEAN
    + RNG.standard_normal((B, Z)) @ LOADINGS.T
    + RNG.standard_normal((B, D)) * np.exp(log_scale)
  )
  args = [np.float32(arg) for arg in (x, MEAN, LOADINGS, log_scale)]
  got = jax.jit(factor_analysis.log_prob)(*args)
  x, mean, loadings, log_scale = (arg.astype(float) for arg in args)
  expected = stats.multivariate_normal(mean, covariance(loadings, log_scale)).logpdf(x)
  np.testing.assert_allclose(got, expected, atol=5e-3)


def test_posterior_is_the_conditional_of_the_joint_gaussian():
  gain = LOADINGS.T @ np.linalg.inv(covariance(LOADINGS, LOG_SCALE))
  mean, spread = jax.jit(factor_analysis.posterior)(*ARGS)
  np.testing.assert_allclose(mean, (X - MEAN) @ gain.T, rtol=1e-4, atol=1e-5)
  np.testing.assert_allclose(spread, np.eye(Z) - gain @ LOADINGS, rtol=1e-4, atol=1e-5)


def test_fit_rises_to_the_maximum_that_scikit_learn_finds():
  decomposition = pytest.importorskip("sklearn.decomposition")
  x, units = drawn(400), np.array([1, 100, 1, 0.01, 1])
  params, log_likelihood = FIT(x * units)  # which do not matter, their product being one
  log_likelihood = np.asarray(log_likelihood, float)
  assert (np.diff(log_likelihood) > -5e-6).all() and np.diff(log_likelihood)[0] > 1e-4
  reference = decomposition.FactorAnalysis(Z, tol=1e-6, max_iter=5000, svd_method="lapack").fit(x)
  np.testing.assert_allclose(log_likelihood[-1], reference.score(x), atol=2e-4)
  model = covariance(*(np.asarray(p, float) for p in params[1:]))
  size = np.sqrt(np.diagonal(reference.get_covariance()))
  expected = reference.get_covariance() / np.outer(size, size)
  np.testing.assert_allclose(model / np.outer(size * units, size * units), expected, atol=0.01)
  exact = stats.multivariate_normal(np.asarray(params.mean, float), model).logpdf(x * units).mean()
  np.testing.assert_allclose(log_likelihood[-1], exact, atol=1e-4)


def test_noise_that_vanishes_stops_at_the_floor():
  x = drawn(200)
  x[:, 1] = 2 * x[:, 0]
  params, log_likelihood = FIT(x)
  assert all(np.isfinite(leaf).all() for leaf in params) and np.isfinite(log_likelihood).all()
  ratio = np.exp(params.log_scale[:2]) / x.std(0)[:2]
  assert (ratio > 0.99e-3).all()
  constant = FIT(np.concatenate([x[:, :4], np.ones((200, 1))], axis=1))[0]
  assert all(np.isfinite(leaf).all() for leaf in constant)


def test_bad_arguments():
  for kwargs, error, match in [
    ({"latent_dim": 0}, ValueError, "latent_dim must be a positive integer"),
    ({"latent_dim": 6}, ValueError, "latent_dim must be in"),
    ({"latent_dim": 2, "min_scale": 2.0}, ValueError, "min_scale must be in"),
  ]:
    with pytest.raises(error, match=match):
      factor_analysis.factor_analysis_em(X, **kwargs)
