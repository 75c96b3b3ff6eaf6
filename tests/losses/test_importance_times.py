"""Importance sampling of time: the same expectation as uniform times, with less variance."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import AXIS, fast_jit
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from latentjax.diffusion import processes
from latentjax.losses import score

KEY = jax.random.key(0)
SCALE = 0.7


def test_three_ways_to_the_variational_bound():
  """Of normal data with its exact denoiser, between two times; by quadrature in float64."""
  process, start, end = processes.vp_linear(), 1.0, 1e-3
  x = SCALE * np.random.default_rng(0).standard_normal((20_000, 1)).astype(np.float32)
  between = lambda key, **kwargs: end + (start - end) * score.antithetic_times(key, **kwargs)

  def losses(x):
    def predict(z, t):
      alpha, sigma = process.alpha(t)[:, None], process.sigma(t)[:, None]
      return sigma * z / ((alpha * SCALE) ** 2 + sigma**2)

    loss = partial(score.denoising_loss, KEY, predict, x, process=process)
    weight = partial(score.likelihood_weight, process=process)
    importance = partial(score.likelihood_times, process=process, start=start, end=end)
    half_range = 0.5 * (process.log_snr(end) - process.log_snr(start))
    return {
      "plain": score.variational_loss(KEY, predict, x, process=process, time_sampler=between),
      "weighted": loss(weighting=weight, time_sampler=between),
      "importance": half_range * loss(time_sampler=importance),
    }

  found = {k: np.float64(v) for k, v in fast_jit(losses)(x).items()}
  np.testing.assert_allclose(found["weighted"], found["plain"], rtol=2e-3)
  snr = np.exp(np.linspace(*(float(process.log_snr(t)) for t in (start, end)), 100_001))
  expected = 0.5 * np.mean(SCALE**2 * snr / (SCALE**2 * snr + 1)) * np.log(snr[-1] / snr[0])
  scale = {"plain": 1 - end, "importance": 1.0}
  for name, range_ in scale.items():
    values = range_ * found[name]
    assert abs(values.mean() - expected) < 4 * values.std() / np.sqrt(len(values)), name
  assert found["importance"].std() < 0.5 * found["plain"].std()


def test_loss_history():
  """Ring buffers like a loop over rows; draws in proportion to root mean squares; weights make up."""
  rng = np.random.default_rng(0)
  rows, width = 4, 3
  t, loss = rng.uniform(0, 1, (5, 16)).astype(np.float32), rng.uniform(1, 2, (5, 16)).astype("f")
  expected, count = np.zeros((rows, width)), np.zeros(rows, int)
  update = fast_jit(score.update_loss_history)
  state = score.init_loss_history(num_intervals=rows, length=width)
  for times, values in zip(t, loss):
    state = update(state, times, values)
    for time, value in zip(times, values):
      n = min(int(time * rows), rows - 1)
      expected[n, count[n] % width] = value
      count[n] += 1
  np.testing.assert_allclose(state.losses, expected, rtol=1e-6)
  np.testing.assert_array_equal(state.num_seen, count)

  losses = jnp.array([[4.0, 2.0], [1.0, 1.0], [0.0, 0.5]])
  full = score.LossHistoryState(losses, jnp.full(3, 2))
  draw = fast_jit(partial(score.loss_weighted_times, batch_size=6000, uniform_share=0.1))
  times, weight = draw(KEY, full)
  size = np.sqrt(np.mean(np.square(np.float64(losses)), axis=1))
  p = 0.9 * size / size.sum() + 0.1 / 3
  index = np.int64(np.float64(times) * 3)
  for n in range(3):
    assert abs(np.mean(index == n) - p[n]) < 4 * np.sqrt(p[n] / 6000)
  np.testing.assert_allclose(weight, 1 / (3 * p[index]), rtol=1e-5)
  inside = np.float64(times) * 3 - index
  assert abs(inside.mean() - 0.5) < 4 / np.sqrt(12 * 6000)
  new = score.LossHistoryState(losses, jnp.array([2, 2, 1]))
  assert (np.asarray(draw(KEY, new)[1]) == 1).all()
  spoilt = score.LossHistoryState(losses.at[1, 0].set(jnp.inf), jnp.full(3, 2))
  assert (np.asarray(draw(KEY, spoilt)[1]) == 1).all(), "one overflow spoils all weights"


def test_devices():
  x = np.random.default_rng(0).uniform(0, 1, (8,)).astype(np.float32)

  def run(x, axis_name=None):
    state = score.init_loss_history(num_intervals=3, length=2)
    state = score.update_loss_history(state, x, 2 * x, axis_name=axis_name)
    size, given = x.shape[0], {"axis_name": axis_name}
    times = partial(score.likelihood_times, process=processes.vp_linear())
    drawn = score.loss_weighted_times(KEY, state, batch_size=size, **given)
    return [times(KEY, batch_size=size, **given), *drawn], state

  mesh = Mesh(np.array(jax.devices()[:4]), (AXIS,))
  mapped = jax.shard_map(
    partial(run, axis_name=AXIS),
    mesh=mesh,
    in_specs=P(AXIS),
    out_specs=(P(AXIS), P()),
    check_vma=False,
  )
  for a, b in zip(jax.tree.leaves(fast_jit(run)(x)), jax.tree.leaves(fast_jit(mapped)(x))):
    np.testing.assert_allclose(a, b, rtol=1e-5)


def test_bad_input():
  state, vp = score.init_loss_history(), processes.vp_cosine()
  for call, message in [
    (lambda: score.init_loss_history(length=0), "length must be a positive"),
    (lambda: score.update_loss_history(state, jnp.ones(2), jnp.ones(3)), "t and loss must have"),
    (
      lambda: score.loss_weighted_times(KEY, state, batch_size=2, uniform_share=2.0),
      "uniform_share must be in",
    ),
    (lambda: score.likelihood_times(KEY, batch_size=2, process=vp), "start must have a finite log"),
  ]:
    with pytest.raises(ValueError, match=message):
      call()
