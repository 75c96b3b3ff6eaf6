"""Gradient Origin Networks: the closed form of a linear one, and derivatives of a curved one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from latentjax.densities import gaussian
from latentjax.objectives import gradient_origin

B, D, Z = 6, 5, 2
RNG = np.random.default_rng(0)
X = RNG.standard_normal((B, D))
PARAMS = {"w": 0.5 * RNG.standard_normal((D, Z)), "b": 0.1 * RNG.standard_normal(D)}
LOG_TWO_PI = np.log(2 * np.pi)


def linear(params, z):
  return z @ params["w"].T + params["b"], jnp.zeros((), z.dtype)


def curved(params, z):
  mean, log_scale = linear(params, jax.nn.elu(z) + 0.3 * z**2)
  return jnp.tanh(mean), log_scale


def run(decode_fn, params, **kwargs):
  model = gradient_origin(decode_fn, latent_dim=Z, likelihood=gaussian, **kwargs)
  objective = lambda p: model.objective(
    p, jnp.ones(()), jax.random.key(0), {"image": jnp.asarray(X)}
  )
  answer = jax.jit(jax.value_and_grad(objective, has_aux=True))(params)
  return model, jax.tree.map(np.asarray, answer)


@pytest.mark.parametrize("step_size", [1.0, 0.3])
def test_linear_network(step_size):
  """z = eta W'(x - b); the loss and its gradient are those of the linear map eta W W'."""

  def closed_form(params):
    centred = X - params["b"]
    rest = centred - step_size * centred @ params["w"] @ params["w"].T
    return 0.5 * (rest**2).sum() / B + 0.5 * D * LOG_TWO_PI

  with jax.enable_x64(True):
    model, ((loss, (state, metrics)), grads) = run(linear, PARAMS, step_size=step_size)
    z = jax.jit(model.encode)(PARAMS, X)
    decoded = jax.jit(model.decode)(PARAMS, z)
    expected, expected_grads = jax.tree.map(
      np.asarray, jax.jit(jax.value_and_grad(closed_form))(PARAMS)
    )
  z = np.asarray(z)
  np.testing.assert_allclose(z, step_size * (X - PARAMS["b"]) @ PARAMS["w"], rtol=1e-10)
  np.testing.assert_allclose(loss, expected, rtol=1e-10)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9), grads, expected_grads)
  np.testing.assert_allclose(decoded, z @ PARAMS["w"].T + PARAMS["b"], rtol=1e-6)
  assert state == 1
  np.testing.assert_allclose(metrics["log_likelihood"], -loss, rtol=1e-6)
  origin = -0.5 * ((X - PARAMS["b"]) ** 2).sum() / B - 0.5 * D * LOG_TWO_PI
  np.testing.assert_allclose(metrics["log_likelihood_origin"], origin, rtol=1e-6)


def test_gradient_passes_through_the_latents():
  """Finite differences of the whole, and a difference from the gradient at fixed latents."""
  model = gradient_origin(curved, latent_dim=Z, likelihood=gaussian)
  loss = lambda p: model.objective(p, (), jax.random.key(0), {"image": jnp.asarray(X)})[0]
  direction = jax.tree.map(lambda leaf: RNG.standard_normal(leaf.shape), PARAMS)

  @jax.jit
  def run(params, direction):
    ends = [loss(jax.tree.map(lambda p, d: p + h * d, params, direction)) for h in (1e-5, -1e-5)]  # noqa: B023
    z = model.encode(params, jnp.asarray(X))
    fixed = jax.grad(lambda p: -gaussian.log_prob(jnp.asarray(X), *curved(p, z)).mean())(params)
    return jax.grad(loss)(params), ends[0] - ends[1], fixed

  with jax.enable_x64(True):
    grads, difference, fixed = jax.tree.map(np.asarray, run(PARAMS, direction))
  slope = sum(jax.tree.leaves(jax.tree.map(lambda g, d: (g * d).sum(), grads, direction)))
  np.testing.assert_allclose(difference / 2e-5, slope, rtol=1e-6)
  assert not np.allclose(grads["w"], fixed["w"], rtol=0.1)


def test_an_example_does_not_see_the_others():
  with jax.enable_x64(True):
    encode = jax.jit(gradient_origin(curved, latent_dim=Z, likelihood=gaussian).encode)
    whole = encode(PARAMS, X)
    np.testing.assert_allclose(whole[2:3], encode(PARAMS, X[2:3]), rtol=1e-12)


def test_bad_arguments():
  with pytest.raises(ValueError, match="latent_dim must be a positive integer"):
    gradient_origin(linear, latent_dim=0)
  with pytest.raises(ValueError, match="step_size must be in"):
    gradient_origin(linear, latent_dim=Z, step_size=0.0)
