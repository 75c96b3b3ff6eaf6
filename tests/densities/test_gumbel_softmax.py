"""Relaxed one-hot samples and their density on the simplex."""

from functools import partial

import battery
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import check_kernel
from scipy import special

from latentjax.densities import categorical, gumbel_softmax

B, C = 8, 4
RNG = np.random.default_rng(0)
LOGITS = RNG.standard_normal((B, C))
Y = RNG.dirichlet(np.ones(C), B)
TAU = 0.7
BAD = [
  ((Y, LOGITS), {"temperature": 0.0}, ValueError, "temperature must be in"),
  ((Y, LOGITS), {"event_ndim": 0}, ValueError, "event_ndim must be at least 1"),
  ((Y, LOGITS[:, :2]), {}, ValueError, "y and logits must have equal shapes"),
  ((Y.astype(int), LOGITS), {}, TypeError, "y must be a floating point array"),
]


def concrete(y, logits, temperature):
  """The density in the form of Maddison et al., eq. 10."""
  ratio = special.softmax(logits, 1) * y ** (-temperature - 1)
  total = (special.softmax(logits, 1) * y**-temperature).sum(1, keepdims=True)
  density = special.factorial(C - 1) * temperature ** (C - 1) * (ratio / total).prod(1)
  return np.log(density)


def test_log_prob():
  corner = np.eye(C)[RNG.integers(0, C, B)]
  check_kernel(
    battery.jit(gumbel_softmax.log_prob),
    (Y, LOGITS),
    kwargs={"temperature": TAU},
    oracle=concrete,
    extreme=[(Y, 1e4 * np.sign(LOGITS)), (np.maximum(corner, 1e-30), LOGITS)],
    bad_inputs=BAD,
  )


def test_log_prob_of_log():
  """The change of variables y = exp(log y) has the Jacobian product of y, a density over log y."""
  check_kernel(
    battery.jit(gumbel_softmax.log_prob_of_log),
    (np.log(Y), LOGITS),
    kwargs={"temperature": TAU},
    oracle=lambda log_y, logits, temperature: (
      concrete(np.exp(log_y), logits, temperature) + log_y.sum(1)
    ),
    extreme=[(-1e4 * Y, LOGITS), (np.log(Y), 1e4 * np.sign(LOGITS))],
    bad_inputs=[((Y, LOGITS), {"temperature": -1.0}, ValueError, "temperature must be in")],
  )


@pytest.mark.parametrize("temperature", [0.5, 1.5])
def test_density_integrates_to_one_over_the_triangle(temperature):
  # Logits of the two free coordinates as integration variables: smooth, and the corners go to infinity.
  u = np.linspace(-40, 40, 801)
  a, b = (grid.ravel() for grid in np.meshgrid(u, u))
  log_y = special.log_softmax(np.stack([a, b, 0 * a], 1), axis=1)
  # In these coordinates the density of log y is the density itself: dy1 dy2 = y1 y2 y3 da db.
  log_p = gumbel_softmax.log_prob_of_log(
    log_y, jnp.array([0.3, -1.0, 0.5]), temperature=temperature
  )
  np.testing.assert_allclose(np.exp(np.asarray(log_p, float)).sum() * 0.01, 1, rtol=1e-4)


@pytest.mark.parametrize("temperature", [0.1, 2.0])
def test_largest_element_is_a_categorical_sample(key, temperature):
  logits = jnp.asarray(LOGITS[:1], jnp.float32)
  y = gumbel_softmax.sample(key, logits, temperature=temperature, num_samples=8000)
  np.testing.assert_allclose(y.sum(-1), 1, rtol=1e-5)
  frequencies = np.bincount(np.argmax(y, -1).ravel(), minlength=C) / 8000
  p = special.softmax(LOGITS[0])
  assert (np.abs(frequencies - p) < 4.5 * np.sqrt(p * (1 - p) / 8000)).all()
  np.testing.assert_allclose(gumbel_softmax.mean(logits)[0], p, rtol=1e-6)
  np.testing.assert_array_equal(gumbel_softmax.mean(logits), categorical.mean(logits))


def test_sample():
  sample = partial(gumbel_softmax.sample, temperature=TAU)
  check_kernel(
    battery.jit(sample),
    (LOGITS,),
    key=jax.random.key(0),
    extreme=[(1e4 * np.sign(LOGITS),)],
    bad_inputs=[
      ((LOGITS,), {"temperature": 0}, ValueError, "temperature must be in"),
      ((1.0,), {}, ValueError, "logits must have the classes on its last axis"),
    ],
  )
  params = (jnp.tile(jnp.asarray(LOGITS, jnp.float32), (2, 1)),)
  battery.check_rows(sample, params, sample(jax.random.key(1), *params, num_samples=2))


def test_straight_through_is_one_hot_with_the_relaxed_gradient(key):
  logits = jnp.asarray(LOGITS, jnp.float32)
  weights = RNG.standard_normal((B, C))
  run = lambda hard: jax.value_and_grad(
    lambda a: (weights * gumbel_softmax.sample(key, a, temperature=TAU, hard=hard)).sum()
  )(logits)
  soft = gumbel_softmax.sample(key, logits, temperature=TAU)
  hard = gumbel_softmax.sample(key, logits, temperature=TAU, hard=True)
  np.testing.assert_array_equal(hard, np.eye(C)[np.argmax(soft, -1)])
  np.testing.assert_array_equal(run(True)[1], run(False)[1])
  assert np.any(run(False)[1])


def test_logarithms_stay_finite_at_low_temperatures(key):
  logits, temperature = jnp.asarray(LOGITS, jnp.float32), jnp.float32(1e-3)
  y = gumbel_softmax.sample(key, logits, temperature=temperature)
  log_y = gumbel_softmax.log_sample(key, logits, temperature=temperature)
  assert (y == 0).any() and np.isfinite(log_y).all()
  np.testing.assert_allclose(np.exp(log_y), y, atol=1e-6)
  # At log y = (l + g) / tau - const the scores are -g: the log-density of the noise itself.
  log_p = jax.value_and_grad(
    lambda a: gumbel_softmax.log_prob_of_log(log_y, a, temperature=temperature).sum()
  )(logits)
  assert all(np.isfinite(leaf).all() for leaf in log_p)


def test_divergence_from_uniform_of_the_categorical():
  p = special.softmax(LOGITS, 1)
  expected = special.rel_entr(p, 1 / C).sum(1)
  check_kernel(
    partial(categorical.kl_uniform, event_ndim=0),
    (LOGITS,),
    oracle=lambda logits: expected,
    extreme=[(1e4 * np.sign(LOGITS),)],
    bad_inputs=[((LOGITS,), {"event_ndim": 2}, ValueError, "event_ndim must be in")],
  )
