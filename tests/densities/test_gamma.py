"""Log-gamma and exponential remainders, and what the densities of counts owe to them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from latentjax.densities import negative_binomial, poisson, student_t
from latentjax.densities._gamma import exp_remainder, log_gamma_ratio, stirling_remainder


def test_stirling_remainder():
  a = np.array([1e-9, 0.02, 0.5, 1, 4.99, 5, 7, 30])
  exact = special.gammaln(a) - ((a - 0.5) * np.log(a) - a + 0.5 * np.log(2 * np.pi))
  np.testing.assert_allclose(stirling_remainder(jnp.float32(a)), exact, rtol=1e-4, atol=2e-7)
  with jax.enable_x64(True):
    np.testing.assert_allclose(stirling_remainder(jnp.array(a)), exact, rtol=1e-10, atol=1e-12)
    slope = jax.vmap(jax.grad(stirling_remainder))(jnp.array(a))
  exact_slope = special.digamma(a) - (np.log(a) - 0.5 / a)
  np.testing.assert_allclose(slope, exact_slope, rtol=1e-9, atol=1e-11)
  np.testing.assert_allclose(stirling_remainder(jnp.float32([1e3, 1e6])), [1 / 12e3, 1 / 12e6])


def test_log_gamma_ratio():
  a = np.array([1e-3, 0.4, 3, 50, 1e4])
  exact = special.gammaln(a + 2.5) - special.gammaln(a)
  np.testing.assert_allclose(log_gamma_ratio(jnp.float32(a), 2.5), exact, rtol=1e-5)


def test_exp_remainder():
  d = np.array([-80, -3, -0.51, -0.49, -1e-3, 0, 1e-3, 0.49, 0.51, 3, 80])
  small = d**2 / 2 + d**3 / 6 + d**4 / 24
  exact = np.where(np.abs(d) < 0.01, small, np.expm1(d) - d)
  np.testing.assert_allclose(exp_remainder(jnp.float32(d)), exact, rtol=2e-6)
  slope = jax.vmap(jax.grad(exp_remainder))(jnp.float32(d))
  np.testing.assert_allclose(slope, np.expm1(d), rtol=2e-6)


@pytest.mark.parametrize("rate", [3e3, 1e6])
def test_poisson_keeps_its_digits_for_large_counts(rate):
  x = np.rint(rate + np.array([-2, 0, 3]) * np.sqrt(rate))
  log_p = poisson.log_prob(x.astype(np.int32), np.float32(np.log(rate)), event_ndim=0)
  exact = stats.poisson.logpmf(x, np.exp(float(np.float32(np.log(rate)))))
  # The rounding of log_rate itself is exact here; that of log x moves (x - rate) by some 1e-7 x.
  np.testing.assert_allclose(log_p, exact, atol=3e-7 * rate**0.5 * 10 + 1e-5)


def test_negative_binomial_keeps_its_digits_for_large_counts_and_is_poisson_in_the_limit():
  x = np.array([90_000, 100_000, 101_000])
  log_rate, log_r = np.float32(np.log(1e5)), np.float32(np.log(2e4))
  rate, r = np.exp(float(log_rate)), np.exp(float(log_r))
  exact = stats.nbinom.logpmf(x, r, r / (r + rate))
  got = negative_binomial.log_prob(x, log_rate, log_r, event_ndim=0)
  np.testing.assert_allclose(got, exact, atol=2e-3)
  few = np.arange(9)
  limit = negative_binomial.log_prob(few, np.float32(1), np.float32(40), event_ndim=0)
  np.testing.assert_allclose(limit, stats.poisson.logpmf(few, np.e), rtol=2e-6)


def test_student_t_is_gaussian_in_the_limit():
  x = np.linspace(-5, 5, 7)
  got = student_t.log_prob(x, np.float32(0), np.float32(0), np.float32(30), event_ndim=0)
  np.testing.assert_allclose(got, stats.norm.logpdf(x), rtol=1e-6)
  entropy = student_t.entropy(np.zeros(1), np.zeros(1), np.full(1, 30.0))
  np.testing.assert_allclose(entropy, stats.norm.entropy(), rtol=1e-6)
