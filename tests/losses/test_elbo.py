"""The evidence lower bound on a linear-Gaussian model, where log p(x) is known."""

import jax
import numpy as np
import pytest
from contract import check_kernel
from scipy import stats

from latentjax.densities import gaussian
from latentjax.losses.elbo import elbo

B, D, Z = 8, 5, 2
RNG = np.random.default_rng(0)
LOG_LIKELIHOOD, KL = -100 * RNG.uniform(size=B), 20 * RNG.uniform(size=B)


def test_elbo():
  check_kernel(
    elbo,
    (LOG_LIKELIHOOD, KL),
    kwargs={"beta": 4.0},
    oracle=lambda a, b, beta: np.array([-beta, 1.0]) @ np.stack([b, a]),
    extreme=[(1e30 * LOG_LIKELIHOOD, 1e30 * KL)],
    bad_inputs=[
      ((LOG_LIKELIHOOD, KL.astype(int)), {}, TypeError, "kl must be a floating point"),
      (
        (LOG_LIKELIHOOD, KL[:, None]),
        {},
        ValueError,
        "log_likelihood and kl must have the same shape",
      ),
      (
        (LOG_LIKELIHOOD, KL),
        {"beta": -1.0},
        ValueError,
        "beta must be in \\[0.0, inf\\], got -1.0",
      ),
      ((LOG_LIKELIHOOD, KL), {"beta": np.nan}, ValueError, "beta must be in"),
    ],
  )


def test_beta_can_be_annealed_under_jit():
  annealed = jax.jit(lambda beta: elbo(LOG_LIKELIHOOD, KL, beta=beta))
  np.testing.assert_allclose(annealed(0.5), LOG_LIKELIHOOD - 0.5 * KL, rtol=1e-6)


@pytest.fixture(scope="module")
def model():
  """p(z) = N(0, I), p(x|z) = N(W z, s^2 I): evidence and posterior in closed form."""
  w, log_scale = RNG.standard_normal((D, Z)), -0.5
  noise = np.exp(2 * log_scale)
  x = RNG.standard_normal((B, D))
  log_evidence = stats.multivariate_normal(np.zeros(D), w @ w.T + noise * np.eye(D)).logpdf(x)
  precision = np.eye(Z) + w.T @ w / noise
  return w, log_scale, x, log_evidence, precision, x @ w @ np.linalg.inv(precision) / noise


def exact_elbo(model, mean, log_scale_q):
  """The bound for a diagonal q, with E[log p(x|z)] by its closed form, in float64."""
  w, log_scale, x, *_ = model
  with jax.enable_x64(True):
    spread = np.exp(2 * log_scale_q) @ (w**2).sum(0) / np.exp(2 * log_scale)
    log_likelihood = gaussian.log_prob(x, mean @ w.T, log_scale) - 0.5 * spread
    return np.asarray(elbo(log_likelihood, gaussian.kl_standard(mean, log_scale_q)))


def test_gap_to_the_evidence_is_the_divergence_of_q_from_the_posterior(model):
  *_, log_evidence, precision, posterior_mean = model
  log_scale_q = RNG.standard_normal((B, Z))
  mean = posterior_mean + RNG.standard_normal((B, Z))
  shift = mean - posterior_mean
  # KL of two full Gaussians, q diagonal.
  gap = 0.5 * (
    (np.exp(2 * log_scale_q) * np.diag(precision)).sum(1)
    + np.einsum("bi,ij,bj->b", shift, precision, shift)
    - Z
    - 2 * log_scale_q.sum(1)
    - np.linalg.slogdet(precision)[1]
  )
  np.testing.assert_allclose(exact_elbo(model, mean, log_scale_q), log_evidence - gap, rtol=1e-10)


def test_bound_is_tight_for_the_exact_posterior_in_one_dimension(model):
  w, log_scale, x, *_ = model
  w = w[:, :1]
  noise = np.exp(2 * log_scale)
  precision = 1 + (w**2).sum() / noise
  log_evidence = stats.multivariate_normal(np.zeros(D), w @ w.T + noise * np.eye(D)).logpdf(x)
  mean, log_scale_q = x @ w / noise / precision, np.full((B, 1), -0.5 * np.log(precision))
  bound = exact_elbo((w, log_scale, x), mean, log_scale_q)
  np.testing.assert_allclose(bound, log_evidence, rtol=1e-12)
