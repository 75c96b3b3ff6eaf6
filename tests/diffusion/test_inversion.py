"""Inverted samplers: back to the exact latents, and there and back again."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import fast_jit
from gaussian_data import MEAN, SCALE, denoiser, flow, mixture_denoiser

from latentjax.diffusion import processes, samplers
from latentjax.diffusion.inversion import ddim_invert, dire

KEY = jax.random.key(0)


@pytest.mark.parametrize("name", ["vp_cosine", "ve"])
def test_order_and_round_trip(name):
  """Latents are the flow's up to order 1, so is the way back; iterated, it is exact."""
  process, x = getattr(processes, name)(), np.linspace(-1, 3, 4).reshape(2, 2)

  def run(x):
    exact = flow(process, x, 0.0, 1.0)

    def errors(num_steps, **kwargs):
      given = {"process": process, "times": jnp.linspace(1.0, 0.0, num_steps + 1, dtype=x.dtype)}
      latent = ddim_invert(KEY, denoiser(process), x, **given, **kwargs)
      back = samplers.ddim(KEY, denoiser(process), latent, **given)
      worst = lambda a, b: jnp.max(jnp.abs(a - b))
      return worst(latent, exact) / process.sigma(1.0), worst(back, x)

    return errors(100), errors(200), errors(100, num_iterations=12)

  with jax.enable_x64(True):
    coarse, fine, iterated = jax.tree.map(float, fast_jit(run)(x))
  for a, b in zip(coarse, fine):
    assert 0.8 < np.log2(a / b) < 1.3 and b < 0.1, (coarse, fine)
  assert iterated[1] < 1e-6 < fine[1]


def test_float32_mixtures_and_gradients():
  process, x = processes.rectified_flow(), np.float32(np.linspace(-3, 3, 6)).reshape(3, 2)
  given = {"process": process, "times": jnp.linspace(1.0, 0.0, 41)}

  def there_and_back(x):
    denoise = mixture_denoiser(process)
    latent = ddim_invert(KEY, denoise, x, num_iterations=25, **given)
    return samplers.ddim(KEY, denoise, latent, **given)

  back, slope = fast_jit(lambda x: jax.jvp(there_and_back, (x,), (jnp.ones_like(x),)))(x)
  np.testing.assert_allclose(back, x, atol=1e-4)
  np.testing.assert_allclose(slope, 1, atol=1e-2)


def test_bad_input():
  call = partial(ddim_invert, KEY, lambda x, t: x, process=processes.ve())
  x, times = jnp.ones((2, 1)), jnp.array([1.0, 0.5])
  with pytest.raises(ValueError, match="num_iterations must be in"):
    call(x, times=times, num_iterations=-1)
  with pytest.raises(ValueError, match="times must fall"):
    call(x, times=times[::-1])
  with pytest.raises(TypeError, match="x must be a floating"):
    call(x.astype(int), times=times)


def test_dire_of_a_linear_model():
  """Step by step in numpy, by estimates of data and noise; less of data that the model is of."""
  process, x = processes.vp_cosine(), np.float32([[0.5, 2.0], [-6.0, 8.0]])
  times = jnp.linspace(1.0, 0.0, 11)
  run = lambda x: (
    dire(KEY, denoiser(process), x, process=process, times=times),
    process.alpha(times),
    process.sigma(times),
  )
  found, alpha, sigma = (np.float64(part) for part in fast_jit(run)(x))

  def both(z, i):
    """Estimates of data and noise at the i-th time."""
    gain = alpha[i] * SCALE**2 / (alpha[i] ** 2 * SCALE**2 + sigma[i] ** 2)
    x0 = MEAN + gain * (z - alpha[i] * MEAN)
    return x0, (z - alpha[i] * x0) / sigma[i] if sigma[i] else 0.0

  z = np.float64(x)
  there, back = range(10, 0, -1), range(10)
  for i, to in [*((i, i - 1) for i in there), *((i, i + 1) for i in back)]:
    x0, eps = both(z, i)
    z = alpha[to] * x0 + sigma[to] * eps
  np.testing.assert_allclose(found, np.abs(z - x), rtol=1e-3, atol=1e-4)
  assert (found[0] < 0.5 * found[1]).all(), found
