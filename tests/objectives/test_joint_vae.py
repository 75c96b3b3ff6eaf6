"""JointVAE: its bound against enumeration of c with the exact answer for z, and its two limits."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from latentjax.densities import gaussian
from latentjax.losses.annealing import linear_annealing
from latentjax.objectives import joint_vae

B, D, Z, C = 8, 5, 2, 3
RNG = np.random.default_rng(0)
X = RNG.standard_normal((B, D)).astype(np.float32)
BATCH = {"image": X}
PARAMS = {
  "mean": 0.1 * RNG.standard_normal((D, Z)).astype(np.float32),
  "logits": 0.5 * RNG.standard_normal((D, C)).astype(np.float32),
  "log_scale": np.float32(-0.1),
  "w": 0.5 * RNG.standard_normal((Z, D)).astype(np.float32),
  "centre": RNG.standard_normal((C, D)).astype(np.float32),
}


def encode_fn(params, x):
  mean = x @ params["mean"]
  return mean, jnp.full_like(mean, 1.0) * params["log_scale"], (x @ params["logits"])[:, None]


def decode_fn(params, zc):
  return zc[:, :Z] @ params["w"] + zc[:, Z:] @ params["centre"], jnp.float32(0.0)


make = partial(
  joint_vae,
  encode_fn,
  decode_fn,
  latent_dim=Z,
  num_variables=1,
  num_classes=C,
  capacity_z=1.0,
  capacity_c=0.5,
  likelihood=gaussian,
)


def exact_divergences():
  mean, log_scale, logits = (np.asarray(part, float) for part in encode_fn(PARAMS, X))
  kl_z = 0.5 * (mean**2 + np.exp(2 * log_scale) - 1 - 2 * log_scale).sum(1)
  q = np.exp(logits[:, 0]) / np.exp(logits[:, 0]).sum(1, keepdims=True)
  return kl_z, np.log(C) - stats.entropy(q, axis=1)


def test_importance_weights_average_to_the_exact_evidence(key):
  """Given c, the model is linear-Gaussian."""
  covariance = PARAMS["w"].T @ PARAMS["w"] + np.eye(D)
  per_class = [stats.multivariate_normal(m, covariance).pdf(X) for m in PARAMS["centre"]]
  model = make(num_samples=2000)
  log_w = jax.jit(partial(model.log_weights, num_samples=20_000))(PARAMS, key, X)
  estimate = jax.nn.logsumexp(log_w, axis=0) - np.log(20_000)
  np.testing.assert_allclose(estimate, np.log(np.mean(per_class, axis=0)), atol=0.1)
  terms = jax.jit(model.bound)(PARAMS, key, X)
  np.testing.assert_allclose(terms.elbo, log_w.mean(0), atol=0.3)
  np.testing.assert_allclose(terms.kl, sum(exact_divergences()), rtol=1e-4)


def test_loss_is_likelihood_and_distances_of_the_batch_means(key):
  kl_z, kl_c = exact_divergences()

  @jax.jit
  def run(capacity_z, capacity_c):
    model = make(capacity_z=capacity_z, capacity_c=capacity_c, gamma=7.0)
    return model.objective(PARAMS, model.init_state, key, BATCH)

  for capacity_z, capacity_c in [(0.0, 0.0), (9.0, 50.0)]:
    loss, (state, metrics) = run(capacity_z, capacity_c)
    reachable = min(capacity_c, np.log(C))
    distance = abs(kl_z.mean() - capacity_z) + abs(kl_c.mean() - reachable)
    np.testing.assert_allclose(loss, 7 * distance - metrics["log_likelihood"], rtol=1e-5)
    np.testing.assert_allclose(metrics["kl_z"] + metrics["kl_c"], metrics["kl"], rtol=1e-5)
    assert state == 1


def test_capacities_follow_the_step(key):
  schedule = partial(linear_annealing, num_steps=10, end=5.0)
  model = make(capacity_z=schedule, capacity_c=schedule)
  _, (state, metrics) = jax.jit(model.objective)(PARAMS, jnp.int32(4), key, BATCH)
  assert state == 5
  np.testing.assert_allclose(metrics["capacity_z"], 2.0, rtol=1e-6)
  np.testing.assert_allclose(metrics["capacity_c"], np.log(3), rtol=1e-6)


def test_gradient_reaches_all_parameters_and_descends_the_distance_to_capacity(key):
  """Below its capacity a divergence is pushed up, above it down; gamma = 0 leaves the likelihood."""

  def loss(params, capacity_c, gamma):
    model = make(capacity_c=capacity_c, gamma=gamma)
    return model.objective(params, model.init_state, key, BATCH)[0]

  grad = jax.jit(jax.grad(loss))
  low, high, none = grad(PARAMS, 0.0, 30.0), grad(PARAMS, 1.0, 30.0), grad(PARAMS, 1.0, 0.0)
  assert all(np.any(leaf) for leaf in jax.tree.leaves(none))
  down, up = (np.asarray(got["logits"] - none["logits"]) for got in (low, high))
  np.testing.assert_allclose(down, -up, atol=1e-4)
  assert np.abs(down).max() > 0.1


def test_devices_agree(key):
  alone, local = make(), make(axis_name="devices")
  step = lambda model, x: jax.value_and_grad(
    lambda p: model.objective(p, jnp.int32(3), key, {"image": x})[0]
  )(PARAMS)
  mean = lambda x: jax.lax.pmean(step(local, x), "devices")
  split = jax.pmap(mean, "devices", devices=jax.devices()[:4])(X.reshape(4, 2, D))
  expected = jax.jit(partial(step, alone))(X)
  close = partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)
  jax.tree.map(lambda got, want: close(got[0], want), split, expected)


def test_samples_have_the_mean_of_the_prior(key):
  """z has mean zero, all classes are equally likely, and what is returned is the mean of p(x|z, c)."""
  samples = jax.jit(lambda key: make().sample(PARAMS, key, 4000))(key)
  covariance = PARAMS["w"].T @ PARAMS["w"] + np.cov(PARAMS["centre"].T, bias=True)
  np.testing.assert_allclose(samples.mean(0), PARAMS["centre"].mean(0), atol=0.1)
  np.testing.assert_allclose(np.cov(samples.T), covariance, atol=0.15)


def test_bad_arguments(key):
  with pytest.raises(ValueError, match="capacity_z must be in"):
    make(capacity_z=-1.0)
  with pytest.raises(ValueError, match="temperature must be in"):
    make(temperature=0.0)
  for wrong in ({"num_classes": 4}, {"latent_dim": 3}):
    with pytest.raises(ValueError, match="encode_fn must return mean, log_scale and logits of"):
      jax.eval_shape(make(**wrong).bound, PARAMS, key, X)
