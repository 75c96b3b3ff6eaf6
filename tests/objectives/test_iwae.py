"""Importance weighted objectives on linear-Gaussian models and against the bounds' own kernels."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P
from scipy import special, stats

from latentjax.densities import gaussian
from latentjax.losses import importance
from latentjax.objectives import iwae
from latentjax.objectives.iwae import _dreg_scales

B, D, Z, K = 8, 5, 2, 6
RNG = np.random.default_rng(0)
W = RNG.standard_normal((D, Z)).astype(np.float32)
X = RNG.standard_normal((B, D)).astype(np.float32)
LOG_NOISE = np.float32(-0.5)
BATCH = {"image": X}
PARAMS = {
  "encoder": {"w": 0.3 * W, "log_scale": np.full(Z, -0.7, np.float32)},
  "decoder": {"w": W, "log_scale": LOG_NOISE},
}


def encode_fn(params, x):
  mean = x @ params["encoder"]["w"]
  return mean, jnp.broadcast_to(params["encoder"]["log_scale"], mean.shape)


def decode_fn(params, z):
  return z @ params["decoder"]["w"].T, params["decoder"]["log_scale"]


linear = partial(iwae, encode_fn, decode_fn, latent_dim=Z, likelihood=gaussian, num_samples=K)


def miwae(log_w):
  return importance.miwae_bound(log_w.reshape(2, K // 2, -1))


BOUNDS = {
  "iwae": importance.iwae_bound,
  "renyi": partial(importance.renyi_bound, alpha=0.4),
  "miwae": miwae,
  "ciwae": partial(importance.ciwae_bound, beta=0.3),
  "elbo": lambda log_w: log_w.mean(0),
}


def value_and_grads(model, key=None, params=PARAMS):
  key = jax.random.key(0) if key is None else key
  return jax.jit(jax.value_and_grad(lambda p: model.objective(p, (), key, BATCH)[0]))(params)


def assert_trees_close(got, expected, rtol=1e-4, atol=1e-5):
  jax.tree.map(partial(np.testing.assert_allclose, rtol=rtol, atol=atol), got, expected)


def samples(key, mean, log_scale):
  """The objective's samples: a key for every sample, within it one for every row."""
  return jnp.stack([gaussian.sample(jax.random.fold_in(key, k), mean, log_scale) for k in range(K)])


def numpy_log_w(z, mean, log_scale):
  z = np.asarray(z, float)
  log_p = stats.norm.logpdf(X, z @ W.T, np.exp(LOG_NOISE)).sum(-1) + stats.norm.logpdf(z).sum(-1)
  return log_p - stats.norm.logpdf(z, mean, np.exp(log_scale)).sum(-1)


def test_loss_is_the_bound_of_the_log_weights(key):
  mean, log_scale = encode_fn(PARAMS, X)
  log_w = numpy_log_w(samples(key, mean, log_scale), mean, log_scale)
  for name in ("iwae", "miwae"):
    bound = BOUNDS[name]
    loss = jax.jit(lambda p, b=bound: linear(bound=b).objective(p, (), key, BATCH)[0])(PARAMS)
    np.testing.assert_allclose(loss, -np.mean(bound(jnp.asarray(log_w))), rtol=1e-5, err_msg=name)


def test_blocks_do_not_matter_and_every_parameter_learns():
  expected = value_and_grads(linear(block_size=None))
  assert all(np.any(leaf) for leaf in jax.tree.leaves(expected[1]))
  assert_trees_close(value_and_grads(linear(block_size=4)), expected)  # leaves a rest


def test_metrics(key):
  mean, log_scale = encode_fn(PARAMS, X)
  log_w = numpy_log_w(samples(key, mean, log_scale), mean, log_scale)
  state = {"count": jnp.ones(())}
  loss, (new_state, metrics) = jax.jit(linear().objective)(PARAMS, state, key, BATCH)
  assert new_state == state
  weights = special.softmax(log_w, axis=0)
  expected = {
    "bound": -float(loss),
    "elbo": log_w.mean(),
    "effective_sample_size": (1 / (weights**2).sum(0)).mean(),
  }
  assert set(metrics) == set(expected)
  for name, value in metrics.items():
    assert value.shape == () and value.dtype == jnp.float32
    np.testing.assert_allclose(value, expected[name], rtol=1e-4)


@pytest.mark.parametrize("estimator", ["stl", "dreg"])
def test_gradients_for_q_are_those_of_the_kernels(key, estimator):
  """The objective's blocks and two passes against one call of the kernel at the same samples."""

  def loss(params):
    q = encode_fn(params, X)
    z = samples(key, *q)

    def log_joint(z):
      log_p_x = gaussian.log_prob(X, *decode_fn(params, z))
      return log_p_x + gaussian.standard_log_prob(z)

    log_q = lambda z, q: gaussian.log_prob(z, *q)
    if estimator == "dreg":
      return -importance.dreg_bound(z, q, log_joint, log_q).mean()
    return -importance.iwae_bound(log_joint(z) - log_q(z, jax.lax.stop_gradient(q))).mean()

  expected = jax.jit(jax.value_and_grad(loss))(PARAMS)
  got = value_and_grads(linear(estimator=estimator, block_size=4))
  assert_trees_close(got, expected)


def test_coefficients_of_the_path():
  log_w = 3 * RNG.standard_normal((K, B)).astype(np.float32)
  log_w[0] = -1e4  # without weight
  weights = special.softmax(log_w, axis=0)
  powers = special.softmax(0.6 * log_w, axis=0)
  expected = {
    "iwae": weights,
    "renyi": 0.4 + 0.6 * powers,
    "miwae": special.softmax(log_w.reshape(2, 3, B), axis=1).reshape(K, B),
    "ciwae": (0.3 / K + 0.7 * weights**2) / (0.3 / K + 0.7 * weights),
    "elbo": np.ones((K, B)),
  }
  found = jax.jit(lambda w: {name: _dreg_scales(bound, w) for name, bound in BOUNDS.items()})(log_w)
  for name, wanted in expected.items():
    got = found[name]
    rows = slice(1, None) if name == "renyi" else slice(None)
    np.testing.assert_allclose(got[rows], wanted[rows], rtol=1e-4, atol=1e-6, err_msg=name)


def test_dreg_is_unbiased_with_less_variance_for_other_bounds_too():
  keys = jax.random.split(jax.random.key(3), 4000)

  def gradients(estimator):
    model = linear(bound=BOUNDS["renyi"], estimator=estimator, block_size=None)
    gradient = jax.grad(lambda p, key: model.objective(p, (), key, BATCH)[0])
    grads = jax.jit(jax.vmap(gradient, in_axes=(None, 0)))(PARAMS, keys)
    return [np.asarray(leaf, float).reshape(len(keys), -1) for leaf in jax.tree.leaves(grads)]

  plain, dreg = (np.concatenate(gradients(e)[2:], axis=1) for e in ("standard", "dreg"))
  error = np.sqrt((plain.var(0) + dreg.var(0)) / len(keys))
  assert (np.abs(plain.mean(0) - dreg.mean(0)) < 5 * error).all()
  assert dreg.var(0).sum() < 0.6 * plain.var(0).sum()
  assert np.abs(dreg.mean(0)).max() > 20 * error.max()  # there is a gradient to get right


def test_piwae_trains_the_networks_on_different_bounds():
  iwae_loss, on_iwae = value_and_grads(linear(block_size=2))
  _, on_miwae = value_and_grads(linear(bound=miwae, block_size=2))
  loss, grads = value_and_grads(linear(inference_bound=miwae, block_size=2))
  assert_trees_close(loss, iwae_loss)
  assert_trees_close(grads["decoder"], on_iwae["decoder"])
  assert_trees_close(grads["encoder"], on_miwae["encoder"])
  assert not np.allclose(on_iwae["encoder"]["w"], on_miwae["encoder"]["w"], rtol=1e-2)


def test_exact_posterior_gives_the_evidence_and_no_gradient_noise(key):
  w = W[:, :1]
  precision = 1 + (w**2).sum() / np.exp(2 * LOG_NOISE)
  params = {
    "encoder": {
      "w": w / np.exp(2 * LOG_NOISE) / precision,
      "log_scale": np.float32([-0.5 * np.log(precision)]),
    },
    "decoder": {"w": w, "log_scale": LOG_NOISE},
  }
  log_evidence = stats.multivariate_normal(
    np.zeros(D), w @ w.T + np.exp(2 * LOG_NOISE) * np.eye(D)
  ).logpdf(X)
  for name in ("iwae", "renyi"):
    model = iwae(
      encode_fn,
      decode_fn,
      latent_dim=1,
      likelihood=gaussian,
      num_samples=K,
      bound=BOUNDS[name],
      estimator="dreg",
    )
    loss, grads = value_and_grads(model, params=params)
    np.testing.assert_allclose(loss, -log_evidence.mean(), rtol=1e-5, err_msg=name)
    assert_trees_close(grads["encoder"], jax.tree.map(np.zeros_like, grads["encoder"]), atol=1e-4)


def test_pmap_and_shard_map_train_as_one_device_does(key, count=4):
  kwargs = {"block_size": 4}
  expected = value_and_grads(linear(**kwargs))
  objective = linear(**kwargs, axis_name="devices").objective

  def local(params, x):
    return objective(params, (), key, {"image": x})[0]

  def step(x):
    return jax.lax.pmean(jax.value_and_grad(local)(PARAMS, x), "devices")

  devices = jax.devices()[:count]
  replicas = jax.pmap(step, "devices", devices=devices)(X.reshape(count, B // count, D))
  mapped = jax.shard_map(
    lambda params, x: local(params, x)[None],
    mesh=Mesh(np.array(devices), ("devices",)),
    in_specs=(P(), P("devices")),
    out_specs=P("devices"),
  )
  through = jax.jit(jax.value_and_grad(lambda params: mapped(params, X).mean()))(PARAMS)
  for got in (jax.tree.map(lambda leaf: leaf[0], replicas), through):
    assert_trees_close(got, expected, rtol=2e-4)


def test_memory_does_not_grow_with_the_samples(key):
  w = RNG.standard_normal((2, 400, 400)).astype(np.float32)

  def temp_bytes(num_samples, block_size):
    model = iwae(
      lambda p, x: (x @ p[0, :, :Z], 0 * x[:, :Z]),
      lambda p, z: jnp.tanh(z @ p[1, :Z]) @ p[0],
      latent_dim=Z,
      num_samples=num_samples,
      block_size=block_size,
    )
    run = jax.jit(jax.grad(lambda p, x: model.objective(p, (), key, {"image": x})[0]))
    compiled = run.lower(w, jnp.ones((64, 400))).compile()
    return compiled.memory_analysis().temp_size_in_bytes

  blocks, more_blocks = temp_bytes(20, 5), temp_bytes(80, 5)
  assert more_blocks < 1.1 * blocks
  assert temp_bytes(80, None) > 4 * more_blocks


def test_bad_arguments():
  for kwargs, error, match in [
    ({"estimator": "exact"}, ValueError, "estimator must be one of 'standard', 'stl', 'dreg'"),
    ({"num_samples": 0}, ValueError, "num_samples must be a positive integer"),
    ({"block_size": 2.5}, TypeError, "block_size must be a positive integer"),
    ({"latent_dim": 0}, ValueError, "latent_dim must be a positive integer"),
  ]:
    with pytest.raises(error, match=match):
      linear(**kwargs)
