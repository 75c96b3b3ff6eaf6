"""Importance-weighted bounds on a linear-Gaussian model, where log p(x) is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import check_kernel
from scipy import special, stats

from latentjax.densities import gaussian
from latentjax.losses.elbo import elbo
from latentjax.losses.importance import iwae_bound, log_marginal_bound

K, B, D = 5, 8, 3
RNG = np.random.default_rng(0)
LOG_W = 3 * RNG.standard_normal((K, B))

# p(z) = N(0, 1), p(x|z) = N(z, 1): log p(x) = log N(x; 0, 2). q is too narrow and off the mark.
X = RNG.standard_normal((B, 1)).astype(np.float32)
LOG_EVIDENCE = stats.norm.logpdf(X[:, 0], 0, np.sqrt(2))
Q_MEAN, Q_LOG_SCALE = 0.5 * X + 0.3, np.full((B, 1), np.log(0.6), np.float32)


def log_weights(key, num_samples):
  z = gaussian.sample(key, Q_MEAN, Q_LOG_SCALE, num_samples=num_samples)
  log_joint = gaussian.log_prob(X, z, 0.0) + gaussian.standard_log_prob(z)
  return log_joint - gaussian.log_prob(z, Q_MEAN, Q_LOG_SCALE)


def test_iwae_bound():
  check_kernel(
    iwae_bound,
    (LOG_W,),
    oracle=lambda log_w: np.log(np.exp(log_w).mean(0)),
    batch_axes=1,
    extreme=[(1e4 * LOG_W,), (1e30 * LOG_W,), (0 * LOG_W,)],
    bad_inputs=[
      ((LOG_W.astype(int),), {}, TypeError, "log_w must be a floating point"),
      ((LOG_W[0],), {}, ValueError, "log_w must have 2 axes, got shape \\(8,\\)"),
      ((LOG_W[:0],), {}, ValueError, "log_w must not be empty"),
    ],
  )


def test_gradient_is_the_normalised_weights():
  grad = jax.grad(lambda log_w: iwae_bound(log_w).sum())(jnp.asarray(LOG_W))
  np.testing.assert_allclose(grad, special.softmax(LOG_W, axis=0), rtol=1e-5)


def test_one_sample_gives_the_elbo(key):
  z = gaussian.sample(key, Q_MEAN, Q_LOG_SCALE)
  sampled_kl = gaussian.log_prob(z, Q_MEAN, Q_LOG_SCALE) - gaussian.standard_log_prob(z)
  expected = elbo(gaussian.log_prob(X, z, 0.0), sampled_kl)
  np.testing.assert_allclose(iwae_bound(log_weights(key, 1)), expected, rtol=1e-5)


def test_expected_bound_rises_with_the_number_of_samples_to_the_evidence(key):
  log_w = log_weights(key, 64 * 500).reshape(500, 64, B)
  means = [np.asarray(jax.vmap(iwae_bound)(log_w[:, :k])).mean(0) for k in (1, 4, 16, 64)]
  exact_elbo = LOG_EVIDENCE - np.asarray(gaussian.kl(Q_MEAN, Q_LOG_SCALE, X / 2, np.log(0.5) / 2))
  np.testing.assert_allclose(means[0], exact_elbo, atol=0.3)
  assert (np.diff(means, axis=0) > 0).all()
  assert (means[-1] < LOG_EVIDENCE + 0.01).all() and (means[-1] > LOG_EVIDENCE - 0.1).all()


@pytest.mark.parametrize(("num_samples", "block_size"), [(12, 4), (13, 5), (3, 100), (1, 1)])
def test_blocks_give_the_bound_of_all_their_samples(key, num_samples, block_size):
  blocks = []

  def log_w_fn(block_key, size):
    log_w = 3 * jax.random.normal(block_key, (size, B))
    jax.debug.callback(lambda value: blocks.append(value), log_w)
    return log_w

  bound = log_marginal_bound(key, log_w_fn, num_samples=num_samples, block_size=block_size)
  jax.effects_barrier()
  log_w = np.concatenate(blocks).astype(np.float64)
  assert log_w.shape == (num_samples, B) and len(np.unique(log_w)) == log_w.size
  np.testing.assert_allclose(
    bound, special.logsumexp(log_w, axis=0) - np.log(num_samples), rtol=1e-5, atol=1e-6
  )


def test_thousands_of_samples_reach_the_evidence(key):
  estimate = jax.jit(
    lambda key: log_marginal_bound(key, log_weights, num_samples=20_000, block_size=1000)
  )
  np.testing.assert_allclose(estimate(key), LOG_EVIDENCE, atol=0.1)


def test_memory_is_that_of_one_block(key):
  def log_w_fn(block_key, size):
    return jax.random.normal(block_key, (size, 64, 32)).sum(-1)

  def temporary_bytes(num_samples):
    run = jax.jit(
      lambda key: log_marginal_bound(key, log_w_fn, num_samples=num_samples, block_size=50)
    )
    return run.lower(key).compile().memory_analysis().temp_size_in_bytes

  assert temporary_bytes(5000) < 1.2 * temporary_bytes(100)


def test_bad_blocks(key):
  with pytest.raises(ValueError, match="num_samples must be a positive integer, got 0"):
    log_marginal_bound(key, log_weights, num_samples=0)
  with pytest.raises(TypeError, match="block_size must be a positive integer"):
    log_marginal_bound(key, log_weights, block_size=1.5)
  with pytest.raises(ValueError, match=r"log_w must have shape \(10, B\), got \(8, 10\)"):
    log_marginal_bound(key, lambda key, size: jnp.zeros((8, size)), num_samples=10)
  with pytest.raises(TypeError, match="log_w must be a floating point"):
    log_marginal_bound(key, lambda key, size: jnp.zeros((size, B), int), num_samples=10)
