"""The conditional VAE on linear-Gaussian models, where p(x|y) is known."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P
from scipy import stats

from latentjax.densities import gaussian
from latentjax.objectives import conditional_vae, vae

B, D, Z, Y, K = 8, 5, 1, 3, 4
RNG = np.random.default_rng(0)
X, ATTRIBUTES = (RNG.standard_normal((B, n)).astype(np.float32) for n in (D, Y))
BATCH = {"image": X, "label": ATTRIBUTES}
LOG_NOISE, LOG_PRIOR = -0.4, 0.3
W, V, PRIOR = (RNG.standard_normal(shape).astype(np.float32) for shape in ((D, Z), (D, Y), (Z, Y)))
PARAMS = {
  "encoder": {"x": W, "y": -0.2 * PRIOR, "log_scale": np.full(Z, -0.7, np.float32)},
  "decoder": {"w": W, "v": V, "log_scale": np.float32(LOG_NOISE)},
  "prior": {"w": PRIOR, "log_scale": np.float32(LOG_PRIOR)},
}


def encode_fn(params, x, y):
  mean = x @ params["encoder"]["x"] + y @ params["encoder"]["y"].T
  return mean, jnp.broadcast_to(params["encoder"]["log_scale"], mean.shape)


def decode_fn(params, z, y):
  mean = z @ params["decoder"]["w"].T + y @ params["decoder"]["v"].T
  return mean, params["decoder"]["log_scale"]


def prior_fn(params, y):
  mean = y @ params["prior"]["w"].T
  return mean, jnp.broadcast_to(params["prior"]["log_scale"], mean.shape)


linear = partial(conditional_vae, encode_fn, decode_fn, latent_dim=Z, likelihood=gaussian)


def exact_encode_fn(params, x, y):
  """Posterior of z in the model of `decode_fn` and `prior_fn`."""
  prior_variance, noise = np.exp(2 * LOG_PRIOR), np.exp(2 * LOG_NOISE)
  precision = 1 / prior_variance + (W**2).sum() / noise
  mean = ((x - y @ V.T) @ W / noise + y @ PRIOR.T / prior_variance) / precision
  return mean, jnp.full_like(mean, -0.5 * np.log(precision))


def log_evidence():
  covariance = np.exp(2 * LOG_PRIOR) * W @ W.T + np.exp(2 * LOG_NOISE) * np.eye(D)
  residual = X - ATTRIBUTES @ V.T - ATTRIBUTES @ PRIOR.T @ W.T
  return stats.multivariate_normal(np.zeros(D), covariance).logpdf(residual)


def test_exact_posterior_gives_the_conditional_evidence(key):
  """Every importance weight is p(x|y), in the right row for every sample; the bound's mean too."""
  model = conditional_vae(
    exact_encode_fn,
    decode_fn,
    latent_dim=Z,
    likelihood=gaussian,
    prior_fn=prior_fn,
    num_samples=2000,
  )
  log_w = model.log_weights(PARAMS, key, X, ATTRIBUTES, num_samples=K)
  np.testing.assert_allclose(log_w, np.tile(log_evidence(), (K, 1)), rtol=1e-4)
  terms = model.bound(PARAMS, key, X, ATTRIBUTES)
  np.testing.assert_allclose(terms.elbo, log_evidence(), atol=0.1)
  np.testing.assert_allclose(terms.elbo, terms.log_likelihood - terms.kl, rtol=1e-5)


def test_without_attributes_it_is_the_vae(key):
  model = conditional_vae(
    lambda p, x, y: encode_fn(p, x, 0 * y), lambda p, z, y: decode_fn(p, z, 0 * y),
    latent_dim=Z, likelihood=gaussian, beta=0.3, num_samples=K,
  )  # fmt: skip
  none = np.zeros((1, Y), np.float32)
  plain = vae(
    lambda p, x: encode_fn(p, x, none), lambda p, z: decode_fn(p, z, none),
    latent_dim=Z, likelihood=gaussian, beta=0.3, num_samples=K,
  )  # fmt: skip
  got, expected = (m.objective(PARAMS, (), key, BATCH) for m in (model, plain))
  jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5), got, expected)


def test_an_annealed_weight_follows_the_steps_that_model_state_counts(key):
  annealed, half = linear(beta=lambda step: 0.5 * step), linear(beta=0.5)
  loss, (state, _) = annealed.objective(PARAMS, annealed.init_state + 1, key, BATCH)
  assert (loss, state) == (half.objective(PARAMS, (), key, BATCH)[0], 2) and half.init_state == ()


def test_gradient_reaches_all_three_networks_and_equals_finite_differences():
  with jax.enable_x64(True):
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), PARAMS)
    batch = {name: array.astype(np.float64) for name, array in BATCH.items()}
    objective = linear(prior_fn=prior_fn, beta=0.7, num_samples=2).objective
    loss = jax.jit(lambda params: objective(params, (), jax.random.key(0), batch)[0])
    grads = jax.grad(loss)(params)
    direction = jax.tree.map(lambda leaf: jnp.asarray(RNG.standard_normal(leaf.shape)), params)
    ends = [
      loss(jax.tree.map(lambda p, d, h=h: p + h * d, params, direction)) for h in (1e-5, -1e-5)
    ]
    slope = sum(jax.tree.leaves(jax.tree.map(lambda g, d: (g * d).sum(), grads, direction)))
    np.testing.assert_allclose((ends[0] - ends[1]) / 2e-5, slope, rtol=1e-6)
  assert all(np.any(leaf) for leaf in jax.tree.leaves(grads))


def test_samples_have_the_law_of_the_requested_attributes(key):
  model = linear(prior_fn=prior_fn)
  y = np.repeat(ATTRIBUTES[:2], 20_000, axis=0)
  means = model.sample(PARAMS, key, y).reshape(2, -1, D)
  expected = ATTRIBUTES[:2] @ (V + W @ PRIOR).T
  np.testing.assert_allclose(means.mean(1), expected, atol=0.06)
  np.testing.assert_allclose(
    means.std(1), np.tile(np.exp(LOG_PRIOR) * np.abs(W[:, 0]), (2, 1)), rtol=0.03
  )


def test_swap_keeps_z_and_changes_what_depends_on_the_attributes():
  other = ATTRIBUTES[::-1]
  model = linear()
  difference = model.swap(PARAMS, X, ATTRIBUTES, other) - model.swap(
    PARAMS, X, ATTRIBUTES, ATTRIBUTES
  )
  np.testing.assert_allclose(difference, (other - ATTRIBUTES) @ V.T, atol=1e-5)


def test_shard_map_gives_the_loss_of_one_device(key):
  model = linear(prior_fn=prior_fn, num_samples=K, axis_name="devices")
  mapped = jax.shard_map(
    lambda batch: model.objective(PARAMS, (), key, batch)[0][None],
    mesh=Mesh(np.array(jax.devices()[:4]), ("devices",)),
    in_specs=P("devices"),
    out_specs=P("devices"),
  )
  alone = linear(prior_fn=prior_fn, num_samples=K).objective(PARAMS, (), key, BATCH)[0]
  np.testing.assert_allclose(jax.jit(mapped)(BATCH).mean(), alone, rtol=1e-5)


def test_bad_arguments(key):
  for kwargs, error, match in [
    ({"beta": -1}, ValueError, "beta must be in"),
    ({"num_samples": 0}, ValueError, "num_samples must be a positive integer"),
    ({"latent_dim": 2.5}, TypeError, "latent_dim must be a positive integer"),
  ]:
    with pytest.raises(error, match=match):
      linear(**kwargs)
  with pytest.raises(KeyError, match="feature must be one of 'image', got 'label'"):
    linear().objective(PARAMS, (), key, {"image": X})
