"""Physics-integrated VAE: its penalties against closed forms, and what each of them trains."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import check_kernel
from scipy import stats

from latentjax.densities import gaussian
from latentjax.losses.elbo import least_action_loss, self_supervision_loss
from latentjax.objectives import physics_vae, vae

B, D, Z = 8, 5, 3
RNG = np.random.default_rng(0)
MEAN, REDUCED = RNG.standard_normal((2, B, D))
LOG_SCALE, KL = 0.3 * RNG.standard_normal(D), RNG.uniform(size=B)


def action_oracle(mean, reduced, log_scale, kl, **_):
  """Quadrature of the divergence of two normal densities, one pixel at a time."""
  t, weights = np.polynomial.hermite_e.hermegauss(20)
  x = mean[..., None] + np.exp(log_scale)[:, None] * t
  ratio = stats.norm.logpdf(x, mean[..., None], np.exp(log_scale)[:, None])
  ratio = ratio - stats.norm.logpdf(x, reduced[..., None], np.exp(log_scale)[:, None])
  return (ratio @ weights / weights.sum()).sum(1) + kl


def test_least_action_loss():
  check_kernel(
    least_action_loss,
    (MEAN, REDUCED, LOG_SCALE, KL),
    oracle=action_oracle,
    batch_axes=(0, 0, None, 0),
    extreme=[(1e3 * MEAN, REDUCED, LOG_SCALE, KL), (MEAN, MEAN, 0 * LOG_SCALE - 40, KL)],
    bad_inputs=[
      ((MEAN.astype(int), REDUCED, LOG_SCALE, KL), {}, TypeError, "mean must be a floating"),
      ((MEAN, REDUCED[:, :1], LOG_SCALE, KL), {}, ValueError, "must have the same shape"),
      ((MEAN, REDUCED, LOG_SCALE, KL[:2]), {}, ValueError, "kl_auxiliary must have one entry"),
    ],
  )


def test_least_action_bounds_the_divergence_of_the_predictives():
  """z_A ~ N(m, s) moves the mean by w z_A: both predictives and their divergence are known."""
  m, s, w, sigma = 0.7, 0.4, 1.5, 0.6
  z = m + s * RNG.standard_normal((40000, 1))
  log_scale = np.log(sigma)
  kl = stats.norm.expect(
    lambda z: stats.norm.logpdf(z, m, s) - stats.norm.logpdf(z), loc=m, scale=s
  )
  bound = least_action_loss(w * z, 0 * z, log_scale, np.full(40000, kl)).mean()
  spread = np.hypot(sigma, w * s)
  exact = gaussian.kl(
    jnp.array([w * m]), jnp.log(spread)[None], jnp.zeros(1), jnp.array([log_scale])
  )
  assert exact < bound
  np.testing.assert_allclose(bound, w**2 * (m**2 + s**2) / (2 * sigma**2) + kl, rtol=0.02)


def test_self_supervision_loss():
  check_kernel(
    self_supervision_loss,
    (MEAN, REDUCED),
    oracle=lambda a, b: np.linalg.norm(a - b, axis=1) ** 2,
    surrogate=lambda a, b: self_supervision_loss(a, jnp.asarray(REDUCED, a.dtype)),
    differentiable=(0,),
    detached=(1,),
    extreme=[(1e15 * MEAN, REDUCED)],
    bad_inputs=[
      ((MEAN, REDUCED.astype(int)), {}, TypeError, "target must be a floating point"),
      ((MEAN, REDUCED[:, :1]), {}, ValueError, "prediction and target must have the same shape"),
    ],
  )


W = RNG.standard_normal((D, Z)).astype(np.float32)
PARAMS = {
  "clean": 0.1 * RNG.standard_normal((D, D)).astype(np.float32),
  "physics": 0.3 * W[:, :1],
  "rest": 0.3 * W[:, 1:],
  "neural": W[:, 1:],
}


def clean_fn(params, x):
  return x + x @ params["clean"]


def encode_physics_fn(params, x):
  return x @ params["physics"]


def encode_fn(params, x):
  mean = jnp.concatenate([encode_physics_fn(params, clean_fn(params, x)), x @ params["rest"]], 1)
  return mean, jnp.full_like(mean, -0.7)


def reduced_fn(params, z):
  return z @ W[:, :1].T


def decode_fn(params, z):
  return reduced_fn(params, z[:, :1]) + z[:, 1:] @ params["neural"].T, jnp.float32(-0.5)


make_model = partial(
  physics_vae,
  encode_fn,
  decode_fn,
  reduced_fn,
  clean_fn,
  encode_physics_fn,
  latent_dim=Z,
  physics_dim=1,
)
WEIGHTS = ("least_action_weight", "cleaning_weight", "augmentation_weight")


@jax.jit
def gradient(params, key, weights):
  objective = make_model(**dict(zip(WEIGHTS, weights))).objective
  return jax.grad(objective, has_aux=True)(params, (), key, {"x": X})


X = RNG.standard_normal((B, D)).astype(np.float32)


def test_without_weights_it_is_the_plain_model_and_each_weight_trains_its_part(key):
  grads, (_, metrics) = gradient(PARAMS, key, np.zeros(3))
  plain = vae(encode_fn, decode_fn, latent_dim=Z, likelihood=gaussian, feature="x")
  mean, log_scale = plain.encode(PARAMS, X)
  z = gaussian.sample(jax.random.split(key)[0], mean, log_scale)
  expected = stats.norm.logpdf(X, decode_fn(PARAMS, z)[0], np.exp(-0.5)).sum(1).mean()
  np.testing.assert_allclose(metrics["log_likelihood"], expected, rtol=1e-5)
  np.testing.assert_allclose(metrics["kl"], gaussian.kl_standard(mean, log_scale).mean(), rtol=1e-5)
  # m - m_r = W_A z_A does not depend on z_P here.
  trains = [{"rest", "neural"}, {"clean"}, {"physics"}]
  for weights, parts in zip(2 * np.eye(3), trains):
    more = gradient(PARAMS, key, weights)[0]
    assert parts == {part for part in PARAMS if np.abs(more[part] - grads[part]).max() > 1e-4}


def test_perfect_physics_encoder_has_nothing_to_learn_from_simulations(key):
  exact = PARAMS | {"physics": W[:, :1] / (W[:, :1] ** 2).sum()}
  run = lambda params: gradient(params, key, np.zeros(3))[1][1]["augmentation"]
  assert run(exact) < 1e-10 < 0.01 < run(PARAMS)


def test_bad_arguments():
  make = partial(physics_vae, *[encode_fn] * 5, latent_dim=2)
  with pytest.raises(ValueError, match="physics_dim must be in"):
    make(physics_dim=3)
  with pytest.raises(ValueError, match="cleaning_weight must be in"):
    make(physics_dim=1, cleaning_weight=-1.0)
