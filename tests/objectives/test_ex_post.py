"""Mixtures fitted to encodings, and the two-stage VAE, on cases with known answers."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from latentjax.densities import gaussian
from latentjax.objectives import (
  FullGaussianMixture,
  ex_post_sampler,
  fit_gaussian_mixture,
  two_stage_vae,
  vae,
)

RNG = np.random.default_rng(0)
SIZES = (300, 100, 200)
CENTERS = np.array([[-9.0, 0.0], [9.0, 3.0], [0.0, 12.0]])
SHEARS = np.array([[[1.0, 0.0], [0.8, 0.5]], [[0.4, 0.0], [0.0, 1.5]], [[1.0, 0.0], [-0.9, 0.3]]])
CLUSTERS = [c + RNG.standard_normal((n, 2)) @ s.T for n, c, s in zip(SIZES, CENTERS, SHEARS)]
Z_ALL = np.concatenate(CLUSTERS).astype(np.float32)


def test_separate_clusters_are_found_with_their_own_moments():
  fit = jax.jit(partial(fit_gaussian_mixture, num_components=3, num_steps=30, ridge=0.0))
  mixture = fit(jax.random.key(0), Z_ALL)
  order = [int(np.argmin(np.linalg.norm(np.asarray(mixture.mean) - c, axis=1))) for c in CENTERS]
  assert sorted(order) == [0, 1, 2]
  for i, cluster in zip(order, CLUSTERS):
    np.testing.assert_allclose(jnp.exp(mixture.logits[i]), len(cluster) / 600, rtol=1e-3)
    np.testing.assert_allclose(mixture.mean[i], cluster.mean(0), atol=2e-3)
    tril = np.asarray(mixture.scale_tril[i])
    np.testing.assert_allclose(tril @ tril.T, np.cov(cluster.T, bias=True), atol=5e-3)
  samples = np.asarray(mixture.sample(jax.random.key(1), 20_000))
  np.testing.assert_allclose(samples.mean(0), Z_ALL.mean(0), atol=0.2)
  np.testing.assert_allclose(np.cov(samples.T), np.cov(Z_ALL.T), rtol=0.05, atol=0.5)


def test_likelihood_is_that_of_scikit_learn():
  from sklearn.mixture import GaussianMixture as Reference

  z = np.concatenate([CLUSTERS[0] / 6, CLUSTERS[1] / 6, CLUSTERS[2] / 6]).astype(np.float32)
  fit = jax.jit(partial(fit_gaussian_mixture, num_components=3, num_steps=100))
  score = fit(jax.random.key(0), z).log_prob(z).mean()
  reference = Reference(3, random_state=0, n_init=5, tol=1e-6, max_iter=500).fit(z)
  np.testing.assert_allclose(score, reference.score(z), atol=0.02)
  tight = FullGaussianMixture(jnp.zeros(1), jnp.zeros((1, 2)), jnp.eye(2)[None])
  np.testing.assert_allclose(tight.log_prob(jnp.zeros((1, 2))), -np.log(2 * np.pi), rtol=1e-6)


B, D, Z, U = 8, 4, 2, 3
PARAMS = {
  name: RNG.standard_normal(shape).astype(np.float32)
  for name, shape in {"w": (D, Z), "v": (D, Z), "a": (Z, U), "b": (Z, U)}.items()
}
FIRST = (
  lambda p, x: (x @ p["w"], 0.1 * x @ p["w"]),
  lambda p, z: (z @ p["v"].T, jnp.zeros(())),
)
SECOND = (lambda p, z: (z @ p["a"], 0.1 * z @ p["a"]), lambda p, u: (u @ p["b"].T, jnp.float32(-1)))
BATCH = {"image": RNG.standard_normal((B, D)).astype(np.float32)}


def test_two_stages_do_not_disturb_each_other():
  """The first trains as the VAE alone; the second sees samples of it and gives it no gradient."""
  key = jax.random.key(0)
  model = two_stage_vae(*FIRST, *SECOND, latent_dim=Z, second_latent_dim=U, likelihood=gaussian)
  alone = vae(*FIRST, latent_dim=Z, likelihood=gaussian)
  run = lambda model: jax.jit(
    jax.value_and_grad(lambda p: model.objective(p, (), key, BATCH), has_aux=True)
  )(PARAMS)
  (loss, (_, metrics)), grads = run(model)
  (loss_alone, _), grads_alone = run(alone)
  for name in ("w", "v"):
    np.testing.assert_allclose(grads[name], grads_alone[name], rtol=1e-5, atol=1e-6)
  assert np.any(grads["a"]) and np.any(grads["b"])
  second = -metrics["second_elbo"]
  np.testing.assert_allclose(loss, loss_alone + second, rtol=1e-5)
  assert 0 < metrics["second_kl"] < np.inf


def test_both_stages_are_sampled():
  """Linear stages: x = V (B u + noise), so the covariance of samples is known."""
  model = two_stage_vae(*FIRST, *SECOND, latent_dim=Z, second_latent_dim=U, likelihood=gaussian)
  x = np.asarray(model.sample(PARAMS, jax.random.key(1), 40_000))
  covariance = PARAMS["b"] @ PARAMS["b"].T + np.exp(-2) * np.eye(Z)
  expected = PARAMS["v"] @ covariance @ PARAMS["v"].T
  np.testing.assert_allclose(np.cov(x.T), expected, atol=0.03 * np.abs(expected).max())


def test_the_model_is_sampled_from_the_fitted_density():
  alone = vae(*FIRST, latent_dim=Z, likelihood=gaussian)
  model = ex_post_sampler(alone, lambda key, n: jnp.tile(jnp.array([1.0, 2.0]), (n, 1)))
  np.testing.assert_allclose(
    model.sample(PARAMS, jax.random.key(0), 3)[1], PARAMS["v"] @ [1.0, 2.0], rtol=1e-5
  )
  assert model.bound is alone.bound and model.objective is alone.objective


def test_bad_arguments():
  fit = partial(fit_gaussian_mixture, jax.random.key(0))
  for z, kwargs, error, match in [
    (Z_ALL[0], {}, ValueError, "z must have 2 axes"),
    (Z_ALL[:5], {}, ValueError, "z must have at least 10 rows, got shape \\(5, 2\\)"),
    (Z_ALL.astype(int), {}, TypeError, "z must be a floating point array"),
    (Z_ALL, {"ridge": -1.0}, ValueError, "ridge must be in"),
    (Z_ALL, {"num_components": 0}, ValueError, "num_components must be a positive"),
  ]:
    with pytest.raises(error, match=match):
      fit(z, **kwargs)
