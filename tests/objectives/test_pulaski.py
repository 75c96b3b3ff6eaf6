"""PULASki: which samples are compared with which masks, and what the objective reduces to."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from latentjax.densities import gaussian
from latentjax.objectives import pulaski
from latentjax.transport import generalized_energy_distance

B, R, K, D, Z = 4, 3, 2, 5, 2
RNG = np.random.default_rng(0)
X = RNG.standard_normal((B, D)).astype(np.float32)
MASKS = (RNG.uniform(size=(B, R, D)) < 0.5).astype(np.float32)
W = RNG.standard_normal((D, Z)).astype(np.float32)
PARAMS = {"prior": 0.2 * W, "posterior": 0.5 * W, "decoder": W, "log_scale": np.float32(-40)}
BATCH = {"image": X, "masks": MASKS}


def prior_fn(params, x):
  return x @ params["prior"], jnp.zeros((len(x), Z))


def posterior_fn(params, x, y):
  mean = (x + y) @ params["posterior"]
  return mean, jnp.full_like(mean, params["log_scale"])


def decode_fn(params, x, z):
  return x + z @ params["decoder"].T


def sets(params):
  """Decoder samples per image as the formulas say, for a posterior without noise."""
  z = (X[:, None] + MASKS) @ params["posterior"]
  return X[:, None] + z @ params["decoder"].T


def model(distance_fn=None, **kwargs):
  return pulaski(prior_fn, posterior_fn, decode_fn, distance_fn=distance_fn, **kwargs)


def test_the_samples_of_one_rater_are_compared_with_the_masks_of_all(key):
  """By a distance that weighs every number of both sets differently."""
  samples, masks = RNG.standard_normal((B * R, K, D)), RNG.standard_normal((B * R, R, D))
  distance_fn = lambda x, y: (x * samples).sum((1, 2)) + (y * masks).sum((1, 2))
  _, (_, metrics) = jax.jit(model(distance_fn, num_samples=K).objective)(PARAMS, (), key, BATCH)
  drawn = np.stack([special.expit(sets(PARAMS))] * K, axis=2).reshape(samples.shape)
  everyone = np.stack([MASKS] * R, axis=1).reshape(masks.shape)
  expected = (drawn * samples).sum() + (everyone * masks).sum()
  np.testing.assert_allclose(metrics["reconstruction"], expected / (B * R), rtol=1e-4)


def test_a_posterior_that_repeats_its_mask_is_as_far_from_the_raters_as_they_are_from_each_other(
  key,
):
  copy = pulaski(
    lambda params, x: (jnp.zeros((len(x), D)), jnp.zeros((len(x), D))),
    lambda params, x, y: (y, jnp.full_like(y, -40.0)),
    lambda params, x, z: 100 * (z - 0.5),
    distance_fn=partial(generalized_energy_distance, distance="euclidean"),
  )
  _, (_, metrics) = jax.jit(copy.objective)({}, (), key, BATCH)
  # 2 E d(y_r, y_s) - 0 - E d(y_s, y_t), the same two means.
  between = np.linalg.norm(MASKS[:, :, None] - MASKS[:, None], axis=-1).mean()
  np.testing.assert_allclose(metrics["reconstruction"], between, rtol=1e-5)


def test_without_a_distance_it_is_the_bound_of_the_probabilistic_unet(key):
  params = PARAMS | {"log_scale": np.float32(-3.0)}
  loss, (_, metrics) = jax.jit(model(beta=0.5, num_samples=4000).objective)(params, (), key, BATCH)
  mean, scale = (X[:, None] + MASKS) @ params["posterior"], np.exp(-3.0)
  prior = (X @ params["prior"])[:, None]
  kl = (np.log(1 / scale) + (scale**2 + (mean - prior) ** 2) / 2 - 0.5).sum(-1).mean()
  draws = mean + scale * RNG.standard_normal((4000, B, R, Z))
  logits = X[:, None] + draws @ params["decoder"].T
  log_prob = stats.bernoulli.logpmf(MASKS, special.expit(logits)).sum(-1).mean()
  np.testing.assert_allclose(metrics["kl"], kl, rtol=1e-4)
  np.testing.assert_allclose(metrics["reconstruction"], -log_prob, rtol=5e-3)
  np.testing.assert_allclose(loss, metrics["reconstruction"] + 0.5 * kl, rtol=1e-4)


def test_gradient_and_samples(key):
  objective = model(lambda x, y: jnp.abs(x.mean(1) - y.mean(1)).sum(1), num_samples=K).objective
  params = PARAMS | {"log_scale": np.float32(-1.0)}
  grads = jax.jit(jax.grad(lambda p: objective(p, (), key, BATCH)[0]))(params)
  assert all(np.any(leaf) for leaf in jax.tree.leaves(grads))
  samples = jax.jit(partial(model().sample, num_samples=500))(PARAMS, key, X)
  assert samples.shape == (B, 500, D)
  z = gaussian.sample(jax.random.key(9), *prior_fn(PARAMS, X), num_samples=500)
  expected = special.expit(X + z @ W.T).mean(0)
  np.testing.assert_allclose(samples.mean(1), expected, atol=0.1)


def test_bad_arguments(key):
  with pytest.raises(ValueError, match="beta must be in"):
    model(beta=-1.0)
  with pytest.raises(KeyError, match="feature must be one of 'image', got 'masks'"):
    model().objective(PARAMS, (), key, {"image": X})
