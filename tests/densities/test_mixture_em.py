"""Expectation maximisation of a Gaussian mixture against scikit-learn, update by update."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from latentjax.densities import mixture
from latentjax.densities.mixture_em import gmm_em, update_gmm

N, M, D = 300, 3, 2
RNG = np.random.default_rng(0)
CENTRES = np.array([[0.0, 0.0], [4.0, 1.0], [-3.0, 3.0]])
LABELS = RNG.integers(0, M, N)
X = (CENTRES[LABELS] + RNG.standard_normal((N, D)) * [1.0, 0.5]).astype(np.float32)


FIT = jax.jit(partial(gmm_em, num_components=M, num_steps=60, num_starts=4))


def test_updates_are_those_of_scikit_learn():
  sklearn = pytest.importorskip("sklearn.mixture")
  weights, mean, scale = np.array([0.2, 0.3, 0.5]), X[:M].astype(float), np.full((M, D), 2.0)
  reference = sklearn.GaussianMixture(
    M, covariance_type="diag", tol=0, reg_covar=0, max_iter=5, weights_init=weights,
    means_init=mean, precisions_init=scale**-2.0,
  )  # fmt: skip
  with pytest.warns(match="did not converge"):
    reference.fit(X)
  params = np.log(weights), mean, np.log(scale)
  update = jax.jit(update_gmm)
  for _ in range(5):
    params = update(X, *(jnp.float32(p) for p in params))
  np.testing.assert_allclose(np.exp(params.logits), reference.weights_, rtol=1e-4)
  np.testing.assert_allclose(params.mean, reference.means_, rtol=1e-4, atol=1e-4)
  np.testing.assert_allclose(np.exp(2 * params.log_scale), reference.covariances_, rtol=1e-3)


def test_fit_never_falls_and_finds_the_clusters(key):
  params, log_likelihood = FIT(key, X + 1000)  # far from the origin, where squares lose digits
  log_likelihood = np.asarray(log_likelihood, float)
  assert log_likelihood.shape == (61,) and (np.diff(log_likelihood) > -5e-4).all()
  order = np.argsort(params.mean[:, 0])
  expected = CENTRES[np.argsort(CENTRES[:, 0])] + 1000
  np.testing.assert_allclose(params.mean[order], expected, atol=0.35)
  share = jax.jit(mixture.responsibilities)(X + 1000, *params)
  rank = np.argsort(np.argsort(params.mean[:, 0]))
  wanted = np.argsort(np.argsort(CENTRES[:, 0]))[LABELS]
  assert (rank[np.argmax(share, axis=1)] == wanted).mean() > 0.97
  exact = np.mean(jax.jit(mixture.log_prob)(X + 1000, *params))
  np.testing.assert_allclose(log_likelihood[-1], exact, atol=1e-4)


def test_fit_does_not_depend_on_units(key):
  (params, log_likelihood), (tiny, shifted) = (FIT(key, x) for x in (X, X * np.float32(2.0**-30)))
  np.testing.assert_allclose(tiny.mean * 2**30, params.mean, rtol=1e-3, atol=1e-3)
  np.testing.assert_allclose(tiny.log_scale, params.log_scale - 30 * np.log(2), rtol=1e-3)
  np.testing.assert_allclose(shifted, log_likelihood + D * 30 * np.log(2), rtol=1e-5)


def test_the_best_start_wins():
  """Five components for three clusters have many local maxima; of four starts the best is kept."""
  keys = jax.random.split(jax.random.key(5), 12)
  one, four = (
    np.asarray(
      jax.jit(
        jax.vmap(
          lambda key, n=n: gmm_em(key, X, num_components=5, num_steps=8, num_starts=n)[1][-1]
        )
      )(keys)
    )
    for n in (1, 4)
  )
  assert four.mean() > one.mean() + 0.5 * one.std() and four.std() < one.std()


def test_degenerate_data_stays_finite(key):
  """Equal points, more components than points, a component without points."""
  run = jax.jit(partial(gmm_em, num_components=4, num_steps=20))
  for x in (np.ones((3, D), np.float32), X[:3]):
    params, log_likelihood = run(key, x)
    assert all(np.isfinite(leaf).all() for leaf in (*params, log_likelihood))
  far = jnp.array([[0.0, 0.0], [1e6, 1e6]])
  params = jax.jit(update_gmm)(X, jnp.zeros(2), far, jnp.zeros((2, D)))
  np.testing.assert_array_equal(params.mean[1], far[1])
  np.testing.assert_allclose(params.mean[0], X.mean(0), rtol=1e-3, atol=1e-4)
  slopes = jax.jit(jax.grad(lambda x: sum(p.sum() for p in update_gmm(x, *params))))(X)
  assert np.isfinite(slopes).all() and np.any(slopes)


def test_bad_arguments(key):
  with pytest.raises(ValueError, match="num_components must be a positive integer"):
    gmm_em(key, X, num_components=0)
  with pytest.raises(ValueError, match="x must have 2 axes"):
    gmm_em(key, X[0], num_components=2)
  with pytest.raises(TypeError, match="x must be a floating point array"):
    update_gmm(X.astype(int), np.zeros(2), np.zeros((2, D)), np.zeros((2, D)))
