"""The shifted process: its posterior by conditioning a normal, and samplers of it."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import check_kernel, fast_jit
from gaussian_data import MEAN, SCALE, denoiser

from latentjax.diffusion import processes, samplers
from latentjax.diffusion.shifted import shifted_noised, shifted_posterior, shifted_sampler

RNG = np.random.default_rng(0)
X_T, X, SHIFT = RNG.standard_normal((3, 8, 3)).astype(np.float32)
T = np.linspace(0.3, 0.95, 8, dtype=np.float32)
S = T - 0.25
PROCESS = processes.trigonometric()


def conditioned(x_t, x, shift, *, process):
  """Mean and deviation of z_s given z_t by the 2 x 2 covariance of the chain z_s -> z_t, in numpy."""
  t, s = T.astype(float)[:, None], S.astype(float)[:, None]
  alpha = {time: np.cos(np.pi * value / 2) for time, value in (("t", t), ("s", s))}
  var = {time: np.sin(np.pi * value / 2) ** 2 for time, value in (("t", t), ("s", s))}
  # One Markov step, around the shift: z_t = x_hat + a (z_s - x_hat) + noise.
  covariance = alpha["t"] / alpha["s"] * var["s"]
  surprise = x_t - (alpha["t"] * x + shift)
  mean = alpha["s"] * x + shift + covariance / var["t"] * surprise
  return mean, np.sqrt(var["s"] - covariance**2 / var["t"])


def test_posterior():
  check_kernel(
    lambda x_t, x, shift, **kwargs: shifted_posterior(x_t, x, shift, T, S, **kwargs),
    (X_T, X, SHIFT),
    oracle=conditioned,
    kwargs={"process": PROCESS},
    bad_inputs=[
      ((X_T, X[:, :1], SHIFT), {}, ValueError, "x_t and x and shift must have the same shape"),
      ((X_T, X, SHIFT.astype(int)), {}, TypeError, "shift must be a floating"),
    ],
  )


def test_samples_and_one_step():
  """A step of DDPM is a draw from the posterior; from noise around the shift come the data."""
  process = processes.vp_cosine()
  shift = jnp.where(jnp.arange(8000) % 2 == 0, -3.0, 4.0)[:, None]
  noise = jax.random.normal(jax.random.key(1), shift.shape)
  key, sampler = jax.random.key(0), shifted_sampler(samplers.ddpm, shift)
  exact = denoiser(process)

  @fast_jit
  def run(noise):
    denoise = lambda z, t: exact(z - shift, t)
    start = shifted_noised(jnp.zeros_like(noise), shift, noise, 1.0, process=process)
    x = sampler(key, denoise, start, process=process, times=jnp.linspace(1.0, 0.0, 101))
    times = jnp.array([0.8, 0.3])
    z = shifted_noised(noise, shift, noise[::-1], times[0], process=process)
    y = sampler(key, denoise, z, process=process, times=times)
    mean, scale = shifted_posterior(z, denoise(z, times[0]), shift, *times, process=process)
    return x, (y + shift - mean) / scale

  x, standard = map(np.asarray, run(noise))
  for rows in (x[::2], x[1::2]):
    assert abs(rows.mean() - MEAN) < 0.04
    assert abs(rows.std() - SCALE) < 0.04
  assert abs(standard.mean()) < 4 / np.sqrt(8000)
  assert abs(standard.std() - 1) < 4 / np.sqrt(16000)


def test_bad_input():
  noise = partial(shifted_noised, t=0.5, process=PROCESS)
  with pytest.raises(ValueError, match="x and shift must have the same shape"):
    noise(X, SHIFT[:2], X)
  sampler = shifted_sampler(samplers.ddim, SHIFT)
  with pytest.raises(ValueError, match="x_init and shift must have the same shape"):
    sampler(jax.random.key(0), lambda z, t: z, X[:2], process=PROCESS, times=[1.0, 0.0])
