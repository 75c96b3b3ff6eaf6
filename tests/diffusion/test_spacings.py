"""Times to step at, and processes changed in their noise, against the papers' formulas in float64."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import fast_jit

from latentjax.diffusion import processes, spacings

VP, EDM = processes.vp_linear(), processes.edm(rho=3.0)


def test_spacings():
  """Shares of the way in time, its root, the level's root, or the log-ratio."""
  given = {"num_steps": 7, "start": 0.9, "end": 0.2}

  def everything():
    to_data = [
      spacings.karras(process=VP, num_steps=4),
      spacings.karras(process=processes.edm(), num_steps=4),
    ]
    found = [
      (spacings.uniform(**given), VP),
      (spacings.quadratic(**given), VP),
      (spacings.karras(process=VP, rho=5.0, **given), VP),
      (spacings.karras(process=EDM, **given), EDM),
      (spacings.log_snr(process=VP, **given), VP),
    ]
    level = lambda p, t: jnp.exp(-0.5 * p.log_snr(t))
    return [(t, level(p, t)) for t, p in found], [(t, level(VP, t)) for t in to_data]

  found, to_data = fast_jit(everything)()
  transforms = [
    lambda t, level: t,
    lambda t, level: np.sqrt(t),
    lambda t, level: level**0.2,
    lambda t, level: level ** (1 / 7),
    lambda t, level: np.log(level),
  ]
  for (times, level), transform in zip(found, transforms):
    assert times.shape == (8,) and float(times[0]) == np.float32(0.9)
    assert float(times[-1]) == np.float32(0.2)
    moved = transform(np.float64(times), np.float64(level))
    shares = (moved - moved[0]) / (moved[-1] - moved[0])
    np.testing.assert_allclose(shares, np.arange(8) / 7, atol=2e-5)
  # To no noise at all, where the level is 0 and its logarithm infinite; and EDM's own times are even.
  (times, level), (even, _) = to_data
  np.testing.assert_allclose((level / level[0]) ** (1 / 7), np.linspace(1, 0, 5), atol=1e-4)
  assert float(times[-1]) == 0.0
  np.testing.assert_allclose(even, np.linspace(1, 0, 5), atol=1e-5)


def test_zero_terminal_snr():
  """Algorithm 1 on the square roots of the cumulative products, and digits at both ends."""
  for process in (VP, processes.from_log_snr(lambda t: 8 - 12 * t)):
    changed = processes.zero_terminal_snr(process)
    t = np.linspace(0, 1, 9)

    def parts(t, process=process, changed=changed):
      both = process.alpha(t), changed.alpha(t), changed.sigma(t), changed.log_snr(t)
      return *both, jax.vmap(jax.grad(changed.alpha))(t)

    run = fast_jit(parts)
    with jax.enable_x64(True):
      alpha, new, sigma, log_snr, slope = map(np.asarray, run(t))
    expected = (alpha - alpha[-1]) * alpha[0] / (alpha[0] - alpha[-1])
    np.testing.assert_allclose(new, expected, atol=1e-12)
    np.testing.assert_allclose(sigma**2, 1 - expected**2, atol=1e-12)
    with np.errstate(divide="ignore"):
      np.testing.assert_allclose(log_snr, 2 * np.log(new / sigma), rtol=1e-9)
    assert new[-1] == 0 and sigma[-1] == 1 and log_snr[-1] == -np.inf
    assert np.isfinite(slope).all()
    short = run(np.float32([0.0, 1e-4, 0.5, 1.0]))
    assert float(short[1][-1]) == 0.0 and float(short[1][0]) == pytest.approx(alpha[0], rel=1e-6)
    with jax.enable_x64(True):
      tiny = run(np.array([1e-4]))
    np.testing.assert_allclose(short[2][1], tiny[2][0], rtol=1e-4)


def test_shifts():
  """The ratio of noise to data times the factor; what is preserved stays; both papers' forms."""
  t = np.linspace(0.1, 0.9, 5)
  cases = [(VP, "variance"), (processes.rectified_flow(), "sum"), (processes.ve(), "alpha")]

  def parts(t, factor):
    changed = [processes.shifted(p, factor=factor, preserve=kind) for p, kind in cases]
    return [(p.alpha(t), p.sigma(t), p.log_snr(t)) for p in changed]

  with jax.enable_x64(True):
    found = jax.tree.map(np.asarray, fast_jit(parts)(t, 4.0))
    plain = [np.asarray(p.log_snr(t)) for p, _ in cases]
  for (alpha, sigma, log_snr), before in zip(found, plain):
    np.testing.assert_allclose(log_snr, before + 2 * np.log(64 / 256), rtol=1e-9)
    np.testing.assert_allclose(2 * np.log(alpha / sigma), log_snr, rtol=1e-6, atol=1e-9)
  np.testing.assert_allclose(found[0][0] ** 2 + found[0][1] ** 2, 1, rtol=1e-9)
  np.testing.assert_allclose(found[1][1], 4 * t / (1 + 3 * t), rtol=1e-9)
  np.testing.assert_allclose(found[2][0], 1, rtol=1e-9)
  ends = fast_jit(parts)(np.float32([0.0, 1.0]), 4.0)
  np.testing.assert_allclose(ends[1][0], [1, 0])
  np.testing.assert_allclose(ends[1][1], [0, 1])


def test_bad_input():
  for call, error, message in [
    (partial(spacings.uniform, num_steps=0), ValueError, "num_steps must be a positive"),
    (partial(spacings.quadratic, num_steps=2.0), TypeError, "num_steps must be a positive"),
    (partial(spacings.uniform, num_steps=2, start=0.1, end=0.5), ValueError, "start must be above"),
    (partial(spacings.karras, process=VP, num_steps=2, rho=0.0), ValueError, "rho must be in"),
    (
      partial(spacings.karras, process=processes.vp_cosine(), num_steps=2),
      ValueError,
      "start must have a finite log",
    ),
    (partial(spacings.log_snr, process=VP, num_steps=2, end=0.0), ValueError, "end must have a"),
    (partial(processes.zero_terminal_snr, processes.ve()), ValueError, "must preserve variance"),
    (partial(processes.shifted, VP, factor=0.0), ValueError, "factor must be in"),
    (
      partial(processes.shifted, VP, factor=jnp.ones(()), preserve="x"),
      ValueError,
      "preserve must",
    ),
  ]:
    with pytest.raises(error, match=message):
      call()
