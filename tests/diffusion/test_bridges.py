"""Brownian bridges: marginals, exact steps back, and normal frames with a known law given both neighbours."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import AXIS, check_kernel, fast_jit
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from latentjax.collectives import draw_rows
from latentjax.diffusion import bridges
from latentjax.diffusion.processes.predictions import draw_noise
from latentjax.objectives import frame_interpolation

B, D = 8, 3
KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
X, BEFORE, AFTER = RNG.standard_normal((3, B, D))
ENDS = np.array([0.0, 1.0, 0.5, 0.01, 0.99, 0.3, 0.7, 0.2])


def test_bridged():
  """Straight on average, of the variance of Brownian motion that is tied down at both ends; safe there."""
  scale, x, y, eps = 1.3, *np.float32([X, BEFORE, AFTER])

  def run(x, y, eps, t):
    total = lambda *args: jnp.sum(bridges.bridged(*args, scale=scale))
    return bridges.bridged(x, y, eps, t, scale=scale), jax.grad(total, (0, 1, 2, 3))(x, y, eps, t)

  value, grads = fast_jit(run)(x, y, eps, np.float32(ENDS))
  t = ENDS[:, None]
  expected = X + t * (BEFORE - X) + np.sqrt(scale**2 * (t - t**2)) * AFTER
  np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-6)
  for grad, slope in zip(grads[:3], (1 - t, t, np.sqrt(scale**2 * (t - t**2)))):
    np.testing.assert_allclose(grad, np.broadcast_to(slope, X.shape), rtol=1e-5, atol=1e-6)
  assert np.isfinite(grads[3]).all()


def test_steps_back_keep_the_marginals():
  """From the bridge at t, with its true end, to that at s: mean, variance, and the ends themselves."""
  rows, scale, t, s = 20_000, 1.3, 0.8, 0.35
  x, y = jnp.full((rows, 1), 2.0), jnp.full((rows, 1), -1.0)

  def both(x, y):
    key_noise, key_step = jax.random.split(KEY)
    x_t = bridges.bridged(x, y, draw_noise(key_noise, x, None), t, scale=scale)
    step = partial(bridges.bridge_step, key_step, x_t, x, t, scale=scale)
    return step(s), step(0.0), step(t)

  middle, start, stay = (np.float64(v) for v in fast_jit(both)(x, y))
  deviation = scale * np.sqrt(s * (1 - s))
  assert abs(middle.mean() - (2 - 3 * s)) < 4 * deviation / np.sqrt(rows)
  assert abs(middle.std() / deviation - 1) < 4 / np.sqrt(2 * rows)
  np.testing.assert_array_equal(start, 2.0)
  assert abs(stay.std() / (scale * np.sqrt(t * (1 - t))) - 1) < 4 / np.sqrt(2 * rows)


def test_consecutive_bridge_loss():
  scale, limit = 1.1, 3.0
  linear = lambda x_t, other, time: 0.3 * x_t - 0.2 * other + 0.5 * time[:, None]

  def oracle(x, y, z):
    key_place, key_noise = jax.random.split(KEY)
    uniform = lambda key, shape: jax.random.uniform(key, shape, minval=-1, maxval=1)
    drawn = lambda: (
      draw_rows(key_place, uniform, (B,)),
      draw_noise(key_noise, jnp.zeros((B, D)), None),
    )
    place, eps = map(np.float64, fast_jit(drawn)())
    losses = []
    for i, u in enumerate(place):
      near, far = (z[i], y[i]) if u > 0 else (y[i], z[i])
      t = abs(u)
      deviation = scale * np.sqrt(t * (1 - t))
      x_t, other = ((1 - t) * x[i] + t * end + deviation * eps[i] for end in (near, far))
      error = x_t - x[i] - (0.3 * x_t - 0.2 * other + 0.5 * u)
      losses.append(min(1 / deviation, limit) * error @ error)
    assert 0 < np.sum(place > 0) < B
    return np.array(losses)

  check_kernel(
    lambda key, *frames: bridges.consecutive_bridge_loss(
      key, linear, *frames, scale=scale, max_weight=limit
    ),
    (X, BEFORE, AFTER),
    key=KEY,
    oracle=oracle,
    extreme=[(1e4 * X, BEFORE, AFTER)],
    bad_inputs=[
      ((X, BEFORE[:2], AFTER), {}, ValueError, "x and y and z must have the same shape"),
      ((X.astype(int), BEFORE, AFTER), {}, TypeError, "x must be a floating"),
    ],
  )


def test_frames_between_are_samples_of_the_posterior():
  """Middle frames N((y + z) / 2, v): with the exact prediction both bridges end at samples of it."""
  rows, scale, deviation = 4000, 2**0.5, 0.4
  y, z = jnp.full((rows, 1), -1.0), jnp.full((rows, 1), 2.0)

  def predict(x_t, other, time):
    """x_t - E[x | x_t, y, z], a Gaussian conditional; the noise of `other` is its own here."""
    t, end = jnp.abs(time)[:, None], jnp.where(time[:, None] > 0, 2.0, -1.0)
    gain = deviation**2 / (deviation**2 * (1 - t) + scale**2 * t)
    return x_t - (0.5 + gain * (x_t - (1 - t) * 0.5 - t * end))

  sampler = frame_interpolation(lambda params, x_t, other, y, z, time: predict(x_t, other, time))

  def run(y, z):
    times = jnp.linspace(1.0, 0.0, 201)
    both = bridges.consecutive_bridge(KEY, predict, y, z, times=times)
    return both, sampler.interpolate((), KEY, y, z, times=times)

  (from_y, from_z), same = jax.device_get(fast_jit(run)(y, z))
  for x in (from_y, from_z):
    assert abs(float(x.mean()) - 0.5) < 4 * deviation / np.sqrt(rows) + 0.01
    assert abs(float(x.std()) / deviation - 1) < 4 / np.sqrt(2 * rows) + 0.03
  np.testing.assert_allclose(same, (from_y, from_z), atol=1e-6)


def test_rows_have_the_same_noise_on_several_devices():
  model = frame_interpolation
  predict = lambda params, x_t, other, y, z, time: params * x_t - other + time[:, None]
  frames = {"before": BEFORE, "middle": X, "after": AFTER}
  frames = {name: frame.astype(np.float32) for name, frame in frames.items()}

  def run(batch, axis_name=None):
    one = model(predict, axis_name=axis_name)
    loss, (state, metrics) = one.objective(0.5, (), KEY, batch)
    assert state == () and metrics == {}
    times = jnp.linspace(1.0, 0.0, 4)
    return loss[None], one.interpolate(0.5, KEY, batch["before"], batch["after"], times=times)

  mesh = Mesh(np.array(jax.devices()[:4]), (AXIS,))
  mapped = jax.shard_map(
    partial(run, axis_name=AXIS), mesh=mesh, in_specs=P(AXIS), out_specs=P(AXIS)
  )
  loss, middle = fast_jit(run)(frames)
  losses, middles = fast_jit(mapped)(frames)
  np.testing.assert_allclose(losses.mean(), loss[0], rtol=1e-5)
  for one, many in zip(middle, middles):
    np.testing.assert_allclose(many, one, rtol=1e-5, atol=1e-5)


def test_bad_input():
  x = jnp.ones((B, D))
  way = lambda x_t, other, time: x_t
  for call, error, message in [
    (lambda: bridges.bridged(x, x, x, 0.5, scale=-1.0), ValueError, "scale must be in"),
    (lambda: bridges.bridged(x, x[:2], x, 0.5), ValueError, "x and y and eps must have the same"),
    (lambda: bridges.bridged(x, x, x, jnp.ones(3)), ValueError, r"t must have shape \(\) or"),
    (lambda: bridges.bridged(x.astype(int), x, x, 0.5), TypeError, "x must be a floating"),
    (lambda: bridges.bridge_step(KEY, x, x[:2], 1.0, 0.5), ValueError, "x_t and x_hat must have"),
    (
      lambda: bridges.consecutive_bridge_loss(KEY, way, x, x, x, max_weight=0.0),
      ValueError,
      "max_weight must be in",
    ),
    (
      lambda: bridges.consecutive_bridge_loss(KEY, lambda *_: x[:2], x, x, x),
      ValueError,
      "x and prediction must have the same",
    ),
    (
      lambda: bridges.consecutive_bridge(KEY, way, x, x, times=jnp.array([0.0, 1.0])),
      ValueError,
      "times must fall",
    ),
    (lambda: frame_interpolation(way, max_weight=0.0), ValueError, "max_weight must be in"),
  ]:
    with pytest.raises(error, match=message):
      call()
