"""Processes against their closed forms in float64, at both ends of time; conversions there and back."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import fast_jit

from latentjax.diffusion import processes
from latentjax.diffusion.processes import PREDICTIONS, convert, drift_and_diffusion, noised
from latentjax.diffusion.processes.predictions import noise_error_ratio

HALF_PI = np.pi / 2


def cosine(t, s=0.008):
  return np.cos(HALF_PI * (t + s) / (1 + s)) / np.cos(HALF_PI * s / (1 + s))


def linear(t):
  return np.exp(-0.25 * 19.9 * t**2 - 0.05 * t)


PROCESSES = {
  "vp_linear": processes.vp_linear(),
  "vp_cosine": processes.vp_cosine(),
  "sub_vp": processes.sub_vp(),
  "ve": processes.ve(),
  "edm": processes.edm(),
  "rectified_flow": processes.rectified_flow(),
  "trigonometric": processes.trigonometric(),
  "from_log_snr": processes.from_log_snr(lambda t: 8 - 16 * t),
}
# alpha and sigma as written in the papers.
FORMS = {
  "vp_linear": (linear, lambda t: np.sqrt(1 - linear(t) ** 2)),
  "vp_cosine": (cosine, lambda t: np.sqrt(1 - cosine(t) ** 2)),
  "sub_vp": (linear, lambda t: 1 - linear(t) ** 2),
  "ve": (np.ones_like, lambda t: 0.01 * 5000**t),
  "edm": (np.ones_like, lambda t: (0.002 ** (1 / 7) * (1 - t) + t * 80 ** (1 / 7)) ** 7),
  "rectified_flow": (lambda t: 1 - t, lambda t: t),
  "trigonometric": (lambda t: np.cos(HALF_PI * t), lambda t: np.sin(HALF_PI * t)),
  "from_log_snr": (
    lambda t: 1 / np.sqrt(1 + np.exp(16 * t - 8)),
    lambda t: 1 / np.sqrt(1 + np.exp(8 - 16 * t)),
  ),
}
TIMES = np.float64(np.float32([0.0, 1e-5, 0.1, 0.5, 0.9, 1 - 1e-5, 1.0]))


@pytest.mark.parametrize("name", PROCESSES)
def test_processes_are_those_of_the_papers(name):
  process = PROCESSES[name]

  def everything(t):
    slopes = [jax.vmap(jax.grad(fn))(t) for fn in (process.alpha, process.sigma)]
    inner = drift_and_diffusion(t, process=process)
    return process.alpha(t), process.sigma(t), process.log_snr(t), slopes, inner

  run = fast_jit(everything)
  alpha, sigma = (form(TIMES) for form in FORMS[name])
  with np.errstate(divide="ignore"):
    log_snr = 2 * (np.log(np.maximum(alpha, 0)) - np.log(sigma))
  with jax.enable_x64(True):
    found = jax.tree.map(np.asarray, run(TIMES))
  # The papers' own forms lose digits near the ends: 1 - alpha^2, cos(pi / 2).
  np.testing.assert_allclose(found[0], alpha, rtol=1e-10, atol=1e-15)
  np.testing.assert_allclose(found[1], sigma, rtol=1e-6, atol=1e-15)
  middle = slice(1, -1)
  np.testing.assert_allclose(found[2][middle], log_snr[middle], rtol=1e-6, atol=1e-12)
  short = run(TIMES.astype(np.float32))
  for single, double in zip(short[:2], found[:2]):
    np.testing.assert_allclose(single, double, rtol=2e-5, atol=0)
  np.testing.assert_allclose(short[2][middle], found[2][middle], rtol=2e-5, atol=1e-5)
  # Slopes by differences, and through them the SDE: dV/dt = 2 f V + g^2.
  t, step = TIMES[2:5], 1e-6
  difference = lambda fn: (fn(t + step) - fn(t - step)) / (2 * step)
  for slope, form in zip(found[3], FORMS[name]):
    np.testing.assert_allclose(slope[2:5], difference(form), rtol=1e-6, atol=1e-8)
  f, g_squared = (part[2:5] for part in found[4])
  np.testing.assert_allclose(
    f, difference(lambda t: np.log(FORMS[name][0](t))), rtol=1e-6, atol=1e-8
  )
  variance = lambda t: FORMS[name][1](t) ** 2
  np.testing.assert_allclose(2 * f * variance(t) + g_squared, difference(variance), rtol=1e-6)
  assert np.all(np.isfinite(found[3]))


@pytest.mark.parametrize("name", ["vp_cosine", "ve"])
def test_conversions(name):
  """Every prediction of the same x and eps from every other, at times near both ends."""
  process = PROCESSES[name]
  rng = np.random.default_rng(0)
  t = np.array([1e-3, 0.02, 0.3, 0.7, 0.98, 1 - 1e-3])
  x, eps = rng.standard_normal((2, 6, 3))
  pairs = list(itertools.product(PREDICTIONS, PREDICTIONS))

  def all_of(x, eps, t):
    x_t = noised(x, eps, t, process=process)
    alpha, sigma = process.alpha(t)[:, None], process.sigma(t)[:, None]
    slopes = [jax.vmap(jax.grad(fn))(t)[:, None] for fn in (process.alpha, process.sigma)]
    kinds = {"eps": eps, "x0": x, "v": alpha * eps - sigma * x, "score": -eps / sigma}
    kinds["velocity"] = slopes[0] * x + slopes[1] * eps
    turn = lambda p, a, b: convert(p, x_t, t, process=process, source=a, target=b)
    return kinds, {(a, b): turn(kinds[a], a, b) for a, b in pairs}

  run = fast_jit(all_of)
  with jax.enable_x64(True):
    kinds, forward = jax.tree.map(np.asarray, run(x, eps, t))
  size = lambda k: np.abs(kinds[k]).max(axis=1, keepdims=True)
  for a, b in pairs:
    np.testing.assert_allclose(forward[a, b] / size(b), kinds[b] / size(b), atol=1e-8)
  kinds, forward = run(*(np.float32(v) for v in (x, eps, t)))
  for a in ("v", "velocity"):  # what determines data and noise everywhere keeps all digits
    for b in PREDICTIONS:
      np.testing.assert_allclose(forward[a, b] / size(b), kinds[b] / size(b), atol=2e-3)
  for a in PREDICTIONS:
    np.testing.assert_array_equal(forward[a, a], kinds[a])


def test_ends_of_time():
  """What a prediction determines without data or without noise, and the limits of the coefficients."""
  process, linear = PROCESSES["trigonometric"], PROCESSES["vp_linear"]
  x, eps = np.random.default_rng(0).standard_normal((2, 3, 2)).astype(np.float32)
  # What z_t, of the data or the noise alone, leaves to be known: all by these, themselves by the others.
  every = {1.0: ("x0", "v", "velocity"), 0.0: ("eps", "v", "velocity")}
  wanted = {1.0: PREDICTIONS, 0.0: ("eps", "x0", "v", "velocity")}
  slope = np.float32(np.pi / 2)
  kinds = {
    1.0: {"x0": x, "eps": eps, "score": -eps, "v": -x, "velocity": -slope * x},
    0.0: {"x0": x, "eps": eps, "v": eps, "velocity": slope * eps},
  }

  def everything():
    turn = lambda t, a, b: convert(
      kinds[t][a], x if t == 0 else eps, t, process=process, source=a, target=b
    )
    pairs = [(t, a, b) for t in (0.0, 1.0) for a in every[t] for b in wanted[t]]
    pairs += [(1.0, "eps", "score"), (1.0, "score", "eps")]
    ratios = [
      noise_error_ratio(jnp.ones(1), process=process, prediction=name)[0] for name in PREDICTIONS
    ]
    rates = [drift_and_diffusion(0.0, process=p)[1] for p in (linear, PROCESSES["rectified_flow"])]
    changed = processes.zero_terminal_snr(linear)
    return {pair: turn(*pair) for pair in pairs}, ratios, rates, jax.grad(changed.alpha)(1.0)

  found, ratios, rates, last = fast_jit(everything)()
  for (t, a, b), q in found.items():
    np.testing.assert_allclose(q, kinds[t][b], rtol=1e-5, atol=1e-5, err_msg=f"{t} {a} {b}")
  np.testing.assert_allclose(ratios, [1, 0, 0, 1, 0], atol=1e-7)
  np.testing.assert_allclose(rates, [0.1, 0], rtol=1e-5, atol=1e-8)  # beta_0
  end = np.exp(-0.25 * 19.9 - 0.05)  # the slope of alpha is -10 alpha
  np.testing.assert_allclose(last, -10 * end / (1 - end), rtol=1e-5)


def test_learned_processes_pass_gradients_and_times_are_found():
  slope = fast_jit(
    jax.grad(lambda w: processes.from_log_snr(lambda t: w * (1 - 2 * t)).alpha(0.25))
  )
  expected = lambda w: 1 / np.sqrt(1 + np.exp(-w / 2))
  found = float(slope(3.0))
  assert found == pytest.approx((expected(3 + 1e-6) - expected(3 - 1e-6)) / 2e-6, rel=1e-4)
  for name in ("vp_linear", "edm", "rectified_flow"):
    process = PROCESSES[name]
    t = np.float32([0.03, 0.5, 0.97])
    find = fast_jit(lambda v, p=process: processes.time_at_log_snr(v, process=p))
    np.testing.assert_allclose(find(process.log_snr(t)), t, rtol=1e-5)
    np.testing.assert_allclose(find(np.float32([1e9, -1e9])), [0, 1], atol=1e-6)


def test_bad_input():
  x, process = jnp.ones((4, 2)), processes.rectified_flow()
  turn = {"process": process, "source": "eps", "target": "x0"}
  for call, error, message in [
    (lambda: noised(x, x[:2], 0.5, process=process), ValueError, "x and eps must have the same"),
    (lambda: noised(x, x, jnp.ones(3), process=process), ValueError, r"t must have shape \(\) or"),
    (lambda: convert(x.astype(int), x, 0.5, **turn), TypeError, "prediction must be a floating"),
    (lambda: convert(x, x, 0.5, **turn | {"source": "noise"}), ValueError, "source must be one of"),
    (lambda: processes.ve(sigma_min=2.0, sigma_max=1.0), ValueError, "sigma_max must be in"),
    (lambda: processes.edm(rho=0.0), ValueError, "rho must be in"),
    (lambda: processes.vp_cosine(offset=-1.0), ValueError, "offset must be in"),
    (lambda: processes.vp_linear(beta_min=-1.0), ValueError, "beta_min must be in"),
  ]:
    with pytest.raises(error, match=message):
      call()
