"""AutoGen on a linear-Gaussian model, where data and reconstructions are jointly Gaussian."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from latentjax.densities import gaussian
from latentjax.objectives import autogen, vae

D, NOISE = 4, 0.8
RNG = np.random.default_rng(0)
W = RNG.standard_normal((D, 1)).astype(np.float32)
X = RNG.standard_normal((6, D)).astype(np.float32)


def decode_fn(params, z):
  return z @ params.T, jnp.float32(np.log(NOISE))


@pytest.mark.parametrize("m", [0, 1, 3])
def test_tight_bound_on_the_likelihood_of_data_and_m_reconstructions(key, m):
  """With q(z|x) proportional to p(z) p(x|z)^(1 + m), the posterior given all 1 + m copies."""
  precision = 1 + (1 + m) * (W**2).sum() / NOISE**2

  def encode_fn(params, x):
    mean = (1 + m) * x @ params / NOISE**2 / precision
    return mean, jnp.full_like(mean, -0.5 * np.log(precision))

  shifted = lambda p, x: (encode_fn(p, x)[0] + 0.3, encode_fn(p, x)[1] + 0.2)
  common = {"latent_dim": 1, "likelihood": gaussian, "num_samples": 20_000}
  models = [autogen(fn, decode_fn, num_reconstructions=m, **common) for fn in (encode_fn, shifted)]
  loss, worse = jax.jit(
    lambda p: [model.objective(p, (), key, {"image": X})[0] for model in models]
  )(W)
  copies = np.tile(W, (1 + m, 1)).astype(float)
  covariance = copies @ copies.T + NOISE**2 * np.eye(len(copies))
  joint = stats.multivariate_normal(np.zeros(len(copies)), covariance).logpdf(np.tile(X, 1 + m))
  np.testing.assert_allclose(-loss, joint.mean(), atol=0.02 * (1 + m))
  assert worse > loss + 0.05


def test_it_is_a_scaled_beta_vae_and_without_reconstructions_the_vae(key):
  encode_fn = lambda p, x: (x @ p, 0.1 * x @ p)
  networks = (encode_fn, decode_fn)
  common = {"latent_dim": 1, "likelihood": gaussian, "num_samples": 3}
  models = [
    vae(*networks, **common),
    autogen(*networks, num_reconstructions=0, **common),
    vae(*networks, beta=0.25, **common),
    autogen(*networks, num_reconstructions=3.0, **common),
  ]
  run = jax.jit(lambda p: [model.objective(p, (), key, {"image": X}) for model in models])
  plain, none, (weighted, _), (three, _) = run(W)
  jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-6), none, plain)
  np.testing.assert_allclose(three, 4 * weighted, rtol=1e-5)
  with pytest.raises(ValueError, match="num_reconstructions must be in"):
    autogen(*networks, num_reconstructions=-1, **common)
