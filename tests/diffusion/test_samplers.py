"""Samplers against exact answers: order of convergence, moments, points, and one another."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import AXIS, fast_jit
from gaussian_data import MEAN, SCALE, denoiser, flow, variance
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from latentjax.diffusion import processes, samplers
from latentjax.diffusion.inversion import ddim_invert

PROCESSES = {
  "vp_linear": processes.vp_linear(),
  "vp_cosine": processes.vp_cosine(),
  "sub_vp": processes.sub_vp(),
  "ve": processes.ve(sigma_max=5.0),
  "edm": processes.edm(),
  "rectified_flow": processes.rectified_flow(),
  "trigonometric": processes.trigonometric(),
}
KEY = jax.random.key(0)
ORDERS = {
  "euler": (samplers.euler, 1),
  "heun": (samplers.heun, 2),
  "heun_sigma": (partial(samplers.heun, coordinates="sigma"), 2),
  "dpmpp_2m": (samplers.dpmpp_2m, 2),
}


@pytest.mark.parametrize("name", ["sub_vp", "edm", "trigonometric"])
def test_order_of_convergence(name):
  """Errors at 40 and 80 steps, all solvers in one program."""
  process, x = PROCESSES[name], np.linspace(-2, 2, 5)[:, None]
  start, end = 0.98, 0.02

  def errors(x):
    exact = flow(process, x, start, end)

    def error(solve, num_steps):
      times = jnp.linspace(start, end, num_steps + 1, dtype=x.dtype)
      found = solve(KEY, denoiser(process), x, process=process, times=times)
      return jnp.max(jnp.abs(found - exact))

    return {n: (error(solve, 40), error(solve, 80)) for n, (solve, _) in ORDERS.items()}

  with jax.enable_x64(True):
    found = jax.tree.map(float, fast_jit(errors)(x))
  for solver, (coarse, fine) in found.items():
    # Never less than the order; more where the leading error happens to vanish.
    assert np.log2(coarse / fine) > ORDERS[solver][1] - 0.15 or fine < 2e-5, (solver, coarse, fine)
    assert fine < 0.06, (solver, fine)


def test_orders_of_unipc():
  """Order p is of order p + 1 with its corrector, where the start, of order 1, is in the noise."""
  process, x = PROCESSES["edm"], np.linspace(-2, 2, 5)[:, None]

  def errors(x):
    def error(order, num_steps):
      times = jnp.linspace(1.0, 0.0, num_steps + 1, dtype=x.dtype)
      given = {"process": process, "times": times, "lower_order_final": False}
      found = samplers.unipc(KEY, denoiser(process), x, order=order, **given)
      return jnp.max(jnp.abs(found - flow(process, x, 1.0, 0.0)))

    return {order: (error(order, 60), error(order, 120)) for order in (1, 2, 3)}

  with jax.enable_x64(True):
    found = jax.tree.map(float, fast_jit(errors)(x))
  for order, (coarse, fine) in found.items():
    assert np.log2(coarse / fine) > order + 0.8, (order, coarse, fine)


@pytest.mark.parametrize("name", ["vp_cosine", "edm"])
def test_moments_of_ancestral_samples(name):
  """From noise to data, over the whole of time: mean and variance of the data."""
  process, times = PROCESSES[name], jnp.linspace(1.0, 0.0, 201)
  noise = jax.random.normal(jax.random.key(1), (8, 1000))
  x_init = process.alpha(1.0) * MEAN + jnp.sqrt(variance(process, 1.0)) * noise

  def draw(x_init):
    run = {"process": process, "times": times}
    denoise = denoiser(process)
    return {
      "ddpm": samplers.ddpm(KEY, denoise, x_init, **run),
      "large": samplers.ddpm(KEY, denoise, x_init, variance="large", **run),
      "half": samplers.ddim(KEY, denoise, x_init, eta=0.5, **run),
      "sde": samplers.dpmpp_2m(KEY, denoise, x_init, stochastic=True, **run),
    }

  for sampler, x in fast_jit(draw)(x_init).items():
    # 8,000 draws: a mean within 0.008, a deviation within 0.0055, and the steps' own error.
    assert abs(float(x.mean()) - MEAN) < 0.03, sampler
    # The large variance is that of data wider than this, by what a step resolves.
    assert abs(float(x.std()) - SCALE) < (0.06 if sampler == "large" else 0.03), sampler


def test_relations_among_samplers():
  process, times = PROCESSES["vp_cosine"], jnp.linspace(1.0, 0.0, 9)
  x = jax.random.normal(KEY, (4, 2, 3))
  run = {"process": process, "times": times}

  def everything(x):
    point = lambda x, t: jnp.full_like(x, 3.0)
    denoise = denoiser(process)
    one = [
      samplers.ddpm(KEY, point, x, **run),
      samplers.ddim(KEY, point, x, **run),
      samplers.heun(KEY, point, x, **run),
      samplers.dpmpp_2m(KEY, point, x, **run),
      samplers.dpmpp_2m(KEY, point, x, stochastic=True, **run),
      samplers.unipc(KEY, point, x, order=3, **run),
    ]
    given = KEY, denoise, x
    return one, (samplers.ddpm(*given, **run), samplers.ddim(*given, eta=1.0, **run))

  one, (a, b) = fast_jit(everything)(x)
  for found in one:  # data that is one point is found whatever the noise, over both ends of time
    np.testing.assert_allclose(found, 3.0, rtol=1e-6)
  np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_noise_of_a_row_does_not_depend_on_the_devices():
  process, times = PROCESSES["rectified_flow"], jnp.linspace(1.0, 0.0, 4)
  x = jax.random.normal(KEY, (8, 3))

  def run(x, axis_name=None):
    given = {"process": process, "times": times, "axis_name": axis_name}
    denoise = denoiser(process)
    return [
      samplers.ddpm(KEY, denoise, x, **given),
      samplers.dpmpp_2m(KEY, denoise, x, stochastic=True, **given),
    ]

  mesh = Mesh(np.array(jax.devices()[:4]), (AXIS,))
  mapped = jax.shard_map(
    partial(run, axis_name=AXIS), mesh=mesh, in_specs=P(AXIS), out_specs=P(AXIS)
  )
  for a, b in zip(fast_jit(run)(x), fast_jit(mapped)(x)):
    np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)


def test_memory_does_not_grow_with_the_steps_and_gradients_pass():
  process, x = PROCESSES["rectified_flow"], jnp.ones((8, 256))

  def sample(x, num_steps):
    times = jnp.linspace(1.0, 0.0, num_steps + 1)
    return samplers.ddim(KEY, denoiser(process), x, process=process, times=times)

  memory = [
    fast_jit(partial(sample, num_steps=n)).lower(x).compile().memory_analysis().temp_size_in_bytes
    for n in (10, 1000)
  ]
  assert memory[1] < memory[0] + 1000 * 64  # the schedule's own numbers
  slope = fast_jit(jax.grad(lambda x: jnp.sum(sample(x, 50))))(x)
  np.testing.assert_allclose(slope, SCALE, rtol=0.03)  # the flow's stretch, from 1 to SCALE


def test_single_precision_stays_in_programs_of_double_precision():
  """Times are float64 there by default; nothing is compiled."""
  x, process = np.ones((2, 3), np.float32), PROCESSES["rectified_flow"]
  calls = [
    samplers.ddim,
    samplers.heun,
    samplers.euler_maruyama,
    ddim_invert,
    lambda *args, process, times: samplers.velocity_flow(*args, times=times, scale=0.5),
  ]
  with jax.enable_x64(True):
    for call in calls:
      times = np.linspace(0.9, 0.0, 4)
      run = partial(call, KEY, lambda x, t: x + t, process=process, times=times)
      assert jax.eval_shape(run, x).dtype == np.float32, call


def test_bad_input():
  process, x = PROCESSES["ve"], jnp.ones((2, 1))
  call = lambda sampler, times, **kwargs: sampler(
    KEY, lambda x, t: x, x, **{"process": process, "times": times} | kwargs
  )
  times = jnp.array([1.0, 0.5])
  for sampler in (samplers.ddpm, samplers.ddim, samplers.euler, samplers.heun, samplers.dpmpp_2m):
    with pytest.raises(ValueError, match=r"times must fall"):
      call(sampler, times[::-1])
    with pytest.raises(ValueError, match=r"times must have shape \(N \+ 1,\)"):
      call(sampler, times[:1])
    with pytest.raises(TypeError, match="times must be a floating"):
      call(sampler, jnp.arange(3))
  flow = {"process": PROCESSES["rectified_flow"]}
  for sampler, kwargs, message in [
    (samplers.heun, {"coordinates": "sigma"} | flow, r"times\[0\] must have a finite log signal"),
    (samplers.euler_maruyama, flow, r"times\[0\] must have a finite log signal"),
    (samplers.ddpm, {"variance": "none"}, "variance must be one of"),
    (samplers.ddim, {"eta": 2.0}, "eta must be in"),
    (samplers.heun, {"coordinates": "time"}, "coordinates must be one of"),
    (samplers.unipc, {"order": 4}, "order must be in"),
  ]:
    with pytest.raises(ValueError, match=message):
      call(sampler, times, **kwargs)


def test_ddim_without_noise_draws_none_under_jit():
  def program(eta):
    times, process = jnp.linspace(1.0, 0.5, 4), PROCESSES["rectified_flow"]
    sample = lambda x: samplers.ddim(KEY, lambda x, t: x, x, process=process, times=times, eta=eta)
    return str(jax.make_jaxpr(sample)(jnp.ones((2, 3))))

  assert "random_bits" not in program(0.0)
  assert "random_bits" in program(0.1)
