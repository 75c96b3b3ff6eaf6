"""Solvers of inverse problems against the exact posteriors of normal data."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import AXIS, check_kernel, fast_jit
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from latentjax.diffusion import inverse, processes, samplers
from latentjax.diffusion.processes.predictions import draw_noise

B, D, M = 8, 3, 2
KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
ROOT = np.array([[1.0, 0.0, 0.0], [0.8, 0.6, 0.0], [0.3, -0.2, 0.5]])
COVARIANCE, MEAN = ROOT @ ROOT.T, np.array([0.5, -1.0, 2.0])
SPREAD, AXES = np.linalg.eigh(COVARIANCE)
A = RNG.standard_normal((M, D))
Y = np.array([1.0, -0.5])
PROCESS = processes.vp_cosine()


def measure(x):
  return x @ jnp.asarray(A, x.dtype).T


def measurement(rows):
  return jnp.broadcast_to(jnp.asarray(Y, jnp.float32), (rows, M))


def denoise(x_t, t):
  """E[x | z_t] in the principal axes."""
  alpha, sigma = PROCESS.alpha(t), PROCESS.sigma(t)
  mean, axes, spread = (jnp.asarray(part, x_t.dtype) for part in (MEAN, AXES, SPREAD))
  shrunk = alpha * spread / (alpha**2 * spread + sigma**2)
  return (mean + (x_t - alpha * mean) @ axes * shrunk @ axes.T).astype(x_t.dtype)


def spread(t, prior):
  """Variance of z_t for data N(0, prior^2 I)."""
  return jnp.square(PROCESS.alpha(t) * prior) + jnp.square(PROCESS.sigma(t))


def exact_posterior(scale):
  gain = COVARIANCE @ A.T @ np.linalg.inv(A @ COVARIANCE @ A.T + scale**2 * np.eye(M))
  return MEAN + gain @ (Y - A @ MEAN), COVARIANCE - gain @ A @ COVARIANCE


def test_hard_data_consistency():
  """The nearest solution by the pseudo-inverse; a curved measurement is fitted; a tolerance is kept."""
  x = RNG.standard_normal((B, D)).astype(np.float32)
  solve = partial(inverse.hard_data_consistency, measure)
  expected = x + (Y - x @ A.T) @ np.linalg.pinv(A).T
  found = fast_jit(partial(solve, num_steps=4))(x, measurement(B))
  np.testing.assert_allclose(found, expected, atol=1e-5)
  bent = lambda x: jnp.tanh(x @ A.T) + 0.1 * x[:, :M]
  goal = bent(RNG.standard_normal((B, D)))

  def curved(x):
    loose = inverse.hard_data_consistency(bent, x, goal, num_steps=40, tolerance=0.1)
    return [
      jnp.linalg.norm(bent(v) - goal, axis=1)
      for v in (x, loose, inverse.hard_data_consistency(bent, x, goal, num_steps=40))
    ]

  before, loose, after = fast_jit(curved)(x)
  assert np.all(loose <= 0.1) and np.all(after <= 1e-3), (loose, after)
  np.testing.assert_array_equal(before < 0.1, np.isclose(loose, before))


def test_posterior_denoiser():
  """Exact where Cov(x | z_t) is a multiple of I; with the noise alone, what the docstring says it is."""
  axis, scale, prior = np.eye(D)[:M], 0.3, 0.7
  x_t, t = RNG.standard_normal((B, D)), 0.4
  alpha, sigma = float(PROCESS.alpha(t)), float(PROCESS.sigma(t))
  plain = lambda x, t: PROCESS.alpha(t) * prior**2 * x / spread(t, prior)
  left = lambda t: jnp.square(PROCESS.sigma(t) * prior) / spread(t, prior)  # Cov(x | z_t)
  given = partial(inverse.posterior_denoiser, process=PROCESS)
  y = jnp.asarray(np.broadcast_to(Y, (B, M)))
  with jax.enable_x64(True):
    full = lambda t: jnp.sqrt(scale**2 + left(t))
    exact = fast_jit(given(plain, lambda x: x @ axis.T, y, noise_scale=full))(x_t, t)
    biased = fast_jit(given(denoise, measure, y, noise_scale=scale))(x_t, t)
  joint = np.linalg.inv(
    np.eye(D) / prior**2 + axis.T @ axis / scale**2 + alpha**2 / sigma**2 * np.eye(D)
  )
  expected = (Y @ axis / scale**2 + alpha / sigma**2 * x_t) @ joint
  np.testing.assert_allclose(exact, expected, rtol=1e-6)
  noisy = alpha**2 * COVARIANCE + sigma**2 * np.eye(D)
  slope = alpha * COVARIANCE @ np.linalg.inv(noisy)
  x0 = MEAN + (x_t - alpha * MEAN) @ slope.T
  shift = sigma**2 / alpha * (Y - x0 @ A.T) @ A @ slope / scale**2
  np.testing.assert_allclose(biased, x0 + shift, rtol=1e-6)


def test_posterior_samples_and_steps_of_dps():
  """Samples given y, where the likelihood is exact; DPS's own steps, one by one, in numpy."""
  axis, scale, prior = np.eye(D)[:1], 0.3, 0.7
  rows, times = 4000, jnp.linspace(0.99, 0.0, 101)
  levels = lambda t: np.float64([PROCESS.alpha(t), PROCESS.sigma(t)])
  plain = lambda x, t: PROCESS.alpha(t) * prior**2 * x / spread(t, prior)
  full = lambda t: jnp.sqrt(scale**2 + jnp.square(PROCESS.sigma(t) * prior) / spread(t, prior))
  y = jnp.full((rows, 1), 1.2)
  x = jax.random.normal(KEY, (rows, D))
  given = inverse.posterior_denoiser(
    plain, lambda x: x @ axis.T, y, process=PROCESS, noise_scale=full
  )
  short = jnp.array([0.8, 0.5, 0.2, 0.0])

  def both(x, y):
    posterior = samplers.ddpm(KEY, given, x, process=PROCESS, times=times)
    steps = {"process": PROCESS, "times": short, "step_size": 0.4, "eta": 0.0}
    return posterior, inverse.dps(KEY, denoise, measure, x[:B], y, **steps)

  posterior, stepped = fast_jit(both)(x, measurement(B))
  gain = prior**2 / (prior**2 + scale**2)
  np.testing.assert_allclose(posterior.mean(0), [1.2 * gain, 0, 0], atol=0.04)
  deviation = prior * np.array([np.sqrt(1 - gain), 1, 1])
  np.testing.assert_allclose(posterior.std(0), deviation, atol=0.04)
  z = np.float64(x[:B])
  for t, s in itertools.pairwise(short):
    (alpha, sigma), (alpha_s, sigma_s) = levels(t), levels(s)
    slope = alpha * COVARIANCE @ np.linalg.inv(alpha**2 * COVARIANCE + sigma**2 * np.eye(D))
    x0 = MEAN + (z - alpha * MEAN) @ slope.T
    error = Y - x0 @ A.T
    down = -(error / np.linalg.norm(error, axis=1, keepdims=True)) @ A @ slope
    z = alpha_s * x0 + sigma_s / sigma * (z - alpha * x0) - 0.4 * down
  np.testing.assert_allclose(stepped, z, rtol=1e-4, atol=1e-4)


def test_red_diff_loss():
  t, strength, scale = 0.3, 0.6, 0.5
  alpha, sigma = float(PROCESS.alpha(t)), float(PROCESS.sigma(t))
  slope = alpha * COVARIANCE @ np.linalg.inv(alpha**2 * COVARIANCE + sigma**2 * np.eye(D))
  flat = lambda log_snr: jnp.ones_like(log_snr)
  mu, y = RNG.standard_normal((B, D)), RNG.standard_normal((B, M))

  def losses(key, mu, y):
    given = {"process": PROCESS, "strength": strength, "noise_scale": scale}
    call = partial(inverse.red_diff_loss, key, denoise, measure, mu, y, t, **given)
    return call(), call(weighting=flat)

  def oracle(mu, y):
    eps = np.float64(draw_noise(KEY, jnp.zeros((B, D)), None))
    z = alpha * mu + sigma * eps
    eps_hat = (z - alpha * (MEAN + (z - alpha * MEAN) @ slope.T)) / sigma
    pull = strength * np.sum((eps_hat - eps) * mu, axis=1)
    data = np.square(y - mu @ A.T).sum(1) / (2 * scale**2)
    return data + sigma / alpha * pull, data + pull

  def potential(key, mu, y):
    """What the gradient is the gradient of: the denoiser of normal data is linear and symmetric."""
    eps = draw_noise(key, mu, None)
    linear = alpha * slope @ MEAN - MEAN - sigma * eps @ slope
    both = 0.5 * jnp.sum(mu @ (np.eye(D) - alpha * slope) * mu, axis=1) + jnp.sum(
      linear * mu, axis=1
    )
    data = jnp.sum(jnp.square(y - measure(mu)), axis=1) / (2 * scale**2)
    return data + strength * both, data + strength * alpha / sigma * both

  check_kernel(
    losses,
    (mu, y),
    key=KEY,
    oracle=oracle,
    surrogate=potential,
    rtol=1e-4,
    atol=1e-4,
    bad_inputs=[
      ((mu, y[:, :1]), {}, ValueError, "measurement and measured must have the same shape"),
      ((mu.astype(int), y), {}, TypeError, "mu must be a floating"),
    ],
  )


def test_red_diff_ends_at_the_solution_of_a_linear_system():
  """Its stationary point for normal data; rows differ by their noise alone."""
  rows, strength, scale = 256, 0.7, 0.8
  ends = jnp.linspace(0.9, 0.1, 9)
  run = {
    "process": PROCESS,
    "times": jnp.tile(ends, 50),
    "strength": strength,
    "noise_scale": scale,
  }
  solve = fast_jit(
    lambda key, x, rate: inverse.red_diff(
      key, denoise, measure, x, measurement(rows), learning_rate=rate, **run
    )
  )
  # First far, then with small steps, so that Adam's wandering is small too.
  x = solve(KEY, jnp.zeros((rows, D)), 0.1)
  found = solve(jax.random.key(1), x, 0.01).mean(axis=0)
  pull = np.zeros((D, D))
  for t in np.float64(ends):
    alpha, sigma = float(PROCESS.alpha(t)), float(PROCESS.sigma(t))
    pull += sigma**2 * np.linalg.inv(alpha**2 * COVARIANCE + sigma**2 * np.eye(D)) / len(ends)
  precision = A.T @ A / scale**2
  expected = np.linalg.solve(
    precision + strength * pull, A.T @ Y / scale**2 + strength * pull @ MEAN
  )
  posterior = exact_posterior(scale)[0]
  np.testing.assert_allclose(found, expected, atol=0.02)
  assert np.abs(expected - posterior).max() > 0.1  # which is not the posterior's mean


def test_resample():
  """The law of the step back; measured exactly; mean of the posterior where that is the nearest point."""
  rows, t, scale, prior = 4000, 0.6, 0.8, 0.7
  times = jnp.linspace(1.0, 0.0, 61)
  x0, near = jnp.array([[3.0, -1.0, 0.0]]), jnp.array([[-1.0, 2.0, 0.5]])
  wide = lambda v: jnp.broadcast_to(v, (rows, D))
  y = measurement(rows)
  fit = lambda x0, t: inverse.hard_data_consistency(measure, x0, y, num_steps=3)

  def both(x):
    back = inverse.stochastic_resample(KEY, wide(x0), wide(near), t, process=PROCESS, scale=scale)
    plain = lambda x, t: PROCESS.alpha(t) * prior**2 * x / spread(t, prior)
    return back, inverse.resample(KEY, plain, fit, x, process=PROCESS, times=times)

  back, solved = fast_jit(both)(jax.random.normal(KEY, (rows, D)))
  alpha, sigma = float(PROCESS.alpha(t)), float(PROCESS.sigma(t))
  precision = 1 / sigma**2 + 1 / scale**2
  expected = (alpha * np.array(x0[0]) / sigma**2 + np.array(near[0]) / scale**2) / precision
  np.testing.assert_allclose(back.mean(axis=0), expected, atol=4 / np.sqrt(rows * precision))
  np.testing.assert_allclose(back.var(axis=0) * precision, 1, atol=4 * np.sqrt(2 / rows))
  assert 1 / precision < sigma**2
  np.testing.assert_allclose(solved @ A.T, y, atol=1e-3)
  # Data N(0, prior^2 I): the solution of least norm, and the prior's spread where nothing is measured.
  np.testing.assert_allclose(solved.mean(axis=0), np.linalg.pinv(A) @ Y, atol=0.05)
  free = solved @ np.linalg.svd(A)[2][M:].T
  assert 0.3 * prior < free.std() < prior, (
    free.std()
  )  # estimates in the place of samples: less of it


def test_noise_of_a_row_does_not_depend_on_the_devices():
  x, y, times = jax.random.normal(KEY, (8, D)), measurement(8), jnp.linspace(1.0, 0.1, 4)

  def run(x, y, axis_name=None):
    given = {"process": PROCESS, "times": times, "axis_name": axis_name}
    half, fit = lambda x, t: x / 2, lambda x0, t: x0 + y[:, :1]
    return [
      inverse.dps(KEY, half, measure, x, y, **given),
      inverse.red_diff(KEY, half, measure, x, y, **given),
      inverse.resample(KEY, half, fit, x, where=np.array([0, 1, 1]), **given),
    ]

  mesh = Mesh(np.array(jax.devices()[:4]), (AXIS,))
  mapped = jax.shard_map(
    partial(run, axis_name=AXIS), mesh=mesh, in_specs=P(AXIS), out_specs=P(AXIS)
  )
  for a, b in zip(fast_jit(run)(x, y), fast_jit(mapped)(x, y)):
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_bad_input():
  x, y, times = jnp.ones((B, D)), jnp.ones((B, M)), jnp.array([1.0, 0.5])
  run = {"process": PROCESS, "times": times}
  solver = lambda fn, *args, **kwargs: fn(KEY, denoise, *args, **(run | kwargs))
  back = partial(inverse.stochastic_resample, KEY, process=PROCESS)
  for call, error, message in [
    (
      lambda: solver(inverse.dps, measure, x, y, step_size=-1.0),
      ValueError,
      "step_size must be in",
    ),
    (lambda: solver(inverse.dps, measure, x, y[:, :1]), ValueError, "measurement and measured"),
    (
      lambda: solver(inverse.red_diff, measure, x, y, strength=-1.0),
      ValueError,
      "strength must be",
    ),
    (
      lambda: solver(inverse.red_diff, measure, x, y, times=x),
      ValueError,
      "times must have 1 axes",
    ),
    (lambda: solver(inverse.resample, measure, x, gamma=0.0), ValueError, "gamma must be in"),
    (
      lambda: solver(inverse.resample, measure, x, where=y),
      ValueError,
      r"where must have shape \(1,\)",
    ),
    (lambda: back(x, y, 0.5, scale=1.0), ValueError, "x0 and x_t must have the same shape"),
    (lambda: back(x, x, 0.5, scale=-1.0), ValueError, "scale must be in"),
    (
      lambda: inverse.posterior_denoiser(denoise, measure, y, process=PROCESS, noise_scale=0.0),
      ValueError,
      "noise_scale must be in",
    ),
    (
      lambda: inverse.hard_data_consistency(measure, x, y, num_steps=0),
      ValueError,
      "num_steps must be a positive",
    ),
    (
      lambda: inverse.hard_data_consistency(measure, x, y, tolerance=-1.0),
      ValueError,
      "tolerance must be in",
    ),
  ]:
    with pytest.raises(error, match=message):
      call()
