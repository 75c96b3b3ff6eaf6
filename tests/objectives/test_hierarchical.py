"""Two Gaussian layers whose joint is linear, so that evidence and posterior are known."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from latentjax.densities import gaussian
from latentjax.losses.importance import iwae_bound
from latentjax.objectives import hierarchical_iwae, iwae

B, D, K = 8, 4, 6
RNG = np.random.default_rng(0)
# z2 ~ N(0, 1), z1 | z2 ~ N(A z2, S1^2 I), x | z1 ~ N(W z1, S0^2 I), of dimensions 1, 1 and 4.
W, A, S0, S1 = RNG.standard_normal((D, 1)).astype(np.float32), 0.8, 0.7, 0.6
X = RNG.standard_normal((B, D)).astype(np.float32)
BATCH = {"image": X}


def exact():
  """Coefficients of q(z1|x), q(z2|z1) that are the posteriors, and log p(x)."""
  variance = A**2 + S1**2  # of z1
  precision = 1 / variance + (W**2).sum() / S0**2
  top = 1 + A**2 / S1**2
  params = {
    "q1": (W / S0**2 / precision, -0.5 * np.log(precision)),
    "q2": (A / S1**2 / top, -0.5 * np.log(top)),
    "p1": (np.float32(A), np.log(S1)),
    "p0": (W, np.log(S0)),
  }
  covariance = variance * W @ W.T + S0**2 * np.eye(D)
  log_evidence = stats.multivariate_normal(np.zeros(D), covariance).logpdf(X)
  return jax.tree.map(jnp.float32, params), log_evidence


def linear(name, params, x):
  w, log_scale = params[name]
  mean = x @ w if w.ndim else x * w
  return mean, jnp.broadcast_to(log_scale, mean.shape)


ENCODERS = (partial(linear, "q1"), partial(linear, "q2"))
DECODERS = (lambda params, z: (z @ params["p0"][0].T, params["p0"][1]), partial(linear, "p1"))
two_layers = partial(
  hierarchical_iwae, ENCODERS, DECODERS, latent_dim=1, likelihood=gaussian, num_samples=K
)


def test_exact_posterior_gives_the_evidence(key):
  params, log_evidence = exact()
  model = two_layers()

  @jax.jit
  def run(params):
    loss, (state, metrics) = model.objective(params, jnp.ones(()), key, BATCH)
    log_w = model.log_weights(params, key, X, num_samples=3)
    return loss, state, metrics, model.bound(params, key, X), log_w

  loss, state, metrics, terms, log_w = run(params)
  np.testing.assert_allclose(loss, -log_evidence.mean(), rtol=1e-5)
  np.testing.assert_allclose(metrics["effective_sample_size"], K, rtol=1e-4)
  np.testing.assert_allclose(metrics["elbo"], metrics["bound"], rtol=1e-5)
  assert state == 1
  np.testing.assert_allclose(terms.elbo, log_evidence, rtol=1e-4)
  np.testing.assert_allclose(terms.log_likelihood - terms.kl, terms.elbo, rtol=1e-4)
  np.testing.assert_allclose(log_w, np.broadcast_to(log_evidence, (3, B)), rtol=1e-4)


def test_off_the_posterior_the_bound_rises_to_the_evidence(key):
  params, log_evidence = exact()
  params = params | {"q1": (0.7 * params["q1"][0], params["q1"][1] + 0.3)}
  losses = []
  log_w = jax.jit(lambda key: two_layers().log_weights(params, key, X, num_samples=1000))(key)
  for num_samples in (1, 10, 1000):
    groups = jnp.swapaxes(log_w.reshape(-1, num_samples, B), 0, 1)
    losses.append(-jnp.mean(iwae_bound(groups.reshape(num_samples, -1))))
  assert losses[0] > losses[1] + 0.05 > losses[2]
  np.testing.assert_allclose(losses[2], -log_evidence.mean(), atol=0.02)


def test_blocks_do_not_matter_and_every_parameter_learns(key):
  params, _ = exact()
  params = jax.tree.map(lambda leaf: 0.9 * leaf, params)

  def run(block_size):
    model = two_layers(block_size=block_size)
    return jax.jit(jax.value_and_grad(lambda p: model.objective(p, (), key, BATCH)[0]))(params)

  expected, got = run(None), run(4)
  jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5), got, expected)
  assert all(np.any(leaf) for leaf in jax.tree.leaves(expected[1]))


def test_one_layer_is_iwae(key):
  params, _ = exact()  # off the posterior of one layer: z1 ~ N(0, 1) there
  chain = hierarchical_iwae(
    ENCODERS[:1], DECODERS[:1], latent_dim=1, likelihood=gaussian, num_samples=300
  )
  plain = iwae(ENCODERS[0], DECODERS[0], latent_dim=1, likelihood=gaussian, num_samples=300)
  losses = [jax.jit(m.objective)(params, (), key, BATCH)[0] for m in (chain, plain)]
  np.testing.assert_allclose(*losses, atol=0.05)  # other noise


def test_samples_have_the_models_covariance(key):
  params, _ = exact()
  sample = jax.jit(lambda params: two_layers().sample(params, key, 20_000))
  samples = np.asarray(sample(params))
  assert samples.shape == (20_000, D)
  expected = (A**2 + S1**2) * W @ W.T  # of the means of p(x|z1)
  np.testing.assert_allclose(np.cov(samples.T), expected, atol=0.05)


def test_bad_arguments():
  with pytest.raises(ValueError, match="one function for each layer, got 2 and 1"):
    hierarchical_iwae(ENCODERS, DECODERS[:1], latent_dim=1)
  with pytest.raises(ValueError, match="num_samples must be a positive integer"):
    two_layers(num_samples=0)
