"""Small networks: shapes, dtypes, initial values, and a gradient for every parameter."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from latentjax import densities, models
from latentjax.objectives import vae

B, Z = 3, 4
CASES = {
  "image": (models.mlp_vae, (8, 8, 1), "bernoulli", {"hidden": (16, 12)}),
  "vector": (models.mlp_vae, (7,), "gaussian", {"hidden": (), "activation": jax.nn.gelu}),
  "conv": (models.conv_vae, (8, 8, 1), "bernoulli", {"channels": (4,), "hidden": 16}),
  "conv, odd": (models.conv_vae, (9, 7, 3), "gaussian", {"channels": (4, 5, 6), "hidden": 16}),
}


@pytest.mark.parametrize("case", CASES)
def test_shapes_dtypes_and_a_gradient_for_every_parameter(case, key):
  make, shape, likelihood, kwargs = CASES[case]
  rng = np.random.default_rng(0)
  data = rng.uniform(size=(B, *shape)).astype(np.float32)
  networks = make(shape, Z, likelihood=likelihood, dtype=jnp.bfloat16, **kwargs)
  abstract = jax.eval_shape(networks.init_fn, key)
  assert set(abstract) == {"encoder", "decoder"}
  assert {leaf.dtype for leaf in jax.tree.leaves(abstract)} == {jnp.dtype("float32")}
  params = jax.tree.map(lambda a: 0.2 * rng.standard_normal(a.shape, np.float32), abstract)

  family = getattr(densities, likelihood)
  model = vae(networks.encode_fn, networks.decode_fn, latent_dim=Z, likelihood=family)

  def loss(params):
    outputs = (networks.encode_fn(params, data), networks.decode_fn(params, jnp.ones((B, Z))))
    return model.objective(params, (), key, {"image": data})[0], outputs

  grads, ((mean, log_scale), x_params) = jax.jit(jax.grad(loss, has_aux=True))(params)
  assert mean.shape == log_scale.shape == (B, Z)
  expected = [(B, *shape)] if likelihood == "bernoulli" else [(B, *shape), ()]
  assert [param.shape for param in x_params] == expected
  assert {leaf.dtype for leaf in (mean, log_scale, *x_params)} == {jnp.dtype("float32")}
  for path, grad in jax.tree.leaves_with_path(grads):
    assert np.isfinite(grad).all() and np.any(grad), jax.tree_util.keystr(path)


def test_initial_values(key):
  data_mean = np.array([0.0, 0.3, 1.0])
  networks = models.mlp_vae((3,), Z, hidden=(50,), data_mean=data_mean)
  params = networks.init_fn(key)
  layer = params["encoder"]["Dense_0"]
  limit = (6 / (3 + 50)) ** 0.5  # Glorot
  assert 0.9 * limit < np.abs(layer["kernel"]).max() <= limit
  np.testing.assert_allclose(np.var(layer["kernel"]), limit**2 / 3, rtol=0.2)
  assert not np.any(layer["bias"])
  # At z = 0 the hidden layers are zero, so that the output is its bias, finite for pixels that never
  # change.
  (logits,) = networks.decode_fn(params, jnp.zeros((1, Z)))
  np.testing.assert_allclose(1 / (1 + np.exp(-logits[0])), [1e-3, 0.3, 1 - 1e-3], rtol=1e-4)


def test_a_gaussian_convolutional_decoder_starts_at_the_data_mean(key):
  data_mean = np.random.default_rng(0).standard_normal((4, 4, 1))
  networks = models.conv_vae(
    (4, 4, 1), Z, channels=(2, 2), hidden=4, likelihood="gaussian", data_mean=data_mean
  )
  mean, log_scale = networks.decode_fn(networks.init_fn(key), jnp.zeros((1, Z)))
  np.testing.assert_allclose(mean[0], data_mean, rtol=1e-5)
  assert log_scale == 0


def test_defaults_are_the_architecture_of_burda_et_al(key):
  params = jax.eval_shape(models.mlp_vae((784,), 50).init_fn, key)
  encoder = 784 * 200 + 200 + 200 * 200 + 200 + 200 * 100 + 100
  decoder = 50 * 200 + 200 + 200 * 200 + 200 + 200 * 784 + 784
  assert sum(leaf.size for leaf in jax.tree.leaves(params)) == encoder + decoder


def test_bfloat16_computes_nearly_the_same(key):
  rng = np.random.default_rng(0)
  data = rng.uniform(size=(B, 28, 28, 1)).astype(np.float32)
  high, low = (models.mlp_vae((28, 28, 1), Z, dtype=d) for d in (jnp.float32, jnp.bfloat16))
  params = jax.tree.map(
    lambda leaf: 0.05 * rng.standard_normal(leaf.shape, np.float32),
    jax.eval_shape(high.init_fn, key),
  )
  outputs = (jax.jit(networks.encode_fn)(params, data) for networks in (high, low))
  for exact, rounded in zip(*outputs):
    assert 0 < np.abs(exact - rounded).max() < 0.05 * np.abs(exact).max()


def test_batch_norm_against_numpy():
  rng = np.random.default_rng(0)
  x = rng.standard_normal((6, 3)).astype(np.float32) * [1, 10, 0] + 2  # one column is constant
  network = models.BatchNormMLP(2, (5,), activation=jnp.tanh)
  shapes = jax.eval_shape(network.init, jax.random.key(0), x)
  params = jax.tree.map(lambda a: rng.standard_normal(a.shape).astype(np.float32), shapes)
  p = params["params"]
  h = x @ p["Dense_0"]["kernel"]
  h = (h - h.mean(0)) / np.sqrt(h.var(0) + 1e-5) * p["scale_0"] + p["bias_0"]
  expected = np.tanh(h) @ p["Dense_1"]["kernel"] + p["Dense_1"]["bias"]
  np.testing.assert_allclose(jax.jit(network.apply)(params, x), expected, rtol=1e-4, atol=1e-5)
  found = jax.jit(network.apply)(params, x.astype(jnp.bfloat16))
  assert found.dtype == jnp.float32


def test_bad_arguments(key):
  with pytest.raises(ValueError, match="activation must be the name of a function"):
    models.mlp_vae((7,), Z, activation="tan").init_fn(key)
  with pytest.raises(
    ValueError, match="likelihood must be one of 'bernoulli', 'gaussian', got 'poisson'"
  ):
    models.mlp_vae((7,), Z, likelihood="poisson").init_fn(key)
  with pytest.raises(ValueError, match=r"data_shape must be \(H, W, C\), got \(28, 28\)"):
    models.conv_vae((28, 28), Z)
  with pytest.raises(ValueError, match=r"data_mean must have shape \(28, 28, 1\), got \(784,\)"):
    models.mlp_vae((28, 28, 1), Z, data_mean=np.zeros(784))
