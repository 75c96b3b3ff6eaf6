"""Variational importance sampling where the posterior is known, and who gets which gradient."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from latentjax.densities import gaussian
from latentjax.objectives import iwae, vis

B, D, K = 8, 4, 6
RNG = np.random.default_rng(0)
W = RNG.standard_normal((D, 1)).astype(np.float32)
X = RNG.standard_normal((B, D)).astype(np.float32)
NOISE = np.float32(-0.4)
BATCH = {"image": X}
PRECISION = 1 + (W**2).sum() / np.exp(2 * NOISE)
EXACT = {
  "encoder": {"w": W / np.exp(2 * NOISE) / PRECISION, "log_scale": -0.5 * np.log(PRECISION)},
  "decoder": {"w": W, "log_scale": NOISE},
}
OFF = EXACT | {"encoder": {"w": 0.5 * W, "log_scale": np.float32(-0.3)}}


def encode_fn(params, x):
  mean = x @ params["encoder"]["w"]
  return mean, jnp.broadcast_to(params["encoder"]["log_scale"], mean.shape)


def decode_fn(params, z):
  return z @ params["decoder"]["w"].T, params["decoder"]["log_scale"]


linear = partial(vis, encode_fn, decode_fn, latent_dim=1, likelihood=gaussian, num_samples=K)


def value_and_grads(model, params, key):
  objective = lambda p: model.objective(p, (), key, BATCH)
  return jax.jit(jax.value_and_grad(objective, has_aux=True))(params)


def test_exact_posterior_has_no_divergence_and_gives_the_evidence(key):
  covariance = W @ W.T + np.exp(2 * NOISE) * np.eye(D)
  log_evidence = stats.multivariate_normal(np.zeros(D), covariance).logpdf(X)
  (_, (_, metrics)), _ = value_and_grads(linear(), EXACT, key)
  np.testing.assert_allclose(metrics["bound"], log_evidence.mean(), rtol=1e-5)
  np.testing.assert_allclose(metrics["elbo"], log_evidence.mean(), rtol=1e-5)
  np.testing.assert_allclose(metrics["chi2"], 0, atol=1e-5)
  np.testing.assert_allclose(metrics["effective_sample_size"], K, rtol=1e-4)


def test_gradients(key):
  """The model's are those of IWAE at the same noise, q's are -sum_k v_k grad log q, v ~ w^2."""
  (loss, (_, metrics)), grads = value_and_grads(linear(), OFF, key)
  plain = iwae(encode_fn, decode_fn, latent_dim=1, likelihood=gaussian, num_samples=K)
  (_, (_, same)), expected = value_and_grads(plain, OFF, key)
  jax.tree.map(
    partial(np.testing.assert_allclose, rtol=1e-4), grads["decoder"], expected["decoder"]
  )
  np.testing.assert_allclose(metrics["bound"], same["bound"], rtol=1e-5)

  mean, log_scale = encode_fn(OFF, X)
  z = np.stack([gaussian.sample(jax.random.fold_in(key, k), mean, log_scale) for k in range(K)])
  log_p = stats.norm.logpdf(X, z @ W.T, np.exp(NOISE)).sum(-1) + stats.norm.logpdf(z[..., 0])
  log_w = log_p - stats.norm.logpdf(z[..., 0], mean[:, 0], np.exp(log_scale[:, 0]))
  squares = special.softmax(2 * log_w, axis=0)
  standard = (z[..., 0] - mean[:, 0]) / np.exp(log_scale[:, 0])
  score_mean = squares * standard / np.exp(log_scale[:, 0])
  score_log_scale = squares * (standard**2 - 1)
  np.testing.assert_allclose(
    grads["encoder"]["w"][:, 0], -X.T @ score_mean.sum(0) / B, rtol=1e-3, atol=1e-5
  )
  np.testing.assert_allclose(
    grads["encoder"]["log_scale"], -score_log_scale.sum(0).mean(), rtol=1e-3
  )
  value = np.log(np.exp(2 * log_w).mean(0)) - np.log(np.exp(log_w).mean(0))
  np.testing.assert_allclose(loss, value.mean(), rtol=1e-4)


def test_blocks_do_not_matter(key):
  got, expected = (value_and_grads(linear(block_size=b), OFF, key) for b in (4, None))
  jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5), got, expected)


def test_bad_arguments():
  for kwargs, match in [({"num_samples": 0}, "num_samples"), ({"block_size": 0}, "block_size")]:
    with pytest.raises(ValueError, match=f"{match} must be a positive integer"):
      linear(**kwargs)
