"""VAEs on manifolds where the exact posterior is a von Mises-Fisher density and the evidence is known."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P
from scipy import stats

from latentjax.densities import brownian, gaussian, manifolds, power_spherical
from latentjax.objectives import hyperspherical_vae, manifold_vae

B, D, K = 8, 3, 3
RNG = np.random.default_rng(0)
X = RNG.standard_normal((B, D)).astype(np.float32)
LOG_NOISE = np.float32(-1.5)
KAPPA = np.linalg.norm(X, axis=1) * np.exp(-2 * LOG_NOISE)
PARAMS = {"w": np.eye(D, dtype=np.float32), "spread": np.float32(0), "noise": LOG_NOISE}


def encode_fn(params, x, sign=1):
  """Of x = z + noise with z on the sphere the posterior has direction x and concentration |x| / s^2."""
  log_kappa = jnp.log(jnp.linalg.norm(x, axis=1)) - 2 * LOG_NOISE + params["spread"]
  return 5 * x @ params["w"], sign * log_kappa


def decode_fn(params, z):
  return z @ params["w"], params["noise"]


def log_evidence():
  centre = stats.norm.logpdf(X, 0, np.exp(LOG_NOISE)).sum(1) - 0.5 * np.exp(-2 * LOG_NOISE)
  return centre + np.log(np.sinh(KAPPA.astype(float)) / KAPPA)


sphere_vae = partial(hyperspherical_vae, encode_fn, decode_fn, latent_dim=D, likelihood=gaussian)
brownian_vae = partial(
  manifold_vae,
  partial(encode_fn, sign=-1),
  decode_fn,
  manifold=manifolds.sphere(dim=D - 1),
  likelihood=gaussian,
)


def test_exact_posterior_has_the_evidence_for_weights(key):
  model = sphere_vae()
  log_w = jax.jit(partial(model.log_weights, num_samples=K))(PARAMS, key, X)
  np.testing.assert_allclose(log_w, np.broadcast_to(log_evidence(), (K, B)), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["von_mises_fisher", "power_spherical", "brownian"])
def test_bound_is_the_evidence_up_to_the_family(name, key):
  """Equal for the posterior's own family, slightly below for the two that resemble it."""
  model = {
    "von_mises_fisher": sphere_vae,
    "power_spherical": partial(sphere_vae, posterior=power_spherical),
    "brownian": partial(brownian_vae, max_time=1e6, num_steps=20),
  }[name](num_samples=3000)
  gap = log_evidence() - jax.jit(model.bound)(PARAMS, key, X).elbo
  if name == "von_mises_fisher":
    np.testing.assert_allclose(gap, 0, atol=0.15)
    assert abs(gap.mean()) < 0.03
  else:
    assert -0.02 < gap.mean() < 0.4


def test_metrics_beta_and_gradient(key):
  for make in (sphere_vae, brownian_vae):
    objective = make(beta=4.0, num_samples=K).objective
    run = jax.jit(jax.value_and_grad(objective, has_aux=True))
    (loss, (state, metrics)), grads = run(PARAMS, {"count": 1.0}, key, {"image": X})
    assert state == {"count": 1.0} and set(metrics) == {"elbo", "log_likelihood", "kl"}
    np.testing.assert_allclose(loss, 4 * metrics["kl"] - metrics["log_likelihood"], rtol=1e-5)
    np.testing.assert_allclose(
      metrics["elbo"], metrics["log_likelihood"] - metrics["kl"], rtol=1e-5
    )
    assert all(np.isfinite(leaf).all() and np.any(leaf) for leaf in jax.tree.leaves(grads))


def test_time_is_bounded(key):
  space = manifolds.rotations()
  model = manifold_vae(
    lambda raw, x: (jnp.tile(x, (1, 3)), raw), lambda raw, z: z, manifold=space, max_time=0.5
  )
  point, log_time = model.encode(np.full(B, 40.0, np.float32), X)
  np.testing.assert_allclose(space.project(point), point, atol=1e-5)
  np.testing.assert_allclose(log_time, np.log(0.5), rtol=1e-6)
  _, log_time = model.encode(np.full(B, np.log(0.5), np.float32), X)
  np.testing.assert_allclose(log_time, np.log(0.25), rtol=1e-6)
  image = np.zeros((B, 9), np.float32)
  terms = manifold_vae(
    lambda raw, x: (x + jnp.eye(3).ravel(), raw), lambda raw, z: z, manifold=space, max_time=0.5
  ).bound(np.full(B, -30.0, np.float32), key, image)
  expected = brownian.kl_uniform(jnp.full(B, -30.0), manifold=space)
  np.testing.assert_allclose(terms.kl, expected, rtol=1e-6)
  # At time zero z is the identity matrix: logits 1 on the diagonal, 0 elsewhere, for an empty image.
  np.testing.assert_allclose(terms.log_likelihood, -3 * np.log1p(np.e) - 6 * np.log(2), rtol=1e-5)


def test_functions_for_use_after_training(key):
  for model in (sphere_vae(), brownian_vae()):
    mean, _ = model.encode(PARAMS, X)
    np.testing.assert_allclose(mean, X / np.linalg.norm(X, axis=1, keepdims=True), rtol=1e-5)
    samples = model.sample(PARAMS, key, 7)  # the decoder's mean is z itself
    np.testing.assert_allclose(np.linalg.norm(samples, axis=1), 1, rtol=1e-5)
    assert len(np.unique(samples)) == 7 * D


def test_shard_map_has_the_noise_and_loss_of_one_device(key):
  mesh = Mesh(np.array(jax.devices()[:4]), ("devices",))
  loss, _ = jax.jit(brownian_vae().objective)(PARAMS, (), key, {"image": X})
  objective = brownian_vae(axis_name="devices").objective
  local = jax.shard_map(
    lambda x: objective(PARAMS, (), key, {"image": x})[0][None],
    mesh=mesh,
    in_specs=P("devices"),
    out_specs=P("devices"),
  )
  np.testing.assert_allclose(jax.jit(local)(X).mean(), loss, rtol=1e-5)


def test_bad_arguments(key):
  with pytest.raises(ValueError, match="latent_dim must be in"):
    sphere_vae(latent_dim=1)
  with pytest.raises(ValueError, match="beta must be in"):
    sphere_vae(beta=-1.0)
  with pytest.raises(ValueError, match="max_time must be in"):
    brownian_vae(max_time=0.0)
  with pytest.raises(ValueError, match="encode_fn must return shapes \\(B, 4\\) and \\(B,\\)"):
    sphere_vae(latent_dim=4).objective(PARAMS, (), key, {"image": X})
