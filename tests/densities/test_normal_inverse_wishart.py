"""Normal-inverse-Wishart against scipy and Bayes' theorem."""

from functools import partial

import battery
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import check_kernel
from scipy import stats

from latentjax.densities import normal_inverse_wishart as niw

B, D, N = 8, 3, 6
RNG = np.random.default_rng(0)


def spd(*shape):
  root = RNG.standard_normal((*shape, D, D))
  return root @ root.swapaxes(-1, -2) + 0.5 * np.eye(D)


MEAN, LOC = RNG.standard_normal((2, B, D))
SIGMA, PSI = spd(B), spd(B)
KAPPA, NU = RNG.uniform(0.5, 2, B), RNG.uniform(D, 9, B)
LOG_PROB = jax.jit(niw.log_prob)
PRIOR = (LOC[0], np.float32(KAPPA[0]), PSI[0], np.float32(NU[0]))


def scipy_log_prob(mean, sigma, loc, kappa, psi, nu):
  rows = zip(mean, sigma, loc, kappa, psi, nu)
  return np.array([
    stats.multivariate_normal(m, s / k).logpdf(x) + stats.invwishart(v, p).logpdf(s)
    for x, s, m, k, p, v in rows
  ])  # fmt: skip


def test_log_prob():
  args = (MEAN, SIGMA, LOC, KAPPA, PSI, NU)
  check_kernel(
    LOG_PROB,
    args,
    oracle=scipy_log_prob,
    bfloat16=False,
    bad_inputs=[
      ((MEAN, SIGMA, LOC, KAPPA, PSI[:, :2], NU), {}, ValueError, "loc must have shape"),
      ((MEAN, SIGMA, LOC, KAPPA[:4], PSI, NU), {}, ValueError, "concentration.*equal shapes"),
      ((MEAN, SIGMA, LOC, KAPPA, PSI, NU.astype(int)), {}, TypeError, "dof must be a floating"),
    ],
  )


@pytest.mark.parametrize(
  "weights", [np.ones(N), np.zeros(N), RNG.uniform(0, 2, N)], ids=["1", "0", "w"]
)
def test_posterior_is_bayes_theorem(weights):
  """log prior + log likelihood - log posterior does not depend on the mean and covariance."""
  x = RNG.standard_normal((N, D))
  with jax.enable_x64(True):
    prior = [jnp.asarray(p, jnp.float64) for p in PRIOR]
    update = niw.posterior(jnp.asarray(x), jnp.asarray(weights), *prior)
    log_p, log_post = (np.asarray(LOG_PROB(MEAN, SIGMA, *p)) for p in (prior, update))
  rows = zip(MEAN, SIGMA)
  likelihood = [weights @ stats.multivariate_normal(m, s).logpdf(x) for m, s in rows]
  evidence = log_p + likelihood - log_post
  np.testing.assert_allclose(evidence, evidence[0], rtol=1e-9, atol=1e-9)
  assert np.isfinite(evidence[0])


def test_samples_have_the_known_moments():
  loc, kappa, psi, nu = LOC[0], 1.5, PSI[0], 10.0
  params = [jnp.asarray(p, jnp.float32) for p in (loc, kappa, psi, nu)]

  def total(loc, psi):
    draws = niw.sample(jax.random.key(1), loc, params[1], psi, params[3], num_samples=8000)
    return draws[0].mean(0).sum() + jnp.trace(draws[1].mean(0)), draws

  run = jax.jit(jax.grad(total, (0, 1), has_aux=True))
  (d_loc, d_psi), (mean, sigma) = run(params[0], params[2])
  assert mean.shape == (8000, D) and sigma.shape == (8000, D, D)
  # d mu / d m = 1 in every draw; E[tr Sigma] = tr Psi / (nu - D - 1).
  np.testing.assert_allclose(d_loc, 1, rtol=1e-5)
  np.testing.assert_allclose(jnp.diagonal(d_psi), 1 / (nu - D - 1), rtol=0.1)
  expected_mean, expected_sigma = niw.mean(*params)
  np.testing.assert_allclose(expected_sigma, stats.invwishart(nu, psi).mean(), rtol=1e-5)
  for draws, exact in ((mean, expected_mean), (sigma, expected_sigma)):
    error = np.asarray(draws.mean(0) - exact) / (np.asarray(draws.std(0)) / 8000**0.5)
    assert np.abs(error).max() < 4.5
  # cov(mu) = E[Sigma] / kappa; and the samples' own log-density has the entropy scipy's samples give.
  np.testing.assert_allclose(
    np.cov(mean.T), expected_sigma / kappa, atol=0.1 * np.max(expected_sigma)
  )
  scipy_sigma = stats.invwishart(nu, psi).rvs(8000, random_state=1)
  for fn in (lambda s: np.linalg.slogdet(s)[1], lambda s: np.linalg.inv(s)[:, 0, 0]):
    a, b = fn(np.asarray(sigma, float)), fn(scipy_sigma)
    assert stats.ks_2samp(a, b).pvalue > 1e-3


def test_rows_have_their_own_noise_whichever_parameter_has_the_batch_axis():
  def sample(key, psi, **kwargs):
    one = jnp.ones((), psi.dtype)
    mean, sigma = niw.sample(key, jnp.zeros(D, psi.dtype), one, psi, 9 * one, **kwargs)
    return jnp.concatenate([mean[..., None], sigma], axis=-1)

  psi = jnp.tile(jnp.float32(PSI[0]), (2 * B, 1, 1))
  draws = jax.jit(partial(sample, num_samples=2))(jax.random.key(1), psi)
  battery.check_rows(sample, (psi,), draws)


def test_posterior_refuses_shapes_that_do_not_fit():
  x = np.zeros((N, D))
  with pytest.raises(ValueError, match="x and weights must have shapes"):
    niw.posterior(x, np.ones(N + 1), *PRIOR)
  with pytest.raises(ValueError, match="loc must be of a single prior"):
    niw.posterior(x, np.ones(N), LOC, KAPPA, PSI, NU)
