"""Denoising and flow matching: exact minima, one loss for all predictions, the bound, several devices."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import AXIS, fast_jit
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from latentjax.diffusion import processes
from latentjax.diffusion.processes import PREDICTIONS, convert
from latentjax.losses import score

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
SCALE = 0.7


def denoise(process, x_t, t):
  """E[x | z_t] for data N(0, SCALE^2)."""
  alpha, sigma = (fn(t).reshape(-1, 1) for fn in (process.alpha, process.sigma))
  return alpha * SCALE**2 * x_t / ((alpha * SCALE) ** 2 + sigma**2)


def predictor(process, prediction):
  """The perfect prediction of this kind."""

  def predict(x_t, t):
    x0 = denoise(process, x_t, t)
    return convert(x0, x_t, t, process=process, source="x0", target=prediction)

  return predict


@pytest.mark.parametrize("name", ["vp_cosine", "edm"])
def test_one_loss_for_all_predictions(name):
  """With a weighting the loss does not depend on what is predicted; its mean is the minimum in theory."""
  process = getattr(processes, name)()
  x = SCALE * RNG.standard_normal((4096, 2))
  times = lambda key, *, batch_size, axis_name=None: (
    0.05 + 0.9 * jnp.arange(batch_size) / batch_size
  )

  def losses(x):
    return {
      kind: score.denoising_loss(
        KEY,
        predictor(process, kind),
        x,
        process=process,
        prediction=kind,
        weighting=score.min_snr_weight,
        time_sampler=times,
      )
      for kind in PREDICTIONS
    }

  with jax.enable_x64(True):
    found = {kind: np.asarray(loss) for kind, loss in fast_jit(losses)(x).items()}
    t = times(KEY, batch_size=4096)
    alpha, sigma = np.asarray(process.alpha(t)), np.asarray(process.sigma(t))
  for kind in PREDICTIONS:
    np.testing.assert_allclose(found[kind], found["eps"], rtol=1e-6, atol=1e-12)
  # The error of eps that is left is alpha^2 s^2 / (alpha^2 s^2 + sigma^2), in 2 entries.
  least = 2 * (alpha * SCALE) ** 2 / ((alpha * SCALE) ** 2 + sigma**2)
  weight = np.minimum(1, 5 * (sigma / alpha) ** 2)
  expected = weight * least
  error = np.sqrt(np.mean(expected**2) / 4096)  # of a mean of chi-squares with 2 degrees
  assert abs(found["eps"].mean() - expected.mean()) < 4 * error


def test_times_at_the_ends_cost_what_their_limit_does():
  """Samplers draw an exact 0 now and then: with a bounded weight no prediction is singular there."""
  x, gamma, share = np.float32([[0.3, -0.8], [0.5, 0.2]]), 5.0, 0.25
  ends = lambda key, *, batch_size, axis_name=None: jnp.array([0.0, 1.0])
  last = processes.zero_terminal_snr(processes.vp_linear())

  def loss(share, process, kind):
    weight = partial(score.min_snr_weight, gamma=gamma)
    given = {"process": process, "prediction": kind, "weighting": weight, "time_sampler": ends}
    return score.denoising_loss(KEY, lambda z, t: share * z, x, **given)

  flow = processes.rectified_flow()
  cases = [(flow, kind) for kind in ("x0", "score", "eps")] + [(last, "eps")]
  run = lambda share: [loss(share, *case) for case in cases]
  found, slopes = fast_jit(lambda share: jax.jvp(run, (share,), (1.0,)))(share)
  assert np.isfinite(found).all() and np.isfinite(slopes).all()
  # The weight is min(SNR, gamma) on the error of x; without signal it is 1 and z is the noise.
  clean = gamma * (1 - share) ** 2 * np.sum(x[0] ** 2)
  np.testing.assert_allclose(found[0][0], clean, rtol=2e-3)
  np.testing.assert_allclose(found[3][1], found[2][1], rtol=1e-3)
  np.testing.assert_allclose(slopes[2][1], -2 * found[2][1] / (1 - share), rtol=1e-3)


def test_variational_loss_and_learned_schedules():
  """The bound's diffusion term of a normal: by the closed form, and the same for any schedule."""
  ends = 5.0, -6.0
  schedules = {
    "linear": lambda t: ends[0] + (ends[1] - ends[0]) * t,
    "bent": lambda t: ends[0] + (ends[1] - ends[0]) * t**2,
  }
  x = SCALE * RNG.standard_normal((20_000, 1)).astype(np.float32)

  def bound(x, name):
    process = processes.from_log_snr(schedules[name])
    predict = predictor(process, "eps")
    return score.variational_loss(KEY, predict, x, process=process)

  # The integral of half the least error of eps, s^2 SNR / (s^2 SNR + 1), over lambda.
  snr = np.exp(np.linspace(ends[1], ends[0], 100_001))
  mass = SCALE**2 * snr / (SCALE**2 * snr + 1)
  expected = 0.5 * np.mean(mass) * (ends[0] - ends[1])
  for name in schedules:
    loss = np.float64(fast_jit(partial(bound, name=name))(x))
    assert abs(loss.mean() - expected) < 4 * loss.std() / np.sqrt(len(loss)), name


def test_flow_matching_and_gradients():
  x_0, x_1 = RNG.standard_normal((2, 8, 3)).astype(np.float32)
  process = processes.rectified_flow()

  def both(w):
    predict = lambda z, t: w * z + t[:, None]
    noise = jax.random.normal(jax.random.key(9), x_0.shape)
    straight = score.flow_matching_loss(KEY, predict, x_0, noise)
    denoised = score.denoising_loss(KEY, predict, x_0, process=process, prediction="velocity")
    return jnp.mean(straight), jnp.mean(denoised)

  @fast_jit
  def run(w):
    exact = score.flow_matching_loss(KEY, lambda z, t: jnp.asarray(x_1 - x_0), x_0, x_1)
    return exact, *jax.jvp(both, (w,), (1.0,))

  exact, values, slopes = run(0.3)
  np.testing.assert_allclose(exact, 0, atol=1e-10)
  assert all(np.isfinite(values))
  assert all(np.abs(slopes) > 1e-3)


def test_times():
  """Every sampler has the distribution it says, and antithetic times cover the batch."""
  edm = processes.edm()

  def draw(key):
    return {
      "uniform": score.uniform_times(key, batch_size=4000),
      "antithetic": score.antithetic_times(key, batch_size=4000),
      "logit": score.logit_normal_times(key, batch_size=4000, mean=0.5, scale=2.0),
      "log": score.log_normal_times(key, batch_size=4000, process=edm),
    }

  t = {name: np.float64(times) for name, times in fast_jit(draw)(KEY).items()}
  assert all(((times >= 0) & (times < 1)).all() for times in t.values())
  assert abs(t["uniform"].mean() - 0.5) < 4 / np.sqrt(12 * 4000)
  np.testing.assert_allclose(np.diff(np.sort(t["antithetic"])), 1 / 4000, rtol=1e-2)
  logit = np.log(t["logit"]) - np.log1p(-t["logit"])
  level = np.log(np.float64(edm.sigma(jnp.asarray(t["log"], jnp.float32))))
  for values, mean, scale in ((logit, 0.5, 2.0), (level, -1.2, 1.2)):
    assert abs(values.mean() - mean) < 4 * scale / np.sqrt(4000)
    assert abs(values.std() / scale - 1) < 4 / np.sqrt(8000)


def test_weights():
  """As the papers write them, of the error of x or in terms of sigma."""
  log_snr = np.linspace(-8, 8, 9)
  snr = np.exp(log_snr)
  of_x = lambda weight: weight / snr  # a weight of |x - x_hat|^2 as one of |eps - eps_hat|^2
  expected = {
    "uniform_weight": of_x(snr),
    "min_snr_weight": of_x(np.minimum(snr, 5)),
    "p2_weight": 1 / (1 + snr),
    "sigmoid_weight": 1 / (1 + np.exp(log_snr - 2)),
    "edm_weight": of_x((1 / snr + 0.25) / (1 / snr * 0.25)),
  }
  found = fast_jit(lambda v: {name: getattr(score, name)(v) for name in expected})(log_snr)
  for name, values in expected.items():
    np.testing.assert_allclose(found[name], values, rtol=1e-5, err_msg=name)
  extreme = fast_jit(lambda v: [getattr(score, name)(v) for name in list(expected)[:4]])
  assert np.isfinite(extreme(np.float32([-200, 200]))).all()


def test_rows_have_the_same_times_and_noise_on_several_devices():
  x = RNG.standard_normal((8, 3)).astype(np.float32)
  process = processes.vp_linear()

  def losses(x, axis_name=None):
    predict = lambda z, t: jnp.sin(z) + t[:, None]
    samplers = score.antithetic_times, partial(score.log_normal_times, process=process)
    given = {"process": process, "prediction": "v", "axis_name": axis_name}
    return [
      score.denoising_loss(KEY, predict, x, time_sampler=sampler, **given) for sampler in samplers
    ] + [score.flow_matching_loss(KEY, predict, x, 2 * x, sigma=0.1, axis_name=axis_name)]

  mesh = Mesh(np.array(jax.devices()[:4]), (AXIS,))
  spec = P(AXIS)
  mapped = jax.shard_map(partial(losses, axis_name=AXIS), mesh=mesh, in_specs=spec, out_specs=spec)
  for one, many in zip(fast_jit(losses)(x), fast_jit(mapped)(x)):
    np.testing.assert_allclose(many, one, rtol=1e-5)


def test_bad_input():
  x, process = jnp.ones((4, 2)), processes.rectified_flow()
  zeros = lambda z, t: jnp.zeros_like(z)
  loss = partial(score.denoising_loss, KEY, process=process)
  for call, error, message in [
    (lambda: loss(zeros, x, prediction="noise"), ValueError, "prediction must be one of"),
    (lambda: loss(zeros, x.astype(int)), TypeError, "x must be a floating"),
    (lambda: loss(lambda z, t: z[:, :1], x), ValueError, "x and prediction must have the same"),
    (lambda: score.flow_matching_loss(KEY, zeros, x, x[:2]), ValueError, "x_0 and x_1 must have"),
    (lambda: score.min_snr_weight(x, gamma=0.0), ValueError, "gamma must be in"),
    (lambda: score.uniform_times(KEY, batch_size=0), ValueError, "batch_size must be a positive"),
  ]:
    with pytest.raises(error, match=message):
      call()
