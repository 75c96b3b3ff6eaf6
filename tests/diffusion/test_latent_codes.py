"""Codes of stochastic samplers: there and back, normal for a perfect model, known translations."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import AXIS, fast_jit
from gaussian_data import MEAN, SCALE, denoiser, mixture_denoiser, variance
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from latentjax.diffusion import latent_codes, processes, samplers

KEY = jax.random.key(0)
COSINE = processes.vp_cosine()


def test_there_and_back():
  """To data without noise, whatever the model, the number of steps and eta."""
  x = np.linspace(-4, 4, 24).reshape(8, 3)
  given = {"process": COSINE, "times": np.linspace(1.0, 0.0, 8)}

  def run(x, eta):
    denoise = mixture_denoiser(COSINE)
    code = latent_codes.dpm_encode(KEY, denoise, x, eta=eta, **given)
    return latent_codes.dpm_decode(denoise, code, eta=eta, **given), code

  compiled = fast_jit(run)
  for eta in (0.1, 1.0):
    with jax.enable_x64(True):
      back, code = compiled(x, eta)
    np.testing.assert_allclose(back, x, atol=1e-9)
    assert code.noise.shape == (7, 8, 3)
    np.testing.assert_allclose(compiled(np.float32(x), eta)[0], x, atol=2e-4)


def test_codes_of_a_perfect_model_are_normal():
  """Mean 0, the variance of q(z_s | z_t) over the step's; the translation of a shift is the shift."""
  times = jnp.linspace(1.0, 0.02, 9)
  given = {"process": COSINE, "times": times}
  x = MEAN + SCALE * np.random.default_rng(0).standard_normal((4000, 2)).astype(np.float32)

  def run(x):
    denoise = denoiser(COSINE)
    shifted = lambda z, t: 2.0 + denoise(z - COSINE.alpha(t) * 2.0, t)
    code = latent_codes.dpm_encode(KEY, denoise, x, **given)
    moved = latent_codes.cycle_diffusion(KEY, denoise, shifted, x, **given)
    ratio = COSINE.alpha(times[:-1]) / COSINE.alpha(times[1:])
    later, earlier = variance(COSINE, times[:-1]), variance(COSINE, times[1:])
    share = -jnp.expm1(COSINE.log_snr(times[:-1]) - COSINE.log_snr(times[1:]))
    spread = earlier - (ratio * earlier) ** 2 / later
    ends = latent_codes.dpm_decode(denoise, code, **given)
    return code, moved - ends, spread / (share * COSINE.sigma(times[1:]) ** 2)

  code, shift, expected = fast_jit(run)(x)
  noise = np.float64(code.noise)
  np.testing.assert_allclose(noise.mean((1, 2)), 0, atol=4 * noise.std() / np.sqrt(8000))
  np.testing.assert_allclose(noise.var((1, 2)), expected, rtol=0.08)
  assert abs(np.corrcoef(noise[2].ravel(), np.float64(code.start).ravel())[0, 1]) < 4 / np.sqrt(
    8000
  )
  np.testing.assert_allclose(shift, 2.0 * float(COSINE.alpha(0.02)), atol=2e-3)


def test_decoding_is_sampling_and_rows_do_not_depend_on_devices():
  x = np.float32(np.linspace(-2, 2, 8))[:, None]
  given = {"process": COSINE, "times": jnp.linspace(1.0, 0.1, 4)}

  def run(x, axis_name=None):
    denoise = mixture_denoiser(COSINE)
    other = lambda z, t: jnp.tanh(z)
    return latent_codes.cycle_diffusion(KEY, denoise, other, x, axis_name=axis_name, **given)

  def low_precision(x):
    denoise = lambda z, t: jnp.sin(40 * z)  # which tells z from z rounded
    return latent_codes.cycle_diffusion(
      KEY, denoise, denoise, x, process=COSINE, times=np.array([1.0, 0.5, 0.0])
    )

  low = jnp.asarray(x, jnp.bfloat16)
  np.testing.assert_array_equal(fast_jit(low_precision)(low), low)  # by its own model, itself

  mesh = Mesh(np.array(jax.devices()[:4]), (AXIS,))
  mapped = jax.shard_map(
    partial(run, axis_name=AXIS), mesh=mesh, in_specs=P(AXIS), out_specs=P(AXIS)
  )
  one, slope = fast_jit(lambda x: jax.jvp(run, (x,), (jnp.ones_like(x),)))(x)
  np.testing.assert_allclose(one, fast_jit(mapped)(x), rtol=1e-5, atol=1e-5)
  assert np.isfinite(slope).all() and np.abs(slope).max() > 1e-2

  def sampled(x):
    noise = [jax.random.normal(k, x.shape) for k in jax.random.split(KEY, 3)]
    denoise = denoiser(COSINE)
    code = latent_codes.LatentCode(x, jnp.stack(noise))
    found = latent_codes.dpm_decode(denoise, code, **given)
    # The sampler's own noise, recovered from two of its runs that only differ in eta.
    quiet = samplers.ddim(KEY, denoise, x, **given)
    return found, quiet, latent_codes.dpm_decode(denoise, code, eta=1e-6, **given)

  found, quiet, nearly = fast_jit(sampled)(x)
  np.testing.assert_allclose(nearly, quiet, atol=1e-4)
  assert np.abs(found - quiet).max() > 0.1


def test_langevin_of_energies():
  """A quadratic energy: a normal posterior, with the variance that steps of this size have."""
  z = latent_codes.LatentCode(jnp.zeros((500, 4)), jnp.zeros((2, 500, 2)))
  step, precision = 0.2, 1 + 3.0

  def energy(z):
    parts = jnp.sum(jnp.square(z.start - 2.0), axis=1), jnp.sum(jnp.square(z.noise - 2.0), (0, 2))
    return 1.5 * sum(parts)

  given = {"num_steps": 60, "step_size": step, "batch_axes": latent_codes.LatentCode(0, 1)}
  run = partial(latent_codes.latent_langevin, KEY, energy, **given)
  mesh = Mesh(np.array(jax.devices()[:4]), (AXIS,))
  specs = latent_codes.LatentCode(P(AXIS), P(None, AXIS))
  mapped = jax.shard_map(
    partial(run, axis_name=AXIS), mesh=mesh, in_specs=(specs,), out_specs=specs
  )
  low = jax.eval_shape(run, jax.tree.map(lambda a: a.astype(jnp.bfloat16), z))
  assert {leaf.dtype for leaf in low} == {jnp.dtype(jnp.bfloat16)}
  for found, split in zip(fast_jit(run)(z), fast_jit(mapped)(z)):
    np.testing.assert_allclose(split, found, rtol=1e-5, atol=1e-5)
    assert abs(float(found.mean()) - 3.0 * 2.0 / precision) < 0.05
    expected = 1 / (precision * (1 - step * precision / 4))
    assert abs(float(found.var()) / expected - 1) < 0.12


def test_bad_input():
  x, given = jnp.ones((2, 1)), {"process": COSINE, "times": jnp.linspace(1.0, 0.0, 4)}
  denoise = denoiser(COSINE)
  code = latent_codes.LatentCode(x, jnp.zeros((2, 2, 1)))
  for call, error, message in [
    (
      lambda: latent_codes.dpm_encode(KEY, denoise, x, eta=0.0, **given),
      ValueError,
      "eta must be in",
    ),
    (
      lambda: latent_codes.dpm_encode(KEY, denoise, x.astype(int), **given),
      TypeError,
      "x must be a fl",
    ),
    (lambda: latent_codes.dpm_decode(denoise, code, **given), ValueError, "code must have noise"),
    (
      lambda: latent_codes.latent_langevin(KEY, jnp.sum, x, num_steps=1, step_size=0.0),
      ValueError,
      "step_size must be in",
    ),
  ]:
    with pytest.raises(error, match=message):
      call()
