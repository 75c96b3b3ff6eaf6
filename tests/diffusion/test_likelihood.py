"""Log-likelihoods along the probability-flow ODE against closed forms."""

import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import AXIS, fast_jit
from gaussian_data import denoiser, mixture_cdf, mixture_denoiser, mixture_log_prob
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P
from scipy import stats

from latentjax.diffusion import processes, samplers
from latentjax.diffusion.samplers import ode_log_likelihood

KEY = jax.random.key(0)
TIMES = jnp.array([1.0, 0.0])


def test_mixtures():
  """To 1e-3 in float32, under the standard normal prior; latents have it, slopes are the score's."""
  process, x = processes.rectified_flow(), np.float32(np.linspace(-4, 4, 8)).reshape(4, 2)
  denoise = mixture_denoiser(process)

  run = lambda x: ode_log_likelihood(KEY, denoise, x, process=process, times=TIMES)
  data = lambda x: mixture_log_prob(process, x, 0.0)
  slopes = lambda fn: fast_jit(lambda x: jax.jvp(fn, (x,), (jnp.cos(x),)))(x)
  (log_prob, latents), (slope, _) = slopes(run)
  expected = slopes(data)
  np.testing.assert_allclose(log_prob, expected[0], atol=1e-3)
  np.testing.assert_allclose(slope, expected[1], atol=1e-2)
  quantiles = stats.norm.ppf(mixture_cdf(process, x, 0.0))
  np.testing.assert_allclose(latents, quantiles, atol=1e-3)


def test_estimated_traces_on_several_devices():
  """A process with noise at t = 0 and its own prior; the Jacobian is not diagonal."""
  process = processes.ve(sigma_min=0.1, sigma_max=8.0)
  rng = np.random.default_rng(0)
  x = rng.normal(0, 2, (8, 3)).astype(np.float32)
  turn = np.float32(np.linalg.qr(rng.normal(size=(3, 3)))[0])
  denoise = lambda z, t: mixture_denoiser(process)(z @ turn, t) @ turn.T

  def log_prob(x, axis_name=None):
    return ode_log_likelihood(
      KEY,
      denoise,
      x,
      process=process,
      times=TIMES,
      prior_log_prob_fn=lambda z: mixture_log_prob(process, z @ turn, 1.0),
      trace="hutchinson",
      num_probes=300,
      rtol=1e-3,  # so loose that the solver's steps show
      atol=1e-3,
      axis_name=axis_name,
    )[0]

  mesh = Mesh(np.array(jax.devices()[:4]), (AXIS,))
  spec = P(AXIS)
  mapped = jax.shard_map(
    partial(log_prob, axis_name=AXIS), mesh=mesh, in_specs=spec, out_specs=spec, check_vma=False
  )
  with jax.enable_x64(True):  # in single precision the errors that set the first steps are rounding
    estimate, single = (np.asarray(fast_jit(run)(np.float64(x))) for run in (mapped, log_prob))
  np.testing.assert_allclose(estimate, single, rtol=1e-9)
  error = np.asarray(estimate - fast_jit(lambda x: mixture_log_prob(process, x @ turn, 0.0))(x))
  assert 1e-4 < np.abs(error).max() < 0.3, error
  assert len(np.unique(np.round(error, 4))) > 4  # every row has its own signs


def test_too_few_steps_and_a_missing_package(monkeypatch):
  process = processes.rectified_flow()
  call = partial(ode_log_likelihood, KEY, denoiser(process), process=process, times=TIMES)
  x = jnp.ones((2, 1))
  assert np.isnan(fast_jit(partial(call, max_steps=3))(x)[0]).all()
  for kwargs, message in [
    ({"trace": "none"}, "trace must be one of"),
    ({"rtol": 0.0}, "rtol must be in"),
    ({"num_probes": 0}, "num_probes must be a positive"),
    ({"times": TIMES[::-1]}, "times must fall"),
  ]:
    with pytest.raises(ValueError, match=message):
      call(x, **kwargs)
  monkeypatch.setitem(sys.modules, "diffrax", None)
  with pytest.raises(ImportError, match="needs diffrax"):
    samplers.ode_log_likelihood(KEY, denoiser(process), x, process=process, times=TIMES)
