"""Wake-sleep: which phase trains what, and where it comes to rest."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from latentjax.densities import gaussian
from latentjax.objectives import vae, wake_sleep

B, D, Z = 8, 5, 2
RNG = np.random.default_rng(0)
X, OTHER_X = RNG.uniform(size=(2, B, D)).astype(np.float32)
PARAMS = {
  "encoder": RNG.standard_normal((D, 2 * Z)).astype(np.float32),
  "decoder": RNG.standard_normal((Z, D)).astype(np.float32),
}


def encode_fn(params, x):
  return jnp.split(x @ params["encoder"], 2, axis=-1)


def decode_fn(params, z):
  return z @ params["decoder"]


model = wake_sleep(encode_fn, decode_fn, latent_dim=Z)


@pytest.fixture(scope="module")
def gradients():
  """Gradients of the loss and of the metrics of either phase with respect to the parameters."""

  @jax.jit
  @jax.jacrev
  def outputs(params, x):
    loss, (_, metrics) = model.objective(params, (), jax.random.key(0), {"image": x})
    return {"loss": loss, "wake": metrics["log_likelihood"], "sleep": metrics["sleep_loss"]}

  return lambda x: outputs(PARAMS, x)


def test_each_phase_trains_its_own_network_and_nothing_else(gradients):
  loss, wake, sleep = (gradients(X)[name] for name in ("loss", "wake", "sleep"))
  assert not np.any(wake["encoder"]) and not np.any(sleep["decoder"])
  assert np.any(wake["decoder"]) and np.any(sleep["encoder"])
  np.testing.assert_allclose(loss["decoder"], -wake["decoder"], rtol=1e-6)
  np.testing.assert_allclose(loss["encoder"], sleep["encoder"], rtol=1e-6)


def test_the_recognition_network_never_sees_the_data(gradients):
  mine, other = gradients(X)["loss"], gradients(OTHER_X)["loss"]
  np.testing.assert_array_equal(mine["encoder"], other["encoder"])
  assert np.any(mine["decoder"] != other["decoder"])


def test_metrics_estimate_the_same_bound_as_the_vae(key):
  keys = jax.random.split(key, 4000)
  reference = vae(encode_fn, decode_fn, latent_dim=Z)

  def metrics(objective, key):
    return objective(PARAMS, (), key, {"image": X})[1][1]

  dreams = jax.jit(jax.vmap(partial(metrics, model.objective)))(keys)
  expected = jax.jit(jax.vmap(partial(metrics, reference.objective)))(keys)
  np.testing.assert_allclose(dreams["kl"], expected["kl"], rtol=1e-5)
  np.testing.assert_allclose(dreams["elbo"].mean(), expected["elbo"].mean(), rtol=0.01)


# Scalar linear-Gaussian model: x = w z + b + s eps. Its posterior is N(a x + c, t^2) with
# a = w / (w^2 + s^2), c = -a b, t^2 = s^2 / (w^2 + s^2).
W_TRUE, B_TRUE, S_TRUE = 0.8, -0.5, 0.6
VARIANCE = W_TRUE**2 + S_TRUE**2
FIXED_POINT = {
  "w": W_TRUE,
  "b": B_TRUE,
  "log_s": np.log(S_TRUE),
  "a": W_TRUE / VARIANCE,
  "c": -W_TRUE / VARIANCE * B_TRUE,
  "log_t": 0.5 * np.log(S_TRUE**2 / VARIANCE),
}


@pytest.fixture(scope="module")
def scalar_gradient():
  """Expected gradient of the scalar model's loss, from one large batch of its true distribution."""
  scalar = wake_sleep(
    lambda p, x: (p["a"] * x + p["c"], jnp.broadcast_to(p["log_t"], x.shape)),
    lambda p, z: (p["w"] * z + p["b"], p["log_s"]),
    latent_dim=1,
    likelihood=gaussian,
  )
  x = np.random.default_rng(3).normal(B_TRUE, VARIANCE**0.5, (100_000, 1)).astype(np.float32)
  grad = jax.jit(jax.grad(lambda p: scalar.objective(p, (), jax.random.key(2), {"image": x})[0]))
  return lambda changes: grad({k: jnp.float32(v) for k, v in (FIXED_POINT | changes).items()})


def test_the_true_model_with_its_posterior_is_a_fixed_point(scalar_gradient):
  for name, value in scalar_gradient({}).items():
    assert abs(value) < 0.02, name


@pytest.mark.parametrize("name", FIXED_POINT)
def test_a_parameter_off_the_fixed_point_is_pulled_back(scalar_gradient, name):
  for shift in (0.2, -0.2):
    assert scalar_gradient({name: FIXED_POINT[name] + shift})[name] * np.sign(shift) > 0.05


def test_dreams_are_of_every_example_even_if_all_share_the_likelihood(key):
  seen = []

  def encode(p, x):
    jax.debug.callback(lambda value: seen.append(value), x)
    return 0 * x[:, :Z], 0 * x[:, :Z]

  constant = wake_sleep(encode, lambda p, z: jnp.zeros(D), latent_dim=Z)
  jax.jit(constant.objective)(jnp.ones(()), (), key, {"image": X})
  jax.effects_barrier()
  dream = next(value for value in seen if not np.array_equal(value, X))
  assert dream.shape == (B, D) and len(np.unique(dream, axis=0)) > 1


def test_shard_map_gives_the_noise_of_one_device(key):
  sharded = wake_sleep(encode_fn, decode_fn, latent_dim=Z, axis_name="devices")
  mapped = jax.shard_map(
    lambda x: sharded.objective(PARAMS, (), key, {"image": x})[0][None],
    mesh=Mesh(np.array(jax.devices()[:4]), ("devices",)),
    in_specs=P("devices"),
    out_specs=P("devices"),
  )
  alone = model.objective(PARAMS, (), key, {"image": X})[0]
  np.testing.assert_allclose(jax.jit(mapped)(X).mean(), alone, rtol=1e-5)
