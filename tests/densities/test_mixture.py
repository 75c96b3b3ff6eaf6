"""Gaussian mixture against scipy's densities, component by component."""

import battery
import jax
import jax.numpy as jnp
import numpy as np
from contract import check_kernel
from jax.sharding import PartitionSpec as P
from scipy import special, stats

from latentjax.densities import gaussian, mixture

LOG_PROB = jax.jit(mixture.log_prob, static_argnames="event_ndim")
B, M, D = 8, 4, 3
RNG = np.random.default_rng(0)
X = RNG.standard_normal((B, D))
LOGITS = RNG.standard_normal((B, M))
MEAN, LOG_SCALE = RNG.standard_normal((2, B, M, D))
WIDE, NARROW = np.full((B, M, D), 40.0), np.full((B, M, D), -40.0)
SURE = np.where(RNG.integers(0, 2, (B, M)), 1e4, -1e4)


def joint(x, logits, mean, log_scale):
  p = stats.norm.pdf(x[:, None], mean, np.exp(log_scale)).prod(2)
  return special.softmax(logits, 1) * p


def bad(verb_has_event_ndim):
  event = [((X, LOGITS, MEAN, LOG_SCALE), {"event_ndim": 0}, ValueError, "event_ndim must be at")]
  return [
    ((X, LOGITS[:, :2], MEAN, LOG_SCALE), {}, ValueError, "logits must have 4 components"),
    ((X, LOGITS, MEAN, LOG_SCALE[..., :1]), {}, ValueError, "log_scale must have trailing axes"),
    ((X[:, :2], LOGITS, MEAN, LOG_SCALE), {}, ValueError, "x must have 3 dimensions"),
    ((X[:4], LOGITS, MEAN, LOG_SCALE), {}, ValueError, "x without its last axis .*equal shapes"),
    ((X.astype(int), LOGITS, MEAN, LOG_SCALE), {}, TypeError, "x must be a floating point"),
  ] + (event if verb_has_event_ndim else [])


def test_log_prob():
  check_kernel(
    LOG_PROB,
    (X, LOGITS, MEAN, LOG_SCALE),
    oracle=lambda *args: np.log(joint(*args).sum(1)),
    extreme=[(X, SURE, MEAN, LOG_SCALE), (X, LOGITS, MEAN, WIDE), (X, LOGITS, MEAN, NARROW)],
    bad_inputs=bad(True),
  )


def test_responsibilities():
  check_kernel(
    jax.jit(mixture.responsibilities),
    (X, LOGITS, MEAN, LOG_SCALE),
    oracle=lambda *args: joint(*args) / joint(*args).sum(1, keepdims=True),
    extreme=[(X, SURE, MEAN, LOG_SCALE), (X, LOGITS, MEAN, WIDE), (X, LOGITS, MEAN, NARROW)],
    bad_inputs=bad(False),
  )


def test_one_mixture_as_the_prior_of_a_batch_of_samples():
  z = RNG.standard_normal((2, B, D))
  got = LOG_PROB(z, LOGITS[0], MEAN[0], LOG_SCALE[0])
  shared = [np.broadcast_to(p[0], p.shape) for p in (LOGITS, MEAN, LOG_SCALE)]
  expected = [np.log(joint(points, *shared).sum(1)) for points in z]
  np.testing.assert_allclose(got, expected, rtol=1e-5)
  got = LOG_PROB(z, LOGITS[0], MEAN[0], LOG_SCALE[0], event_ndim=2)
  np.testing.assert_allclose(got, np.sum(expected, 1), rtol=1e-5)
  one = LOG_PROB(X, LOGITS[:, :1], MEAN[:, :1], LOG_SCALE[:, :1])
  np.testing.assert_allclose(one, gaussian.log_prob(X, MEAN[:, 0], LOG_SCALE[:, 0]), rtol=1e-5)


def test_memory_is_that_of_components_and_not_of_dimensions():
  """Value and gradient of 1,000 points, 50 components and 40 dimensions, of 8 MB if all were kept."""
  shapes = ((1000, 40), (50,), (50, 40), (50, 40))
  args = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
  total = lambda *args: mixture.log_prob(*args).sum()
  compiled = jax.jit(jax.value_and_grad(total, (0, 1, 2, 3))).lower(*args).compile()
  assert compiled.memory_analysis().temp_size_in_bytes < 3e6


def test_one_mixture_for_the_rows_of_several_devices():
  specs = (P("devices"), P(), P(), P())
  battery.check_per_device(mixture.log_prob, X, LOGITS[0], MEAN[0], LOG_SCALE[0], specs=specs)


def test_samples_and_their_gradient():
  params = tuple(
    jnp.tile(jnp.float32(p[:B]), (1000, *[1] * (p.ndim - 1))) for p in (LOGITS, MEAN, LOG_SCALE)
  )

  def total(*params):
    z = mixture.sample(jax.random.key(1), *params, num_samples=2)
    return z.sum(), z

  (d_logits, d_mean, _), z = jax.jit(jax.grad(total, (0, 1, 2), has_aux=True))(*params)
  weights = special.softmax(LOGITS, 1)[..., None]
  mean = (weights * MEAN).sum(1)
  variance = (weights * (MEAN**2 + np.exp(2 * LOG_SCALE))).sum(1) - mean**2
  draws = np.reshape(z, (2000, B, D))
  assert np.abs((draws.mean(0) - mean) / np.sqrt(variance / 2000)).max() < 4.5
  np.testing.assert_allclose(draws.var(0), variance, rtol=0.4)
  np.testing.assert_allclose(mixture.mean(LOGITS, MEAN, LOG_SCALE), mean, rtol=1e-5)
  assert not d_logits.any()
  # Each draw moves with its own component's mean: frequencies of the components.
  np.testing.assert_allclose(
    np.reshape(d_mean, (1000, B, M, D)).mean(0) / 2, weights + 0 * MEAN, atol=0.05
  )
  battery.check_rows(mixture.sample, params, z)
