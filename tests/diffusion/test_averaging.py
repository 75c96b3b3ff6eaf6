"""Power-function averages against direct weighted sums in float64, and those of widths never tracked."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import fast_jit
from scipy import integrate

from latentjax.diffusion.averaging import (
  init_power_average,
  post_hoc_average,
  post_hoc_weights,
  power_exponent,
  power_width,
  update_power_average,
)

STEPS, EVERY, WIDTHS = 400, 10, (0.05, 0.1)
SAVED = np.arange(EVERY, STEPS + 1, EVERY)


def paths():
  """Parameters over training, (STEPS, 2): a decaying random walk that still moves, and a constant."""
  noise = np.random.default_rng(0).standard_normal(STEPS)
  return np.stack([np.cumsum(noise / np.sqrt(np.arange(1, STEPS + 1))), np.full(STEPS, 2.0)], 1)


def direct(path, step, width):
  """The average as a sum: the profile's mass of every step, by quadrature in float64."""
  gamma = power_exponent(width)
  mass = [
    integrate.quad(lambda tau: (gamma + 1) / step * (tau / step) ** gamma, s, s + 1)[0]
    for s in range(step)
  ]
  return np.array(mass) @ path[:step]


@pytest.fixture(scope="module")
def snapshots():
  path = jnp.asarray(paths(), jnp.float32)

  @fast_jit
  def run(path):
    update = lambda state, p: (update_power_average(state, p),) * 2
    return jax.lax.scan(update, init_power_average(path[0], widths=WIDTHS), path)[1]

  states = jax.tree.map(np.asarray, run(path))
  return [jax.tree.map(lambda a, i=i: a[i - 1], states) for i in SAVED]


def test_width_and_exponent_are_the_profiles_standard_deviation():
  gamma = power_exponent([0.01, 0.05, 0.1, 0.25])
  for g, width in zip(gamma, (0.01, 0.05, 0.1, 0.25)):
    moment = [integrate.quad(lambda x, g=g, n=n: (g + 1) * x ** (g + n), 0, 1)[0] for n in (1, 2)]
    np.testing.assert_allclose(moment[1] - moment[0] ** 2, width**2, rtol=1e-6)
  np.testing.assert_allclose(power_width(gamma), [0.01, 0.05, 0.1, 0.25], rtol=1e-10)
  np.testing.assert_allclose(power_exponent(12**-0.5), 0, atol=1e-6)


def test_updates_are_direct_sums(snapshots):
  for state in (snapshots[0], snapshots[-1]):
    assert state.averages.shape == (2, 2)
    for average, width in zip(state.averages, WIDTHS):
      np.testing.assert_allclose(average, direct(paths(), int(state.step), width), rtol=2e-5)


@pytest.mark.parametrize(("step", "width"), [(400, 0.07), (400, 0.12), (337, 0.07), (400, 0.1)])
def test_post_hoc_averages_of_widths_and_steps_that_were_not_saved(snapshots, step, width):
  """Within a hundredth of what the parameters move."""
  weights = post_hoc_weights(SAVED, step=step, width=width)
  found = post_hoc_average([state.averages for state in snapshots], weights)
  expected = direct(paths(), step, width)
  np.testing.assert_allclose(found[1], 2.0, rtol=1e-5)
  scale = np.std(paths()[step // 2 : step, 0])
  assert abs(found[0] - expected[0]) < 0.01 * scale


def test_weights_make_the_profile_itself():
  """The combined profile against the wanted one on a grid; a tracked one is found as it is."""
  weights = post_hoc_weights(SAVED, step=340, width=0.07)
  tau = np.linspace(0, 400, 4001)[1:]
  profile = lambda t, g: np.where(tau <= t, (g + 1) / t * (np.minimum(tau, t) / t) ** g, 0)
  made = sum(
    w * profile(t, g)
    for pair, t in zip(weights, SAVED)
    for w, g in zip(pair, power_exponent(WIDTHS))
  )
  wanted = profile(340, power_exponent(0.07))
  assert np.abs(made - wanted).sum() * 0.1 < 0.005  # of a mass of 1
  tracked = post_hoc_weights(SAVED, step=400, width=0.05)
  np.testing.assert_allclose(tracked.ravel(), np.arange(80) == 78, atol=1e-3)


def test_errors(snapshots):
  with pytest.raises(ValueError, match="width must be in"):
    power_exponent([0.1, 0.3])
  with pytest.raises(ValueError, match=r"width must be in \(0.0, inf\), got 0.0"):
    power_exponent(0.0)
  with pytest.raises(ValueError, match="exponent must be in"):
    power_width(-0.5)
  with pytest.raises(ValueError, match=r"step must be in \(0, 400\], the saved steps, got 401"):
    post_hoc_weights(SAVED, step=401, width=0.1)
  with pytest.raises(ValueError, match="steps must have 1 axes"):
    post_hoc_weights([[1, 2]], step=1, width=0.1)
  with pytest.raises(ValueError, match=r"weights must have shape \(S, K\) = \(1, 2\), got \(2,\)"):
    post_hoc_average([snapshots[0].averages], np.ones(2))
