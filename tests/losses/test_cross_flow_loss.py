"""The flow from one modality to another: exact values without noise, moments with it, several devices."""

import jax
import jax.numpy as jnp
import numpy as np
from contract import check_kernel, fast_jit

from latentjax.losses.score import cross_flow_loss

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)


def test_contract():
  x, mean, log_scale = (0.5 * RNG.standard_normal((3, 8, 2, 3))).astype(np.float32)
  velocity = lambda z, t, c: jnp.sin(z) + t[:, None, None] * (2.0 * c - 1)[:, None, None]

  def loss(key, x, mean, log_scale, **kwargs):
    return cross_flow_loss(key, velocity, x, mean, log_scale=log_scale, **kwargs)

  check_kernel(
    loss,
    [x, mean, log_scale],
    key=KEY,
    kwargs={"drop_rate": 0.5},
    batch_coupled=True,
    extreme=[[1e4 * x, 1e4 * mean, 10 * log_scale]],
    bad_inputs=[
      ([x, mean[:, :1], log_scale], {}, ValueError, "x and mean must have the same"),
      ([x, mean, log_scale[:4]], {}, ValueError, "mean and log_scale must have the same"),
      ([x, mean, log_scale], {"drop_rate": 2.0}, ValueError, "drop_rate must be in"),
    ],
  )


def test_partners_velocities_and_moments():
  x, mean = RNG.standard_normal((2, 8, 3)).astype(np.float32)
  log_scale = np.log(RNG.uniform(0.5, 2.0, (8, 3))).astype(np.float32)
  still, told = (lambda z, t, c: 0 * z), (lambda z, t, c: 0 * z + c[:, None])
  tile = lambda v: jnp.tile(v, (4000, 1))

  def everything(x, mean, log_scale):
    loss = lambda fn, **kwargs: cross_flow_loss(KEY, fn, x, mean, **kwargs).flow
    straight = lambda z, t, c: jnp.asarray(mean - x)
    others = [loss(told, drop_rate=1.0), loss(told, drop_rate=0.0), loss(straight, drop_rate=0.0)]
    return others, cross_flow_loss(
      KEY, still, tile(x), tile(mean), log_scale=tile(log_scale), drop_rate=0.25
    )

  (unpaired, paired, straight), noisy = fast_jit(everything)(x, mean, log_scale)
  before = np.roll(x, 1, axis=0)
  np.testing.assert_allclose(unpaired, np.sum((mean - before) ** 2, 1), rtol=1e-5)
  np.testing.assert_allclose(paired, np.sum((mean - x - 1) ** 2, 1), rtol=1e-5)
  np.testing.assert_allclose(straight, 0, atol=1e-10)
  kl = 0.5 * np.sum(mean**2 + np.exp(2 * log_scale) - 1 - 2 * log_scale, axis=1)
  np.testing.assert_allclose(noisy.kl[:8], kl, rtol=1e-5)
  noise = np.float64((noisy.source - tile(mean)) / np.exp(tile(log_scale)))
  moments = [np.mean(noise), np.mean(noise**2)]
  np.testing.assert_allclose(moments, [0, 1], atol=4 * np.sqrt(2 / noise.size))
  flow = np.float64(noisy.flow).reshape(4000, 8)
  own, other = (np.sum((mean - v) ** 2 + np.exp(2 * log_scale), 1) for v in (x, before))
  error = flow.std(0) / np.sqrt(4000)
  assert np.all(np.abs(flow.mean(0) - 0.75 * own - 0.25 * other) < 4 * error)
