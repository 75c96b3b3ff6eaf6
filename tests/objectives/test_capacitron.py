"""Capacitron: on a Gaussian source it must find the rate-distortion function, and its slope."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from latentjax.densities import gaussian
from latentjax.objectives import capacitron, conditional, hierarchical_capacitron, vae

B, C, LOG_NOISE = 32, 1.0, -0.2
RNG = np.random.default_rng(0)
X = RNG.standard_normal((B, 1)).astype(np.float32)
X = (X - X.mean()) / X.std()


def encode_fn(params, x):
  mean = x * params["encoder"][0]
  return mean, jnp.broadcast_to(params["encoder"][1], mean.shape)


def decode_fn(params, z):
  return z * params["decoder"], jnp.float32(LOG_NOISE)


LINEAR = {"latent_dim": 1, "likelihood": gaussian}
PARAMS = {"encoder": jnp.array([0.5, -0.5]), "decoder": jnp.array(0.5), "b": jnp.array(0.3)}


def model(**kwargs):
  return capacitron(
    encode_fn, decode_fn, lambda params: params["b"], capacity=C, **LINEAR, **kwargs
  )


def test_descent_reaches_the_rate_distortion_function():
  """D(C) = var(x) exp(-2 C); the multiplier is the slope of D / (2 noise variance)."""
  objective = model(num_samples=32).objective

  def step(params, key):
    grads = jax.grad(lambda params: objective(params, (), key, {"image": X})[0])(params)
    return jax.tree.map(lambda p, g: p - 0.06 * g, params, grads), params

  keys = jax.random.split(jax.random.key(0), 1500)
  _, path = jax.jit(lambda params: jax.lax.scan(step, params, keys))(PARAMS)
  params = jax.tree.map(lambda leaf: leaf[-500:].mean(0), path)
  mean, log_scale = encode_fn(params, X)
  noise = np.exp(2 * LOG_NOISE)
  spread = (params["decoder"] * jnp.exp(log_scale)) ** 2
  distortion = jnp.mean((X - params["decoder"] * mean) ** 2 + spread)
  np.testing.assert_allclose(gaussian.kl_standard(mean, log_scale).mean(), C, rtol=0.02)
  np.testing.assert_allclose(distortion, np.exp(-2 * C), rtol=0.05)
  np.testing.assert_allclose(jax.nn.softplus(params["b"]), np.exp(-2 * C) / noise, rtol=0.05)


def test_gradients_are_those_of_a_beta_vae_and_the_dual(key):
  batch = {"image": X}
  beta = float(jax.nn.softplus(PARAMS["b"]))
  grads, (_, metrics) = jax.jit(jax.grad(model().objective, has_aux=True))(PARAMS, (), key, batch)
  plain = vae(encode_fn, decode_fn, beta=beta, **LINEAR).objective
  expected = jax.jit(jax.grad(plain, has_aux=True))(PARAMS, (), key, batch)[0]
  for name in ("encoder", "decoder"):
    np.testing.assert_allclose(grads[name], expected[name], rtol=1e-5)
  sigmoid = 1 / (1 + np.exp(-PARAMS["b"]))
  np.testing.assert_allclose(grads["b"], -sigmoid * (metrics["kl"] - C), rtol=1e-5)
  np.testing.assert_allclose(metrics["multiplier"], beta, rtol=1e-6)


def test_the_condition_reaches_both_networks_row_by_row(key):
  y = np.arange(B, dtype=np.float32)[:, None]
  make = partial(vae, **LINEAR, num_samples=3)
  shifted = conditional(
    make,
    lambda params, x, y: encode_fn(params, x - y),
    lambda params, z, y: (decode_fn(params, z)[0] + y, decode_fn(params, z)[1]),
    condition="y",
  )

  @jax.jit
  def run(params, y):
    loss, _ = shifted.objective(params, (), key, {"image": X + y, "y": y})
    expected, _ = make(encode_fn, decode_fn).objective(params, (), key, {"image": X})
    return loss, expected, shifted.given(100 * y[:2]).sample(params, key, 6)

  loss, expected, samples = run(PARAMS, y)
  np.testing.assert_allclose(loss, expected, rtol=1e-5)
  assert (np.abs(samples[:3, 0]) < 20).all() and (np.abs(samples[3:, 0] - 100) < 20).all()
  with pytest.raises(ValueError, match="num_samples must be a multiple of the 2 conditions, got 3"):
    shifted.given(y[:2]).sample(PARAMS, key, 3)


# z_H ~ N(0, 1), z_L = A z_H + S noise, x = W z_L + noise: everything is Gaussian.
A, S, W = 0.8, 0.6, 1.3
NOISE = np.exp(2 * LOG_NOISE)
PRECISION = W**2 / NOISE + 1 / (A**2 + S**2)
PRECISION_HIGH = 1 + A**2 / S**2


def hierarchy(informative=True):
  a = A if informative else 0.0
  high = (A / S**2 / PRECISION_HIGH, -0.5 * np.log(PRECISION_HIGH)) if informative else (0.0, 0.0)
  scale = np.log(S) if informative else 0.0
  return hierarchical_capacitron(
    lambda p, x: (x * W / NOISE / PRECISION, jnp.full_like(x, -0.5 * np.log(PRECISION))),
    lambda p, z: (z * high[0], jnp.full_like(z, high[1])),
    lambda p, z: (z * a, jnp.full_like(z, scale)),
    lambda p, z: (z * W, jnp.float32(LOG_NOISE)),
    lambda p: (p["b"], p["b_high"]),
    capacity=2.0,
    capacity_high=0.5,
    latent_dim_high=1,
    **LINEAR,
  )


def test_hierarchy_is_exact_on_a_gaussian_chain(key):
  chain = hierarchy()

  @jax.jit
  def run(key):
    bounds = jax.vmap(lambda key: chain.bound({}, key, X).elbo)(jax.random.split(key, 500))
    return chain.log_weights({}, key, X, num_samples=5), bounds, chain.sample({}, key, 20000)

  log_w, bounds, x = run(key)
  evidence = stats.norm.logpdf(X[:, 0], 0, np.sqrt(W**2 * (A**2 + S**2) + NOISE))
  np.testing.assert_allclose(log_w, np.broadcast_to(evidence, (5, B)), rtol=1e-4)
  error = bounds.std(0) / 500**0.5
  assert (np.abs(bounds.mean(0) - evidence) < 5 * error + 1e-4).all()
  np.testing.assert_allclose(x.std(), W * np.sqrt(A**2 + S**2), rtol=0.03)


def test_hierarchy_with_an_idle_upper_level_is_the_plain_model(key):
  params = {"b": jnp.array(0.3), "b_high": jnp.array(-0.4)}
  idle = hierarchy(False)

  @jax.jit
  def run(params, x):
    grads, (_, metrics) = jax.grad(idle.objective, has_aux=True)(params, (), key, {"image": x})
    mean, log_scale = idle.encode(params, x)
    return (
      grads,
      metrics,
      mean,
      log_scale,
      gaussian.sample(jax.random.split(key)[0], mean, log_scale),
    )

  grads, metrics, mean, log_scale, low = run(params, X)
  kl = stats.norm.logpdf(low, mean, np.exp(log_scale)) - stats.norm.logpdf(low)
  kl = kl.mean()
  np.testing.assert_allclose([metrics["kl"], metrics["kl_high"]], [kl, 0], rtol=1e-4, atol=1e-6)
  np.testing.assert_allclose(grads["b"], -jax.nn.sigmoid(0.3) * (kl - 1.5), rtol=1e-4)
  np.testing.assert_allclose(grads["b_high"], jax.nn.sigmoid(-0.4) * 0.5, rtol=1e-5)


def test_bad_capacities():
  with pytest.raises(ValueError, match="capacity must be in"):
    capacitron(encode_fn, decode_fn, lambda p: p, capacity=-1.0, latent_dim=1)
  with pytest.raises(ValueError, match="capacity_high must be in"):
    hierarchical_capacitron(
      *[encode_fn] * 4,
      lambda p: p,
      capacity=1.0,
      capacity_high=2.0,
      latent_dim=1,
      latent_dim_high=1,
    )
