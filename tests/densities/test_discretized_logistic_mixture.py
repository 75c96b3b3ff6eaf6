"""The PixelCNN++ likelihood against sigmoid differences in float64 and by enumeration of pixels."""

from functools import partial

import battery
import jax
import jax.numpy as jnp
import numpy as np
from contract import check_kernel
from scipy import special, stats

from latentjax.densities import discretized_logistic
from latentjax.densities import discretized_logistic_mixture as mixture

B, M, C = 8, 2, 3
RNG = np.random.default_rng(0)
X = RNG.integers(0, 256, (B, C)) / 255
X[0], X[1] = 0, 1
LOGITS = RNG.standard_normal((B, M))
MEAN = RNG.uniform(0, 1, (B, M, C))
LOG_SCALE = RNG.uniform(-4, -1, (B, M, C))
COEFFS = 0.5 * RNG.standard_normal((B, M, C * (C - 1) // 2))
PARAMS = (LOGITS, MEAN, LOG_SCALE, COEFFS)


def transcription(x, logits, mean, log_scale, coeffs, top=255):
  """Eq. 2 and 3 written out for red, green and blue."""
  a, b, c = np.moveaxis(coeffs, -1, 0)
  red, green = x[:, None, 0], x[:, None, 1]
  mean = np.stack([mean[..., 0], mean[..., 1] + a * red, mean[..., 2] + b * red + c * green], -1)
  upper = np.where(x == 1, np.inf, x + 0.5 / top)[:, None]
  lower = np.where(x == 0, -np.inf, x - 0.5 / top)[:, None]
  cdf = stats.logistic(mean, np.exp(log_scale)).cdf
  return np.log((special.softmax(logits, 1) * (cdf(upper) - cdf(lower)).prod(-1)).sum(1))


def test_log_prob():
  check_kernel(
    jax.jit(mixture.log_prob, static_argnames=("event_ndim", "num_values")),
    (X, *PARAMS),
    oracle=transcription,
    detached=(0,),
    rtol=1e-4,  # float64 cancels in the transcription's tails, not in the kernel
    bfloat16=False,  # pixels of 256 values do not fit
    extreme=[(X, LOGITS, MEAN, np.full_like(MEAN, s), COEFFS) for s in (40, -40)],
    bad_inputs=[
      ((X[:, :2], *PARAMS), {}, ValueError, "x must have 3 channels"),
      ((X, LOGITS[:, :1], *PARAMS[1:]), {}, ValueError, "logits must have 2 components"),
      (
        (X, *PARAMS[:3], COEFFS[..., :2]),
        {},
        ValueError,
        "coeffs must have trailing axes \\(2, 3\\)",
      ),
      ((X, *PARAMS), {"num_values": 1}, ValueError, "num_values must be at least 2"),
      ((X, *PARAMS), {"event_ndim": 0}, ValueError, "event_ndim must be at least 1"),
      ((X[:4], *PARAMS), {}, ValueError, "x without channels.*equal shapes"),
    ],
  )


def pixels(num_values):
  return np.array(list(np.ndindex(*(num_values,) * C))) / (num_values - 1)


def test_all_pixels_sum_to_one_and_samples_follow_them():
  num_values = 4
  x = jnp.asarray(pixels(num_values), jnp.float32)
  params = [jnp.asarray(p[0], jnp.float32) for p in PARAMS]
  params[2] += 1.5
  log_p = jax.jit(partial(mixture.log_prob, num_values=num_values))(x, *params)
  p = np.exp(np.asarray(log_p, float))
  np.testing.assert_allclose(p.sum(), 1, rtol=1e-5)
  rows = [jnp.tile(p, (4000, *[1] * p.ndim)) for p in params]
  draw = jax.jit(
    partial(mixture.sample, num_values=num_values), static_argnames=("num_samples", "axis_name")
  )
  z = draw(jax.random.key(1), *rows, num_samples=2)
  index = np.rint(np.asarray(z) * (num_values - 1)).astype(int)
  counts = np.bincount(
    np.ravel_multi_index(np.moveaxis(index, -1, 0), (num_values,) * C).ravel(), minlength=len(p)
  )
  assert (np.abs(counts / 8000 - p) < 4.5 * np.sqrt(p / 8000) + 4 / 8000).all()
  battery.check_rows(draw, rows, z)


def test_one_channel_and_one_component_is_the_discretized_logistic():
  x, mean, log_scale = X[:, :1], MEAN[:, :1, :1], LOG_SCALE[:, :1, :1]
  got = mixture.log_prob(x, np.zeros((B, 1)), mean, log_scale, np.zeros((B, 1, 0)))
  expected = discretized_logistic.log_prob(x, mean[:, 0], log_scale[:, 0])
  np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_images_with_several_decoders_samples():
  """The shapes a VAE asks for: x (B, 1, H, W, C) against parameters (B, K, H, W, ...)."""
  x = np.broadcast_to(X[:, None, None, None], (B, 1, 2, 2, C))
  params = [np.broadcast_to(p[:, None, None, None], (B, 5, 2, 2, *p.shape[1:])) for p in PARAMS]
  got = jax.jit(partial(mixture.log_prob, event_ndim=3))(x, *params)
  once = transcription(X, *PARAMS)
  np.testing.assert_allclose(got, np.broadcast_to(4 * once[:, None], (B, 5)), rtol=1e-4)


def test_extreme_samples_are_pixels():
  params = [jnp.asarray(p, jnp.float32) for p in PARAMS]
  scales = jnp.where(jnp.arange(B)[:, None, None] % 2, 40.0, -40.0) + 0 * params[2]
  z = jax.jit(mixture.sample)(jax.random.key(0), *params[:2], scales, params[3])
  np.testing.assert_allclose(z, np.rint(np.asarray(z) * 255) / 255, rtol=1e-6)
