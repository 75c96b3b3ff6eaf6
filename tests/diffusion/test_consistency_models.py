"""Preconditioning as published and for any process; samples of exact consistency functions."""

from functools import partial

import gaussian_data
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import fast_jit

from latentjax.diffusion import processes, samplers

KEY = jax.random.key(0)
PROCESSES = ("edm", "vp_cosine", "rectified_flow", "ve")


def test_preconditioning_as_published():
  sigma, s = np.array([0.002, 0.3, 5.0, 80.0]), 0.5
  process = processes.ve(sigma_min=0.002, sigma_max=80.0)
  t = np.log(sigma / 0.002) / np.log(80 / 0.002)
  found = processes.preconditioning(t, process=process, data_scale=s)
  expected = (
    s**2 / (sigma**2 + s**2),
    sigma * s / np.sqrt(sigma**2 + s**2),
    1 / np.sqrt(sigma**2 + s**2),
    np.log(sigma) / 4,
  )
  for got, wanted in zip(found, expected):
    np.testing.assert_allclose(got, wanted, rtol=1e-5)
  found = processes.preconditioning(t, process=process, data_scale=s, t_min=0.0)
  np.testing.assert_allclose(found.c_skip, s**2 / ((sigma - 0.002) ** 2 + s**2), rtol=1e-5)
  c_out = (sigma - 0.002) * s / np.sqrt(sigma**2 + s**2)
  np.testing.assert_allclose(found.c_out, c_out, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", PROCESSES)
def test_precondition(name):
  """Input and target of variance 1 at every time; the identity at t_min, and finite at both ends."""
  process, s = getattr(processes, name)(), 0.7
  times = jnp.array([0.0, 0.2, 0.6, 1.0])
  c = processes.preconditioning(times, process=process, data_scale=s)
  alpha, sigma = process.alpha(times), process.sigma(times)
  np.testing.assert_allclose(c.c_in**2 * ((alpha * s) ** 2 + sigma**2), 1, rtol=1e-5)
  # F's target is (x - c_skip z) / c_out.
  variance = ((1 - c.c_skip * alpha) * s) ** 2 + (c.c_skip * sigma) ** 2
  np.testing.assert_allclose(variance, c.c_out**2, rtol=1e-4, atol=1e-7)

  network = lambda x, noise: jnp.sin(x) + noise
  make = partial(processes.precondition, network, process=process, noise_input=lambda t: t)
  x = jnp.linspace(-2, 2, 6).reshape(2, 3)
  t_min = 0.1 if name == "vp_cosine" else 0.0
  same, *ends = fast_jit(lambda x: (make(t_min=t_min)(x, t_min), make()(x, 0.0), make()(x, 1.0)))(x)
  np.testing.assert_allclose(same, x / process.alpha(t_min), rtol=1e-5)
  assert np.isfinite(ends).all()


@pytest.mark.parametrize("name", PROCESSES)
def test_samples_of_the_exact_function(name):
  """Normal data: one step and three give its moments, whatever is left in at the last time."""
  process = getattr(processes, name)()
  end = 0.05
  exact = lambda x, t: gaussian_data.flow(process, x, t, end) / process.alpha(end)
  start = gaussian_data.SCALE * process.alpha(1.0), process.sigma(1.0)
  scale = np.hypot(*map(float, start))
  noise = jax.random.normal(jax.random.key(1), (4096, 2))
  x_init = process.alpha(1.0) * gaussian_data.MEAN + scale * noise

  def draw(x_init):
    return [
      samplers.consistency(KEY, exact, x_init, process=process, times=jnp.array(times))
      for times in ([1.0, end], [1.0, 0.7, 0.3, end])
    ]

  mean = float(process.alpha(end)) * gaussian_data.MEAN
  spread = np.sqrt(float(gaussian_data.variance(process, end)))
  for z in fast_jit(draw)(x_init):
    z = np.float64(z)
    assert abs(z.mean() - mean) < 4.5 * spread / np.sqrt(z.size)
    assert abs(z.std() / spread - 1) < 4.5 / np.sqrt(2 * z.size)


def test_bad_input():
  process = processes.edm()
  for call, message in [
    (lambda: processes.preconditioning(0.5, process=process, data_scale=0.0), "data_scale must"),
    (lambda: processes.preconditioning(0.5, process=process, t_min=2.0), "t_min must be in"),
    (
      lambda: processes.precondition(lambda x, c: x[:1], process=process)(jnp.ones((2, 1)), 0.5),
      "z_t and output must have the same shape",
    ),
    (
      lambda: samplers.consistency(
        KEY, lambda x, t: x, jnp.ones((2, 1)), process=process, times=jnp.array([0.0, 1.0])
      ),
      "times must fall",
    ),
  ]:
    with pytest.raises(ValueError, match=message):
      call()
