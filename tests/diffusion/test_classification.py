"""Diffusion Classifier against Bayes' rule, elimination against the full table."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import AXIS, check_kernel, fast_jit
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P
from scipy import stats

from latentjax.diffusion import processes
from latentjax.diffusion.classification import class_errors, eliminate_classes
from latentjax.diffusion.processes.predictions import draw_noise

KEY = jax.random.key(0)
MEANS = np.float32([[-1.0, 0.0, 0.5], [0.8, 0.3, -0.4], [0.2, -1.0, 0.1], [1.0, 1.0, 1.0]])
SCALES = np.float32([0.5, 0.9, 0.4, 0.7])
PROCESS = processes.from_log_snr(lambda t: 8 - 18 * t)


def predict(z, t, labels, prediction="eps"):
  """The perfect prediction of a normal class."""
  alpha, sigma = PROCESS.alpha(t)[:, None], PROCESS.sigma(t)[:, None]
  mean, variance = jnp.asarray(MEANS)[labels], jnp.asarray(SCALES)[labels][:, None] ** 2
  eps = sigma * (z - alpha * mean) / (alpha**2 * variance + sigma**2)
  return processes.convert(eps, z, t, process=PROCESS, source="eps", target=prediction)


def test_bayes_rule():
  """Half the range of lambda times the error, at even lambda, is -log p(x | c) but for a constant."""
  x = np.random.default_rng(0).normal(0, 1, (6, 3)).astype(np.float32)
  times = (np.arange(3000, dtype=np.float32) + 0.5) / 3000
  given = {"num_classes": 4, "process": PROCESS, "times": times}

  def errors(x):
    shared = 9.0 * class_errors(KEY, partial(predict, prediction="v"), x, prediction="v", **given)
    return shared, 9.0 * class_errors(KEY, predict, x, shared_noise=False, **given)

  shared, independent = fast_jit(errors)(x)
  log_p = np.stack([stats.norm(m, s).logpdf(x).sum(1) for m, s in zip(MEANS, SCALES)], axis=1)
  differences = lambda a: np.asarray(a - a[:, :1], np.float64)
  np.testing.assert_allclose(differences(shared), -differences(log_p), atol=0.25)
  # What the draws have in common does not cancel where every class has its own.
  spread = [np.abs(differences(e) + differences(log_p)).mean() for e in (shared, independent)]
  assert spread[0] < 0.7 * spread[1], spread


def test_contract_and_numpy():
  """As a loop over times and classes in numpy, with a weight."""
  x = np.random.default_rng(1).normal(0, 1, (8, 3)).astype(np.float32)
  times = np.float32([0.3, 0.6])
  weighting = lambda log_snr: 1 / (1 + jnp.exp(log_snr))
  kwargs = {"num_classes": 4, "process": PROCESS, "times": times, "weighting": weighting}
  run = lambda key, x, **kw: class_errors(key, predict, x, **(kwargs | kw))
  draw = fast_jit(lambda: [draw_noise(k, jnp.asarray(x), None) for k in jax.random.split(KEY, 2)])
  expected = np.zeros((8, 4))
  for eps, t in zip(np.float64(draw()), np.float64(times)):
    log_snr = 8 - 18 * t
    alpha, sigma = 1 / np.sqrt(1 + np.exp(-log_snr)), 1 / np.sqrt(1 + np.exp(log_snr))
    z = alpha * x + sigma * eps
    for c, (mean, scale) in enumerate(zip(np.float64(MEANS), np.float64(SCALES))):
      eps_hat = sigma * (z - alpha * mean) / (alpha**2 * scale**2 + sigma**2)
      expected[:, c] += np.sum((eps - eps_hat) ** 2, axis=1) / (1 + np.exp(log_snr)) / 2
  check_kernel(
    run,
    [x],
    oracle=expected,
    rtol=1e-3,
    key=KEY,
    bad_inputs=[
      ([x], {"num_classes": 0}, ValueError, "num_classes must be a positive"),
      ([x], {"times": 0.5}, ValueError, "times must have 1 axes"),
      ([x], {"block_size": 0}, ValueError, "block_size must be a positive"),
      ([x], {"prediction": "z"}, ValueError, "prediction must be one of"),
    ],
  )


def test_ends_of_time_and_the_range_of_half_precision():
  """The error of an estimate of 0 is that of the noise itself, also where the model sees nothing else."""
  x = np.ones((8, 9000), np.float16)  # their sum is above the largest number
  given = {"num_classes": 2, "process": processes.rectified_flow(), "times": jnp.ones(1)}
  errors = fast_jit(partial(class_errors, KEY, lambda z, t, labels: 0 * z, **given))(x)
  assert np.all(np.abs(errors / 9000 - 1) < 5 * np.sqrt(2 / 9000)) and errors.dtype == np.float32


def test_elimination():
  """The best class of the full table, and its error, with fewer calls; the same on several devices."""
  x = np.repeat(MEANS, 2, axis=0)
  times = np.linspace(0.2, 0.7, 40, dtype=np.float32).reshape(2, 20)
  given = {"num_classes": 4, "process": PROCESS, "block_size": 3}
  stages = [(times[0], 2), (times[1], 1)]

  def cut(x, axis_name=None):
    return eliminate_classes(KEY, predict, x, stages=stages, axis_name=axis_name, **given)

  def both(x):
    keys = [jax.random.fold_in(KEY, i) for i in range(2)]
    parts = [class_errors(k, predict, x, times=t, **given) for k, t in zip(keys, times)]
    return sum(parts) / 2, cut(x)

  table, (labels, errors) = fast_jit(both)(x)
  np.testing.assert_array_equal(labels[:, 0], np.argmin(table, axis=1))
  np.testing.assert_array_equal(labels[:, 0], np.repeat(np.arange(4), 2))
  np.testing.assert_allclose(errors[:, 0], np.min(table, axis=1), rtol=1e-5)
  mesh = Mesh(np.array(jax.devices()[:4]), (AXIS,))
  mapped = jax.shard_map(lambda x: cut(x, AXIS)[1], mesh=mesh, in_specs=P(AXIS), out_specs=P(AXIS))
  np.testing.assert_allclose(fast_jit(mapped)(x), errors, rtol=1e-5)
  for stages, message in [
    ([(times[0], 5)], "stages must keep fewer"),
    ([(times[0], 2), (times[1], 3)], "stages must keep fewer"),
    ([], "stages must have at least one"),
    ([(times[0], 0)], "stages' count must be a positive"),
  ]:
    with pytest.raises(ValueError, match=message):
      eliminate_classes(KEY, predict, x, stages=stages, **given)
