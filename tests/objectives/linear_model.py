"""A linear-Gaussian model in which expectations are known, for the tests of all objectives."""

import jax.numpy as jnp
import numpy as np
from scipy import stats

B, D, Z = 8, 5, 2
RNG = np.random.default_rng(0)
W = RNG.standard_normal((D, Z)).astype(np.float32)
X = RNG.standard_normal((B, D)).astype(np.float32)
LOG_NOISE = -0.5
NOISE = np.exp(2 * LOG_NOISE)
SCALE = np.exp(-0.7)
BATCH = {"image": X}
PARAMS = {
  "encoder": {"w": 0.3 * W, "log_scale": np.full(Z, -0.7, np.float32)},
  "decoder": {"w": W, "log_scale": np.float32(LOG_NOISE)},
  "discriminator": RNG.standard_normal((Z, 2)).astype(np.float32),
  "pseudo_inputs": RNG.standard_normal((3, D)).astype(np.float32),
}


def encode_fn(params, x):
  mean = x.astype(params["encoder"]["w"].dtype) @ params["encoder"]["w"]
  return mean, jnp.broadcast_to(params["encoder"]["log_scale"], mean.shape)


def decode_fn(params, z):
  return z @ params["decoder"]["w"].T, params["decoder"]["log_scale"]


def discriminator_fn(params, z):
  return jnp.tanh(z) @ params["discriminator"]


def exact_terms(scale=SCALE):
  """E_q[log p(x|z)] and KL(q || p), per example in float64, for one standard deviation of q."""
  mean = X.astype(float) @ (0.3 * W)
  spread = scale**2 * (W.astype(float) ** 2).sum() / NOISE
  log_likelihood = stats.norm.logpdf(X, mean @ W.T, np.exp(LOG_NOISE)).sum(1) - 0.5 * spread
  kl = 0.5 * (mean**2 + scale**2 - 1 - 2 * np.log(scale)).sum(1)
  return log_likelihood, kl
