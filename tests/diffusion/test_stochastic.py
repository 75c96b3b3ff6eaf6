"""The reverse SDE and predictor-corrector samplers against exact transitions and marginals."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import AXIS, fast_jit
from gaussian_data import MEAN, denoiser, mixture_cdf, mixture_denoiser, variance
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from latentjax.diffusion import processes, samplers

KEY = jax.random.key(0)
PREDICTORS = {
  "euler_maruyama": samplers.euler_maruyama,
  "reverse_diffusion": partial(samplers.predictor_corrector, num_corrections=0),
}


def test_weak_order_of_the_reverse_process():
  """For normal data the reverse process is linear: E[z_s | z_t] has the slope alpha_t V_s / alpha_s V_t."""
  process, start, end = processes.vp_linear(), 0.9, 0.1
  exact = process.alpha(start) / process.alpha(end) * variance(process, end)
  exact /= variance(process, start)

  def slopes(x):
    def slope(sample, num_steps):
      times = jnp.linspace(start, end, num_steps + 1, dtype=x.dtype)
      run = lambda x: sample(KEY, denoiser(process), x, process=process, times=times)
      return jax.jvp(run, (x,), (jnp.ones_like(x),))[1][0, 0]

    return {k: (slope(sample, 400), slope(sample, 800)) for k, sample in PREDICTORS.items()}

  with jax.enable_x64(True):
    found = jax.tree.map(float, fast_jit(slopes)(np.ones((1, 1))))
  for sampler, slope in found.items():
    coarse, fine = (abs(np.log(s / float(exact))) for s in slope)
    assert 0.85 < np.log2(coarse / fine) < 1.25, (sampler, coarse, fine)


def test_distributions_of_samples():
  """A mixture is sampled by every method: largest distance of distribution functions."""
  process = processes.vp_linear()
  x_init = jax.random.normal(jax.random.key(1), (8, 500))

  def distance(x):
    x = jnp.sort(x.ravel())
    return jnp.max(jnp.abs(mixture_cdf(process, x, 0.01) - jnp.arange(x.size) / x.size))

  def distances(x_init):
    denoise = mixture_denoiser(process)
    run = {"process": process, "times": jnp.linspace(1.0, 0.01, 101)}
    short = {"process": process, "times": jnp.linspace(1.0, 0.01, 9)}
    correct = partial(samplers.predictor_corrector, KEY, denoise, x_init, **run)
    rough = partial(samplers.predictor_corrector, KEY, denoise, x_init, **short)
    return {
      "euler_maruyama": distance(samplers.euler_maruyama(KEY, denoise, x_init, **run)),
      "reverse_diffusion": distance(correct()),
      "uncorrected": distance(rough(num_corrections=0)),
      "corrected": distance(rough(num_corrections=16)),
    }

  found = {name: float(d) for name, d in fast_jit(distances)(x_init).items()}
  # Of 4,000 draws 0.026 at most, with probability 0.99, and the steps' own error.
  for name in ("euler_maruyama", "reverse_diffusion"):
    assert found[name] < 0.045, found
  assert found["corrected"] < 0.6 * found["uncorrected"], found


def test_corrections_alone_reach_the_marginal():
  """From far away, at a time that hardly moves; and without them it is ancestral sampling."""
  process, times = processes.vp_cosine(), jnp.array([0.5, 0.4999])
  x_init = 5.0 + 0.1 * jax.random.normal(KEY, (8, 500))
  run = {"process": process, "times": times}

  def samples(x):
    denoise = denoiser(process)
    correct = partial(samplers.predictor_corrector, KEY, denoise, x, **run)
    plain = correct(predictor="ancestral", num_corrections=0), samplers.ddpm(KEY, denoise, x, **run)
    return correct(num_corrections=300, signal_to_noise=0.2), *plain

  corrected, a, b = fast_jit(samples)(x_init)
  deviation = float(jnp.sqrt(variance(process, 0.5)))
  assert abs(float(corrected.mean()) - float(process.alpha(0.5)) * MEAN) < 0.05
  assert abs(float(corrected.std()) / deviation - 1) < 0.05
  np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)


def test_ends_of_time_gradients_and_devices():
  process, x = processes.vp_cosine(), jax.random.normal(KEY, (8, 3))
  times = jnp.linspace(1.0, 0.0, 4)

  def run(x, axis_name=None):
    point = lambda x, t: jnp.tanh(x)
    given = {"process": process, "axis_name": axis_name}
    return [
      samplers.predictor_corrector(KEY, point, x, times=times, **given),
      samplers.euler_maruyama(KEY, point, x, times=times[1:], **given),
    ]

  mesh = Mesh(np.array(jax.devices()[:4]), (AXIS,))
  mapped = jax.shard_map(
    partial(run, axis_name=AXIS), mesh=mesh, in_specs=P(AXIS), out_specs=P(AXIS)
  )
  one, slopes = fast_jit(lambda x: jax.jvp(run, (x,), (jnp.ones_like(x),)))(x)
  for a, b, slope in zip(one, fast_jit(mapped)(x), slopes):
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
    assert np.isfinite(slope).all() and np.abs(slope).max() > 1e-3


def test_bad_input():
  call = partial(samplers.predictor_corrector, KEY, lambda x, t: x, jnp.ones((2, 1)))
  call = partial(call, process=processes.ve(), times=jnp.array([1.0, 0.5]))
  for kwargs, message in [
    ({"predictor": "euler"}, "predictor must be one of"),
    ({"num_corrections": -1}, "num_corrections must be in"),
    ({"signal_to_noise": 0.0}, "signal_to_noise must be in"),
    ({"times": jnp.ones(2)}, "times must fall"),
  ]:
    with pytest.raises(ValueError, match=message):
      call(**kwargs)
