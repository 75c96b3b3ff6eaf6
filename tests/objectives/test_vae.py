"""The VAE objective on linear-Gaussian models, where every expectation is known."""

from functools import partial

import jax
import jax.numpy as jnp
import linear_model
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from linear_model import (
  BATCH,
  LOG_NOISE,
  NOISE,
  RNG,
  B,
  D,
  W,
  X,
  Z,
  decode_fn,
  encode_fn,
  exact_terms,
)
from scipy import stats

from latentjax.densities import gaussian
from latentjax.objectives import vae

K = 3
PARAMS = {name: linear_model.PARAMS[name] for name in ("encoder", "decoder")}
linear_vae = partial(vae, encode_fn, decode_fn, latent_dim=Z, likelihood=gaussian)


@pytest.mark.parametrize("estimator", ["analytic", "sampled"])
def test_bound_has_the_exact_expectation(key, estimator):
  num_samples = 4000
  terms = linear_vae(num_samples=num_samples, estimator=estimator).bound(PARAMS, key, X)
  log_likelihood, kl = exact_terms()
  np.testing.assert_allclose(terms.log_likelihood, log_likelihood, rtol=0.05)
  np.testing.assert_allclose(terms.kl, kl, rtol=1e-4 if estimator == "analytic" else 0.1)
  np.testing.assert_allclose(terms.elbo, terms.log_likelihood - terms.kl, rtol=1e-6)
  log_evidence = stats.multivariate_normal(np.zeros(D), W @ W.T + NOISE * np.eye(D)).logpdf(X)
  assert (terms.elbo < log_evidence).all()


def test_estimators_have_no_variance_where_their_expectation_needs_none():
  """A is exact for the exact posterior, B for a decoder that ignores z: neither is always better."""
  w = W[:, :1]
  precision = 1 + (w**2).sum() / NOISE
  params = {
    "encoder": {"w": w / NOISE / precision, "log_scale": np.float32([-0.5 * np.log(precision)])},
    "decoder": {"w": w, "log_scale": np.float32(LOG_NOISE)},
  }
  ignored = params | {"decoder": {"w": 0 * w, "log_scale": np.float32(LOG_NOISE)}}
  keys = jax.random.split(jax.random.key(1), 200)

  def elbos(estimator, params):
    model = vae(encode_fn, decode_fn, latent_dim=1, likelihood=gaussian, estimator=estimator)
    return np.asarray(jax.jit(jax.vmap(lambda key: model.bound(params, key, X).elbo))(keys))

  log_evidence = stats.multivariate_normal(np.zeros(D), w @ w.T + NOISE * np.eye(D)).logpdf(X)
  sampled, analytic = elbos("sampled", params), elbos("analytic", params)
  np.testing.assert_allclose(sampled, np.broadcast_to(log_evidence, sampled.shape), rtol=1e-4)
  assert (analytic.std(0) > 0.1).all()
  np.testing.assert_allclose(analytic.mean(0), log_evidence, atol=5 * analytic.std() / 200**0.5)
  assert (elbos("analytic", ignored).std(0) < 1e-4).all()
  assert (elbos("sampled", ignored).std(0) > 0.1).all()


def test_objective_is_the_mean_of_the_bound_and_beta_weighs_the_loss_alone(key):
  model = linear_vae(beta=4.0, num_samples=K)
  state = {"count": jnp.ones(())}
  loss, (new_state, metrics) = jax.jit(model.objective)(PARAMS, state, key, BATCH)
  terms = model.bound(PARAMS, key, X)
  assert new_state == state
  assert set(metrics) == {"elbo", "log_likelihood", "kl"}
  for name, value in metrics.items():
    assert value.shape == () and value.dtype == jnp.float32
    np.testing.assert_allclose(value, getattr(terms, name).mean(), rtol=1e-5)
  np.testing.assert_allclose(loss, 4 * metrics["kl"] - metrics["log_likelihood"], rtol=1e-5)


def test_gradient_equals_finite_differences():
  with jax.enable_x64(True):
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), PARAMS)
    objective = linear_vae(num_samples=K, estimator="sampled").objective
    batch = {"image": X.astype(np.float64)}
    loss = jax.jit(lambda params: objective(params, (), jax.random.key(0), batch)[0])
    grads = jax.grad(loss)(params)
    direction = jax.tree.map(lambda leaf: jnp.asarray(RNG.standard_normal(leaf.shape)), params)
    ends = [
      loss(jax.tree.map(lambda p, d, h=h: p + h * d, params, direction)) for h in (1e-5, -1e-5)
    ]
    products = jax.tree.map(lambda g, d: (g * d).sum(), grads, direction)
    np.testing.assert_allclose(
      (ends[0] - ends[1]) / 2e-5, sum(jax.tree.leaves(products)), rtol=1e-7
    )
  assert all(np.any(leaf) for leaf in jax.tree.leaves(grads))


def test_log_weights_are_the_evidence_for_the_exact_posterior(key):
  """One latent, so that the posterior is diagonal; image-shaped data and K samples keep their order."""
  w = W[:4, :1]
  x = X[:, :4]
  precision = 1 + (w**2).sum() / NOISE

  def encode(params, x):
    mean = x.reshape(B, 4) @ w / NOISE / precision
    return mean, jnp.full_like(mean, -0.5 * np.log(precision))

  def decode(params, z):
    return (z @ w.T).reshape(-1, 2, 2, 1), jnp.float32(LOG_NOISE)

  model = vae(encode, decode, latent_dim=1, likelihood=gaussian)
  log_w = model.log_weights((), key, x.reshape(B, 2, 2, 1), num_samples=K)
  log_evidence = stats.multivariate_normal(np.zeros(4), w @ w.T + NOISE * np.eye(4)).logpdf(x)
  assert log_w.shape == (K, B)
  np.testing.assert_allclose(log_w, np.broadcast_to(log_evidence, (K, B)), rtol=1e-4)


def test_functions_for_use_after_training(key):
  model = vae(lambda w, x: (x @ w, 0 * x @ w), lambda w, z: z @ w.T, latent_dim=Z)
  mean, log_scale = model.encode(W, X)
  np.testing.assert_allclose(mean, X @ W, rtol=1e-5)
  assert log_scale.shape == (B, Z)
  np.testing.assert_allclose(model.decode(W, mean), 1 / (1 + np.exp(-(X @ W) @ W.T)), rtol=1e-4)
  samples = model.sample(W, key, 7)
  assert samples.shape == (7, D) and len(np.unique(samples)) == 7 * D
  assert ((samples > 0) & (samples < 1)).all()


def mesh(count):
  return Mesh(np.array(jax.devices()[:count]), ("devices",))


def test_pmap_and_shard_map_train_as_one_device_does(key, count=4):
  """Mean over devices of the local loss, gradient, and metrics equal the global ones, noise included."""
  loss, grads = jax.jit(
    jax.value_and_grad(lambda p: linear_vae(num_samples=K).objective(p, (), key, BATCH)[0])
  )(PARAMS)
  objective = linear_vae(num_samples=K, axis_name="devices").objective

  def local(params, x):
    return objective(params, (), key, {"image": x})[0]

  def step(x):
    return jax.lax.pmean(jax.value_and_grad(local)(PARAMS, x), "devices")

  per_device = X.reshape(count, B // count, D)
  replicas = jax.pmap(step, "devices", devices=jax.devices()[:count])(per_device)
  mapped = jax.shard_map(
    lambda params, x: local(params, x)[None],
    mesh=mesh(count),
    in_specs=(P(), P("devices")),
    out_specs=P("devices"),
  )
  through = jax.jit(jax.value_and_grad(lambda params: mapped(params, X).mean()))(PARAMS)
  for got in (jax.tree.map(lambda leaf: leaf[0], replicas), through):
    jax.tree.map(partial(np.testing.assert_allclose, rtol=2e-4, atol=1e-5), got, (loss, grads))


def test_a_sharded_batch_with_many_samples_stays_where_it_is(key):
  """The flattening of K samples into the batch moves no data between devices."""
  model = linear_vae()
  x = jax.device_put(X, NamedSharding(mesh(8), P("devices")))
  params = jax.device_put(PARAMS, NamedSharding(mesh(8), P()))
  run = jax.jit(lambda params, x: model.log_weights(params, key, x, num_samples=K))
  text = run.lower(params, x).compile().as_text()
  for collective in ("all-gather", "all-to-all", "collective-permute", "all-reduce"):
    assert collective not in text
  alone = model.log_weights(PARAMS, key, X, num_samples=K)
  np.testing.assert_allclose(run(params, x), alone, rtol=1e-4)


def test_bad_arguments(key):
  for kwargs, error, match in [
    (
      {"estimator": "exact"},
      ValueError,
      "estimator must be one of 'analytic', 'sampled', got 'exact'",
    ),
    ({"num_samples": 0}, ValueError, "num_samples must be a positive integer"),
    ({"beta": -1}, ValueError, "beta must be in"),
    ({"latent_dim": 2.5}, TypeError, "latent_dim must be a positive integer"),
  ]:
    with pytest.raises(error, match=match):
      linear_vae(**kwargs)


def test_bad_data_and_networks(key):
  objective = linear_vae().objective
  with pytest.raises(KeyError, match="feature must be one of 'x', got 'image'"):
    objective(PARAMS, (), key, {"x": X})
  with pytest.raises(TypeError, match="x must be a floating point array, got int32"):
    linear_vae().objective(PARAMS, (), key, {"image": X.astype(int)})
  shared = vae(lambda p, x: (x @ W, jnp.zeros(Z)), decode_fn, latent_dim=Z, likelihood=gaussian)
  with pytest.raises(ValueError, match="mean and log_scale must have the same shape"):
    shared.objective(PARAMS, (), key, BATCH)
  flat = vae(encode_fn, lambda p, z: z @ W[:4].T, latent_dim=Z)
  with pytest.raises(ValueError, match="x and logits must have equal shapes"):
    flat.objective(PARAMS, (), key, BATCH)
