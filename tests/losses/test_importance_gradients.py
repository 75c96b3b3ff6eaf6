"""Sticking the landing and DReG: exact means and variances of the gradients by quadrature."""

import jax
import jax.numpy as jnp
import linear_gaussian
import numpy as np
import pytest
from contract import check_kernel
from scipy import special

from latentjax.densities import gaussian
from latentjax.losses import importance, routing

K, B, Z = 3, 8, 2
RNG = np.random.default_rng(0)
SAMPLES, MEAN, LOG_SCALE = RNG.standard_normal((K, B, Z)), *RNG.standard_normal((2, B, Z))
TARGET = 0.7


def log_q_fn(z, params):
  return gaussian.log_prob(z, *params)


def log_joint_fn(z):
  return -0.5 * jnp.sum((z - TARGET) ** 2, -1)


def oracle_log_w(z, mean, log_scale):
  log_q = -0.5 * ((z - mean) / np.exp(log_scale)) ** 2 - log_scale - 0.5 * np.log(2 * np.pi)
  return (-0.5 * (z - TARGET) ** 2 - log_q).sum(-1)


LOG_W_OF_SAMPLES = oracle_log_w(SAMPLES, MEAN, LOG_SCALE)
WEIGHTS = special.softmax(LOG_W_OF_SAMPLES, axis=0)


def path_surrogate(coefficients):
  """Log weights with fixed coefficients and q fixed, a function of the samples alone."""

  def surrogate(z, *_):
    fixed = [jnp.asarray(array, z.dtype) for array in (coefficients, MEAN, LOG_SCALE)]
    return jnp.sum(fixed[0] * (log_joint_fn(z) - log_q_fn(z, fixed[1:])), axis=0)

  return surrogate


@pytest.mark.parametrize(
  ("bound", "reduce", "coefficients"),
  [
    (importance.stl_bound, lambda log_w: log_w.mean(0), np.full((K, B), 1 / K)),
    (importance.dreg_bound, lambda log_w: np.log(np.exp(log_w).mean(0)), WEIGHTS**2),
  ],
)
def test_bound(bound, reduce, coefficients):
  check_kernel(
    lambda z, mean, log_scale: bound(z, (mean, log_scale), log_joint_fn, log_q_fn),
    (SAMPLES, MEAN, LOG_SCALE),
    detached=(1, 2),
    surrogate=path_surrogate(coefficients),
    oracle=lambda *args: reduce(oracle_log_w(*args)),
    batch_axes=(1, 0, 0),
    extreme=[(1e3 * SAMPLES, MEAN, LOG_SCALE), (SAMPLES, MEAN, 0 * LOG_SCALE + 40)],
    bad_inputs=[
      ((SAMPLES.astype(int), MEAN, LOG_SCALE), {}, TypeError, "z must be a floating point"),
      ((SAMPLES[0], MEAN, LOG_SCALE), {}, ValueError, "z must have 3 axes"),
    ],
  )


def test_log_weights_of_a_wrong_shape():
  with pytest.raises(
    ValueError, match=r"log_joint_fn\(z\) must have shape \(3, 8\), got \(3, 8, 2\)"
  ):
    importance.stl_bound(SAMPLES, (MEAN, LOG_SCALE), lambda z: z, log_q_fn)


def gradients(bound, model, num_samples):
  """Gradient of every noise draw with respect to (mean, log_scale) of q and to w, and its weight."""
  eps, weights = linear_gaussian.noise_quadrature(num_samples)
  mean, log_scale = model.mean[:1, None], np.full((1, 1), np.log(model.scale))

  def value(params, eps):
    mean, log_scale, w = params
    z = mean + jnp.exp(log_scale) * eps[:, None, None]

    def log_joint(z):
      return gaussian.log_prob(model.x[:1], z * w, jnp.log(model.noise)) + gaussian.log_prob(
        z, 0.0, 0.0
      )

    return bound(z, (mean, log_scale), log_joint, log_q_fn).sum()

  with jax.enable_x64(True):
    grads = jax.jit(jax.vmap(jax.grad(value), in_axes=(None, 0)))((mean, log_scale, model.w), eps.T)
  return [np.asarray(grad).reshape(len(weights), -1) for grad in grads], weights


def plain_elbo(z, q_params, log_joint_fn, log_q_fn):
  return jnp.mean(log_joint_fn(z) - log_q_fn(z, q_params), axis=0)


def plain_iwae(z, q_params, log_joint_fn, log_q_fn):
  return importance.iwae_bound(log_joint_fn(z) - log_q_fn(z, q_params))


@pytest.mark.parametrize(
  ("bound", "plain", "num_samples"),
  [
    (importance.stl_bound, plain_elbo, 1),
    (importance.dreg_bound, plain_iwae, 1),
    (importance.dreg_bound, plain_iwae, 3),
  ],
)
def test_unbiased_and_less_variance(bound, plain, num_samples):
  model = linear_gaussian.make(scale=0.9, shift=0.2)
  (*got, got_w), weights = gradients(bound, model, num_samples)
  (*expected, expected_w), _ = gradients(plain, model, num_samples)
  np.testing.assert_allclose(got_w, expected_w, rtol=1e-10)
  for a, b in zip(got, expected):
    # Limited by the quadrature of the plain gradient; a missing term would show in the first digit.
    np.testing.assert_allclose(weights @ a, weights @ b, rtol=1e-4)
    variances = [weights @ np.square(grad - weights @ grad) for grad in (a, b)]
    assert (variances[0] < 0.5 * variances[1]).all()


def test_exact_posterior_has_no_gradient_noise():
  model = linear_gaussian.make(scale=1.0, shift=0.0)
  for bound in (importance.stl_bound, importance.dreg_bound):
    (grad_mean, grad_log_scale, _), _ = gradients(bound, model, 2)
    np.testing.assert_allclose(grad_mean, 0, atol=1e-10)
    np.testing.assert_allclose(grad_log_scale, 0, atol=1e-10)
  assert np.abs(gradients(plain_iwae, model, 2)[0][0]).max() > 0.1


def test_sticking_the_landing_inside_iwae_is_biased():
  """Why `dreg_bound` exists: dropping the score alone is wrong for more than one sample."""

  def naive(z, q_params, log_joint_fn, log_q_fn):
    return plain_iwae(z, jax.lax.stop_gradient(q_params), log_joint_fn, log_q_fn)

  model = linear_gaussian.make(scale=0.9, shift=0.2)
  (got, *_), weights = gradients(naive, model, 3)
  (expected, *_), _ = gradients(plain_iwae, model, 3)
  assert np.abs(weights @ got / (weights @ expected) - 1).min() > 0.1


def test_scale_gradient():
  scale = np.linspace(-1, 1, B)[:, None]
  check_kernel(
    routing.scale_gradient,
    (MEAN, scale),
    detached=(1,),
    surrogate=lambda x, _: x * jnp.asarray(scale, x.dtype),
    oracle=lambda x, _: x,
    extreme=[(1e30 * MEAN, scale)],
    bad_inputs=[
      ((MEAN.astype(int), scale), {}, TypeError, "x must be a floating point"),
      ((MEAN, scale[:, 0]), {}, ValueError, "scale must broadcast to the shape \\(8, 2\\) of x"),
      ((MEAN[0], scale), {}, ValueError, "scale must broadcast to the shape"),
    ],
  )


def test_forward_pass_of_dreg_is_evaluated_once():
  w = RNG.standard_normal((Z, 64))

  def loss(z):
    log_joint = lambda z: jnp.sum(jnp.tanh(z @ w), -1)
    return importance.dreg_bound(z, (MEAN, LOG_SCALE), log_joint, log_q_fn).sum()

  compiled = jax.jit(loss).lower(jnp.asarray(SAMPLES)).compile()
  assert compiled.as_text().count(" dot(") == 1
