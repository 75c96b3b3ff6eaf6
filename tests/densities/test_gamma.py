"""Log-gamma and exponential remainders, and what the densities of counts owe to them."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from latentjax.densities import negative_binomial, poisson, student_t
from latentjax.densities._gamma import (
  draw_log_gamma,
  exp_remainder,
  log_gamma_ratio,
  stirling_remainder,
)


def test_stirling_remainder():
  a = np.array([1e-9, 0.02, 0.5, 1, 4.99, 5, 7, 30])
  exact = special.gammaln(a) - ((a - 0.5) * np.log(a) - a + 0.5 * np.log(2 * np.pi))
  run = jax.jit(jax.vmap(jax.value_and_grad(stirling_remainder)))
  np.testing.assert_allclose(run(jnp.float32(a))[0], exact, rtol=1e-4, atol=2e-7)
  with jax.enable_x64(True):
    value, slope = run(jnp.array(a))
  np.testing.assert_allclose(value, exact, rtol=1e-10, atol=1e-12)
  exact_slope = special.digamma(a) - (np.log(a) - 0.5 / a)
  np.testing.assert_allclose(slope, exact_slope, rtol=1e-9, atol=1e-11)
  np.testing.assert_allclose(run(jnp.float32([1e3, 1e6] * 4))[0][:2], [1 / 12e3, 1 / 12e6])


def test_log_gamma_ratio():
  a = np.array([1e-3, 0.4, 3, 50, 1e4])
  exact = special.gammaln(a + 2.5) - special.gammaln(a)
  got = jax.jit(log_gamma_ratio)(jnp.float32(a), 2.5)
  np.testing.assert_allclose(got, exact, rtol=1e-5)


def test_exp_remainder():
  d = np.array([-80, -3, -0.51, -0.49, -1e-3, 0, 1e-3, 0.49, 0.51, 3, 80])
  small = d**2 / 2 + d**3 / 6 + d**4 / 24
  exact = np.where(np.abs(d) < 0.01, small, np.expm1(d) - d)
  value, slope = jax.jit(jax.vmap(jax.value_and_grad(exp_remainder)))(jnp.float32(d))
  np.testing.assert_allclose(value, exact, rtol=2e-6)
  np.testing.assert_allclose(slope, np.expm1(d), rtol=2e-6)


@pytest.mark.parametrize("rate", [3e3, 1e6])
def test_poisson_keeps_its_digits_for_large_counts(rate):
  x = np.rint(rate + np.array([-2, 0, 3]) * np.sqrt(rate))
  log_prob = jax.jit(partial(poisson.log_prob, event_ndim=0))
  log_p = log_prob(x.astype(np.int32), np.float32(np.log(rate)))
  exact = stats.poisson.logpmf(x, np.exp(float(np.float32(np.log(rate)))))
  # The rounding of log_rate itself is exact here; that of log x moves (x - rate) by some 1e-7 x.
  np.testing.assert_allclose(log_p, exact, atol=3e-7 * rate**0.5 * 10 + 1e-5)


def test_negative_binomial_keeps_its_digits_for_large_counts_and_is_poisson_in_the_limit():
  x = np.array([90_000, 100_000, 101_000])
  log_rate, log_r = np.float32(np.log(1e5)), np.float32(np.log(2e4))
  rate, r = np.exp(float(log_rate)), np.exp(float(log_r))
  exact = stats.nbinom.logpmf(x, r, r / (r + rate))
  log_prob = jax.jit(partial(negative_binomial.log_prob, event_ndim=0))
  got = log_prob(np.tile(x, 3), log_rate, log_r)[:3]
  np.testing.assert_allclose(got, exact, atol=2e-3)
  few = np.arange(9)
  limit = log_prob(few, np.float32(1), np.float32(40))
  np.testing.assert_allclose(limit, stats.poisson.logpmf(few, np.e), rtol=2e-6)


def test_student_t_is_gaussian_in_the_limit():
  x = np.linspace(-5, 5, 7)
  log_prob = jax.jit(partial(student_t.log_prob, event_ndim=0))
  got = log_prob(x, np.float32(0), np.float32(0), np.float32(30))
  np.testing.assert_allclose(got, stats.norm.logpdf(x), rtol=1e-6)
  entropy = jax.jit(student_t.entropy)(np.zeros(1), np.zeros(1), np.full(1, 30.0))
  np.testing.assert_allclose(entropy, stats.norm.entropy(), rtol=1e-6)


def test_gamma_variables_of_any_size_and_their_gradient():
  """E[G] = a, so d E[G / a] / d a = 0 in the mean; and the law is scipy's, on both sides of the switch."""
  count, sizes = 1500, np.array([0.5, 9e3, 1.1e4, 2e17])
  a = jnp.repeat(jnp.float32(sizes), count)
  draw = jax.jit(
    lambda a: jax.jvp(lambda a: draw_log_gamma(jax.random.key(0), a, a.shape), (a,), (a,))
  )
  log_g, slope = (np.asarray(leaf, float).reshape(4, count) for leaf in draw(a))
  assert np.isfinite(log_g).all() and np.isfinite(slope).all()
  assert stats.kstest(np.exp(log_g[0]), stats.gamma(0.5).cdf).pvalue > 1e-3
  for i in (1, 2):
    centred = (log_g[i] - np.log(sizes[i])) * sizes[
      i
    ] ** 0.5  # rounding of the logarithm: 1e-4 here
    assert stats.kstest(centred, "norm", (-0.5 / sizes[i] ** 0.5, 1)).pvalue > 1e-3
  # d E[log G] / d log a = a trigamma(a).
  for i in (0, 1, 2):
    error = slope[i].mean() - sizes[i] * special.polygamma(1, sizes[i])
    assert abs(error) < 5 * slope[i].std() / count**0.5 + 1e-4
