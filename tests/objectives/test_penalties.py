"""Objectives that add a penalty: their limits are known objectives, their gradients go where they should."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P
from linear_model import (
  BATCH,
  NOISE,
  PARAMS,
  SCALE,
  B,
  D,
  W,
  X,
  Z,
  decode_fn,
  discriminator_fn,
  encode_fn,
  exact_terms,
)
from scipy import stats
from scipy.special import logsumexp

from latentjax import objectives
from latentjax.densities import gaussian
from latentjax.losses.annealing import linear_annealing

NETWORKS = (encode_fn, decode_fn)
SETTINGS = {"likelihood": gaussian}
LATENT = SETTINGS | {"latent_dim": Z}
MODELS = {
  "tc": lambda axis_name: objectives.tc_vae(
    *NETWORKS, dataset_size=20, axis_name=axis_name, **LATENT
  ),
  "dip": lambda axis_name: objectives.dip_vae(*NETWORKS, kind="ii", axis_name=axis_name, **LATENT),
  "info": lambda axis_name: objectives.info_vae(*NETWORKS, axis_name=axis_name, **LATENT),
  "wae": lambda axis_name: objectives.wae_mmd(*NETWORKS, axis_name=axis_name, **LATENT),
  "factor": lambda axis_name: objectives.factor_vae(
    *NETWORKS, discriminator_fn, axis_name=axis_name, **LATENT
  ),
  "aae": lambda axis_name: objectives.aae(
    *NETWORKS, lambda p, z: discriminator_fn(p, z)[:, 0], axis_name=axis_name, **LATENT
  ),
  "rae": lambda axis_name: objectives.rae(
    *NETWORKS, regularizer="gp", reg_weight=1.0, axis_name=axis_name, **SETTINGS
  ),
  "sigma": lambda axis_name: objectives.sigma_vae(*NETWORKS, axis_name=axis_name, **LATENT),
}


def loss_of(model, key, params=PARAMS, state=()):
  return jax.jit(model.objective)(params, state, key, BATCH)[0]


def assert_trees_close(got, expected, rtol=2e-4, atol=1e-4):
  jax.tree.map(partial(np.testing.assert_allclose, rtol=rtol, atol=atol), got, expected)


@pytest.mark.parametrize("name", MODELS)
def test_split_over_devices_as_on_one(name, key, count=4):
  """Loss and gradient inside shard_map, averaged over devices, are those of the whole batch."""
  expected = jax.jit(jax.value_and_grad(lambda p: loss_of(MODELS[name](None), key, p)))(PARAMS)
  model = MODELS[name]("devices")

  def step(params, x):
    grad = jax.value_and_grad(lambda p: model.objective(p, (), key, {"image": x})[0])(params)
    return jax.lax.pmean(grad, "devices")

  mesh = Mesh(np.array(jax.devices()[:count]), ("devices",))
  mapped = jax.shard_map(
    step, mesh=mesh, in_specs=(P(), P("devices")), out_specs=P(), check_vma=False
  )
  assert_trees_close(jax.jit(mapped)(PARAMS, X), expected)


def test_limits_are_the_vae(key):
  """Each objective at the weights at which its equation is the ELBO's."""
  vae = objectives.vae(*NETWORKS, **LATENT)
  expected = loss_of(vae, key)
  sampled = loss_of(objectives.vae(*NETWORKS, estimator="sampled", **LATENT), key)
  assert abs(expected - sampled) > 0.01
  for got, wanted in {
    "tc": (objectives.tc_vae(*NETWORKS, dataset_size=20, beta=1.0, **LATENT), sampled),
    "dip": (objectives.dip_vae(*NETWORKS, lambda_offdiag=0, lambda_diag=0, **LATENT), expected),
    "info": (objectives.info_vae(*NETWORKS, alpha=0, reg_weight=1, **LATENT), expected),
    "capacity": (objectives.capacity_vae(*NETWORKS, capacity=0.0, gamma=1.0, **LATENT), expected),
  }.values():
    np.testing.assert_allclose(loss_of(got, key), wanted, rtol=1e-5)
  factor = objectives.factor_vae(*NETWORKS, discriminator_fn, gamma=0, **LATENT)
  loss, (_, metrics) = jax.jit(factor.objective)(PARAMS, (), key, BATCH)
  np.testing.assert_allclose(loss - metrics["discriminator_loss"], expected, rtol=1e-5)


def test_dip_penalty_is_that_of_the_encoder_covariance(key):
  for kind, extra in {"i": 0.0, "ii": SCALE**2}.items():
    model = objectives.dip_vae(*NETWORKS, kind=kind, lambda_offdiag=2.0, lambda_diag=3.0, **LATENT)
    _, (_, metrics) = jax.jit(model.objective)(PARAMS, (), key, BATCH)
    cov = np.cov(X @ (0.3 * W), rowvar=False, bias=True) + extra * np.eye(Z)
    expected = 4 * cov[0, 1] ** 2 + 3 * ((np.diag(cov) - 1) ** 2).sum()
    np.testing.assert_allclose(metrics["penalty"], expected, rtol=1e-4)


def test_schedules_follow_the_count_of_calls(key):
  capacity = partial(linear_annealing, num_steps=4, end=8.0)
  model = objectives.capacity_vae(*NETWORKS, capacity=capacity, gamma=2.0, **LATENT)
  state, kl, step = model.init_state, exact_terms()[1], jax.jit(model.objective)
  for expected in (0.0, 2.0, 4.0):
    loss, (state, metrics) = step(PARAMS, state, key, BATCH)
    assert float(metrics["capacity"]) == expected
    distance = 2 * np.abs(kl - expected).mean()
    np.testing.assert_allclose(loss, distance - metrics["log_likelihood"], rtol=1e-4)
  assert int(state) == 3
  annealed = objectives.vae(*NETWORKS, beta=lambda count: 0.5 * count, **LATENT)
  loss, (state, metrics) = jax.jit(annealed.objective)(PARAMS, jnp.int32(3), key, BATCH)
  np.testing.assert_allclose(loss, 1.5 * metrics["kl"] - metrics["log_likelihood"], rtol=1e-5)
  assert int(state) == 4 and int(annealed.init_state) == 0


@pytest.mark.parametrize("name", ["factor", "aae"])
def test_each_player_has_its_own_loss(name, key):
  """The weight of the penalty moves the encoder's gradient alone, the discriminator's loss its own."""
  make = {
    "factor": lambda weight: objectives.factor_vae(
      *NETWORKS, discriminator_fn, gamma=weight, **LATENT
    ),
    "aae": lambda weight: objectives.aae(
      *NETWORKS, lambda p, z: discriminator_fn(p, z)[:, 0], reg_weight=weight, **LATENT
    ),
  }[name]
  grads = {w: jax.grad(lambda p, w=w: loss_of(make(w), key, p))(PARAMS) for w in (0.0, 1.0, 3.0)}
  assert_trees_close(grads[0.0]["discriminator"], grads[3.0]["discriminator"])
  assert np.abs(grads[0.0]["discriminator"]).max() > 1e-3
  steps = [grads[w]["encoder"]["w"] - grads[0.0]["encoder"]["w"] for w in (1.0, 3.0)]
  np.testing.assert_allclose(3 * steps[0], steps[1], rtol=1e-3, atol=1e-5)
  assert np.abs(steps[0]).max() > 1e-3
  alone = (
    objectives.vae(*NETWORKS, **LATENT)
    if name == "factor"
    else objectives.wae_mmd(*NETWORKS, reg_weight=0, **LATENT)
  )
  plain = jax.grad(lambda p: loss_of(alone, key, p))(PARAMS)
  assert_trees_close(grads[0.0]["encoder"]["w"], plain["encoder"]["w"])


def test_rae_penalises_the_decoder(key):
  l2 = objectives.rae(*NETWORKS, beta=0.0, reg_weight=0.5, **SETTINGS)
  reconstruction = exact_terms(scale=1e-12)[0]
  _, (_, metrics) = jax.jit(l2.objective)(PARAMS, (), key, BATCH)
  np.testing.assert_allclose(metrics["regularizer"], (W**2).sum() + 0.25, rtol=1e-5)
  np.testing.assert_allclose(metrics["log_likelihood"], reconstruction.mean(), rtol=1e-4)
  gp = objectives.rae(*NETWORKS, regularizer="gp", beta=0.0, **SETTINGS)
  keys = jax.random.split(key, 500)
  run = jax.jit(jax.vmap(lambda k: gp.objective(PARAMS, (), k, BATCH)[1][1]["regularizer"]))
  np.testing.assert_allclose(run(keys).mean(), (W**2).sum(), rtol=0.05)
  size = objectives.rae(*NETWORKS, beta=2.0, reg_weight=0.0, **SETTINGS)
  codes = ((X @ (0.3 * W)) ** 2).sum(1)
  np.testing.assert_allclose(loss_of(size, key), (codes - reconstruction).mean(), rtol=1e-4)
  assert gp.sample is None
  np.testing.assert_allclose(gp.encode(PARAMS, X), X @ (0.3 * W), rtol=1e-4)


def test_sigma_vae_has_the_expected_noise(key):
  """E|W sigma eps|^2 = C^2 |W|^2; the scale is one number per example, so the noise is not Gaussian."""
  model = objectives.sigma_vae(*NETWORKS, scale=0.8, beta=0.7, **LATENT)
  losses = jax.jit(jax.vmap(lambda k: loss_of(model, k)))(jax.random.split(key, 4000))
  log_likelihood, _ = exact_terms(scale=0.8)
  size = ((X @ (0.3 * W)) ** 2).sum(1)
  expected = (0.7 * size - log_likelihood).mean()
  assert abs(losses.mean() - expected) < 4 * losses.std() / 4000**0.5
  grads = jax.grad(lambda p: loss_of(model, key, p))(PARAMS)
  assert not np.any(grads["encoder"]["log_scale"]), "the scale is not learned"


def test_mixture_priors(key):
  """Against the sum of scipy's densities; a VampPrior of one pseudo-input is its posterior."""
  prior = objectives.vamp_prior(encode_fn, lambda params: params["pseudo_inputs"])
  z = np.asarray(jax.random.normal(key, (4, B, Z)))
  means, scale = PARAMS["pseudo_inputs"] @ (0.3 * W), SCALE
  parts = stats.norm.logpdf(z[:, :, None], means, scale).sum(-1) - np.log(3)
  np.testing.assert_allclose(prior.log_prob(PARAMS, z), logsumexp(parts, axis=-1), rtol=1e-4)
  drawn = np.asarray(prior.sample(PARAMS, key, 20_000))
  cov = np.cov(means, rowvar=False, bias=True) + scale**2 * np.eye(Z)
  np.testing.assert_allclose(drawn.mean(0), means.mean(0), atol=0.03)
  np.testing.assert_allclose(np.cov(drawn, rowvar=False), cov, atol=0.05)
  model = objectives.vae(*NETWORKS, prior=prior, **LATENT)
  grads = jax.grad(lambda p: loss_of(model, key, p))(PARAMS)
  assert np.any(grads["pseudo_inputs"])
  weighted = objectives.mixture_prior(lambda p: (jnp.array([0.0, -1e4, -1e4]), means, 0 * means))
  normal = stats.norm.logpdf(z, means[0]).sum(-1)
  np.testing.assert_allclose(weighted.log_prob(PARAMS, z), normal, rtol=1e-4)


def test_prior_takes_part_in_bound_weights_and_samples(key):
  """With the prior N(m, s^2) and the exact posterior all weights are the evidence."""
  w = W[:, :1]
  m, s = 0.7, 1.5
  precision = 1 / s**2 + (w**2).sum() / NOISE

  def encode(params, x):
    mean = (x @ w / NOISE + m / s**2) / precision
    return mean, jnp.full_like(mean, -0.5 * np.log(precision))

  prior = objectives.mixture_prior(
    lambda p: (jnp.zeros(1), jnp.array([[m]]), jnp.log(jnp.array([[s]])))
  )
  decode = lambda params, z: (z @ w.T, jnp.float32(0.5 * np.log(NOISE)))
  model = objectives.vae(encode, decode, prior=prior, latent_dim=1, likelihood=gaussian)
  evidence = stats.multivariate_normal(m * w[:, 0], s**2 * w @ w.T + NOISE * np.eye(D)).logpdf(X)
  log_w = jax.jit(partial(model.log_weights, (), num_samples=3))(key, X)
  np.testing.assert_allclose(log_w, np.broadcast_to(evidence, (3, B)), rtol=1e-4)
  np.testing.assert_allclose(jax.jit(partial(model.bound, ()))(key, X).elbo, evidence, rtol=1e-4)
  means = jax.jit(lambda key: model.sample((), key, 4000))(key)
  np.testing.assert_allclose(means.mean(0), m * w[:, 0], atol=0.15)


def test_bad_arguments(key):
  for make, match in [
    (lambda: objectives.capacity_vae(*NETWORKS, capacity=1.0, gamma=-1.0, **LATENT), "gamma must"),
    (lambda: objectives.wae_mmd(*NETWORKS, reg_weight=-1.0, **LATENT), "reg_weight must be in"),
    (lambda: objectives.rae(*NETWORKS, regularizer="l1", **SETTINGS), "regularizer must be one of"),
    (lambda: objectives.sigma_vae(*NETWORKS, scale=0.0, **LATENT), "scale must be in"),
    (
      lambda: loss_of(objectives.aae(*NETWORKS, discriminator_fn, **LATENT), key),
      r"discriminator_fn must return shape \(8,\), got \(8, 2\)",
    ),
  ]:
    with pytest.raises(ValueError, match=match):
      make()
