"""The decomposed divergence against dense sums and against a data set enumerated in full."""

from functools import partial
from itertools import combinations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import check_kernel
from scipy import special, stats

from latentjax.densities import gaussian
from latentjax.losses.elbo import TotalCorrelationTerms, tcvae_kl, total_correlation_terms

B, D, N = 8, 3, 20
RNG = np.random.default_rng(0)
MEAN, LOG_SCALE = RNG.standard_normal((B, D)), 0.3 * RNG.standard_normal((B, D)) - 0.5
Z = MEAN + np.exp(LOG_SCALE) * RNG.standard_normal((B, D))
ARGS = (Z, MEAN, LOG_SCALE)


def dense(z, mean, log_scale, weights):
  """All (B, B, D) log densities, and mixtures with the given weights (B, B)."""
  log_prob = stats.norm.logpdf(z[:, None], mean, np.exp(log_scale))
  joint = special.logsumexp(log_prob.sum(-1), axis=1, b=weights)
  marginals = special.logsumexp(log_prob, axis=1, b=weights[..., None]).sum(-1)
  conditional = stats.norm.logpdf(z, mean, np.exp(log_scale)).sum(-1)
  prior = stats.norm.logpdf(z).sum(-1)
  return TotalCorrelationTerms(conditional - joint, joint - marginals, marginals - prior)


def oracle(z, mean, log_scale, dataset_size, estimator="weighted", **_):
  size = len(z)
  weights = np.full((size, size), 1 / (dataset_size * size))
  if estimator == "stratified":
    weights[:] = (1 - 1 / dataset_size) / (size - 1)
    np.fill_diagonal(weights, 1 / dataset_size)
  return dense(z, mean, log_scale, weights)


def test_total_correlation_terms():
  integers, narrow = MEAN.astype(int), np.ones((B, 1))
  settings = {"dataset_size": N}
  check_kernel(
    total_correlation_terms,
    ARGS,
    kwargs={"dataset_size": N, "estimator": "stratified"},
    oracle=oracle,
    batch_coupled=True,
    extreme=[
      (MEAN, MEAN, 0 * MEAN + 40),
      (MEAN, MEAN, 0 * MEAN - 40),
      (1e3 * Z, -1e3 * MEAN, LOG_SCALE),
      (0 * Z, 0 * MEAN, 0 * LOG_SCALE),
    ],
    bad_inputs=[
      ((Z, integers, LOG_SCALE), {}, TypeError, "mean must be a floating point"),
      ((Z, MEAN, narrow), {}, ValueError, "z and mean and log_scale must have the same shape"),
      ((Z[0], MEAN[0], MEAN[0]), {}, ValueError, "z must have 2 axes"),
      (ARGS, {"dataset_size": 7}, ValueError, "dataset_size must be at least .* 8, got 7"),
      (ARGS, {"dataset_size": 8.0}, TypeError, "dataset_size must be a positive integer"),
      (ARGS, {"estimator": "exact"}, ValueError, "estimator must be one of 'weighted'"),
      (ARGS, {"block_size": 0}, ValueError, "block_size must be a positive integer"),
      ([a[:1] for a in ARGS], settings, ValueError, "'stratified' must have a batch of at least 2"),
    ],
  )


@pytest.mark.parametrize("estimator", ["weighted", "stratified"])
@pytest.mark.parametrize("block_size", [None, 3])
def test_dense_sums_and_addition_to_the_sampled_divergence(estimator, block_size):
  settings = {"dataset_size": N, "estimator": estimator}
  with jax.enable_x64(True):
    terms = jax.jit(partial(total_correlation_terms, block_size=block_size, **settings))(*ARGS)
    sampled = gaussian.log_prob(*ARGS) - gaussian.standard_log_prob(Z)
    np.testing.assert_allclose(sum(terms), sampled, rtol=1e-12)
  for term, expected in zip(terms, oracle(*ARGS, **settings)):
    np.testing.assert_allclose(term, expected, rtol=1e-10)


def test_gradient_in_blocks_is_the_gradient_without():
  def gradients(block_size):
    def loss(*args):
      terms = total_correlation_terms(*args, dataset_size=N, block_size=block_size)
      return tcvae_kl(terms, alpha=0.5, gamma=2.0).sum()

    with jax.enable_x64(True):
      return jax.jit(jax.grad(loss, argnums=(0, 1, 2)))(*ARGS)

  for blocked, plain in zip(gradients(3), gradients(None)):
    np.testing.assert_allclose(blocked, plain, rtol=1e-9, atol=1e-12)


def test_full_batch_gives_the_exact_aggregate_posterior():
  exact = dense(*ARGS, np.full((B, B), 1 / B))
  terms = total_correlation_terms(*ARGS, dataset_size=B, estimator="stratified")
  for term, expected in zip(terms, exact):
    np.testing.assert_allclose(term, expected, rtol=1e-4, atol=1e-5)
  # The weighted estimate is log N too low in log q(z) and in each of the D marginals.
  weighted = total_correlation_terms(*ARGS, dataset_size=B)
  shifts = np.log(B) * np.array([1, D - 1, -D])
  for term, expected, shift in zip(weighted, exact, shifts):
    np.testing.assert_allclose(term, expected + shift, rtol=1e-4, atol=1e-5)


def test_stratified_aggregate_is_unbiased_over_all_batches_and_improves_with_their_size():
  exact = np.exp(stats.norm.logpdf(Z[0], MEAN, np.exp(LOG_SCALE)).sum(-1)).mean()
  log_conditional = stats.norm.logpdf(Z[0], MEAN[0], np.exp(LOG_SCALE[0])).sum()

  @jax.jit
  @jax.vmap
  def aggregate(z, mean, log_scale):
    terms = total_correlation_terms(z, mean, log_scale, dataset_size=B, estimator="stratified")
    return log_conditional - terms.mutual_information[0]

  errors = []
  for size in (2, 5, 8):
    batches = np.array([(0, *rest) for rest in combinations(range(1, B), size - 1)])
    log_q = np.asarray(aggregate(*(array[batches] for array in ARGS)), np.float64)
    np.testing.assert_allclose(np.exp(log_q).mean(), exact, rtol=1e-5)
    errors.append(np.mean(np.abs(log_q - np.log(exact))))
  assert (np.diff(errors) < 0).all() and errors[-1] < 1e-5


def test_correlated_aggregate_has_the_total_correlation_of_a_gaussian():
  """Means with correlation r and narrow posteriors: TC of the aggregate is -log(1 - r^2) / 2."""
  correlation, spread = 0.8, 0.1
  covariance = np.array([[1, correlation], [correlation, 1]]) - spread**2 * np.eye(2)
  mean = RNG.multivariate_normal(np.zeros(2), covariance, size=2000)
  z = mean + spread * RNG.standard_normal(mean.shape)
  run = jax.jit(partial(total_correlation_terms, dataset_size=2000, estimator="stratified"))
  terms = run(z, mean, np.full_like(mean, np.log(spread)))
  expected = -0.5 * np.log(1 - correlation**2)
  np.testing.assert_allclose(np.mean(terms.total_correlation), expected, atol=0.06)
  np.testing.assert_allclose(np.mean(terms.dimension_wise_kl), 0, atol=0.06)


def temporary_bytes(batch_size, dim, block_size):
  def loss(*args):
    terms = total_correlation_terms(*args, dataset_size=10**5, block_size=block_size)
    return jnp.mean(tcvae_kl(terms))

  shapes = [jax.ShapeDtypeStruct((batch_size, dim), jnp.float32)] * 3
  run = jax.jit(jax.grad(loss, argnums=(0, 1, 2)))
  return run.lower(*shapes).compile().memory_analysis().temp_size_in_bytes


def test_memory_of_the_gradient():
  slab = 4 * 512**2
  assert temporary_bytes(512, 64, None) < 8 * slab  # not 64 slabs
  assert temporary_bytes(512, 64, 32) < 2 * slab
  assert temporary_bytes(8192, 64, 512) < 600 * 2**20


def test_tcvae_kl():
  check_kernel(
    lambda *terms, **weights: tcvae_kl(TotalCorrelationTerms(*terms), **weights),
    ARGS,
    kwargs={"alpha": 0.5, "beta": 6.0, "gamma": 2.0},
    oracle=lambda *terms, **w: np.tensordot(list(w.values()), np.stack(terms), 1),
    bad_inputs=[
      ((Z, MEAN, Z[0]), {}, ValueError, "must have the same shape"),
      (ARGS, {"beta": np.inf}, ValueError, "beta must be in"),
    ],
  )
