"""Bounds on mutual information against loops over pairs and against Gaussians of known information."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import check_kernel
from split import check_split

from latentjax.collectives import device_mean
from latentjax.losses.information import (
  MineState,
  bayes_loss,
  ceb_loss,
  club_bound,
  donsker_varadhan_bound,
  info_nce_bound,
  init_mine,
  interpolated_bound,
  jensen_shannon_bound,
  leave_one_out_bound,
  mine_bound,
  nwj_bound,
  smile_bound,
  tuba_bound,
  vib_loss,
)

B = 8
RNG = np.random.default_rng(0)
SCORES, LOG_BASELINE = 2 * RNG.standard_normal((B, B)), RNG.standard_normal(B)
ALPHA, CLIP, DECAY = 0.3, 0.5, 0.9
STATE = MineState(jnp.float32(0.7), jnp.float32(2.0))


def bounds(scores, log_baseline, axis_name=None):
  run = {"axis_name": axis_name}
  return {
    "tuba": tuba_bound(scores, log_baseline, **run),
    "nwj": nwj_bound(scores, **run),
    "info_nce": info_nce_bound(scores, **run),
    "interpolated": interpolated_bound(scores, log_baseline, alpha=ALPHA, **run),
    "dv": donsker_varadhan_bound(scores, **run),
    "js": jensen_shannon_bound(scores, **run),
    "club": club_bound(scores, **run),
    "leave_one_out": leave_one_out_bound(scores, **run),
  }


def trained_bounds(scores, axis_name=None):
  mine, _ = mine_bound(scores, STATE, decay=DECAY, axis_name=axis_name)
  return {"mine": mine, "smile": smile_bound(scores, clip=CLIP, axis_name=axis_name)}


def oracle(scores, log_baseline):
  """Every bound from its definition, one pair at a time."""
  size = len(scores)
  others = [[j for j in range(size) if j != i] for i in range(size)]
  ratio, log = np.exp(scores), np.log
  joint = np.diag(scores)
  partition = np.mean([ratio[i, j] for i in range(size) for j in others[i]])
  clipped = np.clip(ratio, np.exp(-CLIP), np.exp(CLIP))
  clipped_partition = np.mean([clipped[i, j] for i in range(size) for j in others[i]])

  def interpolated(i):
    q = np.exp(log_baseline[i])
    mix = lambda left_out: (
      ALPHA * np.mean([ratio[i, k] for k in range(size) if k != left_out]) + (1 - ALPHA) * q
    )
    product = np.mean([ratio[i, k] / mix(i) for k in others[i]])
    return 1 + np.mean([log(ratio[i, i] / mix(j)) for j in others[i]]) - product

  def each(fn):
    return np.array([fn(i) for i in range(size)])

  return {
    "tuba": each(
      lambda i: (
        1
        + joint[i]
        - log_baseline[i]
        - np.mean([ratio[i, j] / np.exp(log_baseline[i]) for j in others[i]])
      )
    ),
    "nwj": each(lambda i: joint[i] - np.mean([ratio[i, j] / np.e for j in others[i]])),
    "info_nce": each(lambda i: log(ratio[i, i] / np.mean(ratio[i]))),
    "interpolated": each(interpolated),
    "dv": joint - log(partition),
    "leave_one_out": each(lambda i: log(ratio[i, i] / np.mean([ratio[i, j] for j in others[i]]))),
    "mine": joint - log(partition),
    "js": each(
      lambda i: (
        log(ratio[i, i] / (1 + ratio[i, i]))
        + np.mean([log(1 / (1 + ratio[i, j])) for j in others[i]])
      )
    ),
    "smile": joint - log(clipped_partition),
    "club": each(lambda i: joint[i] - np.mean([scores[i, j] for j in others[i]])),
  }


def test_bounds_over_devices():
  def means(scores, log_baseline, axis_name):
    values = bounds(scores, log_baseline, axis_name)
    return {name: device_mean(jnp.mean(value), axis_name) for name, value in values.items()}

  def expected(scores, log_baseline):
    values = oracle(scores, log_baseline)
    return {name: values[name].mean() for name in values.keys() - {"mine", "smile"}}

  check_split(means, [SCORES, LOG_BASELINE], expected)


def test_bounds_with_gradients_of_their_own():
  """MINE divides by its average, SMILE trains as Jensen-Shannon."""

  def surrogate(scores, axis_name=None):
    partition = np.exp(SCORES)[~np.eye(B, dtype=bool)].mean()
    average = (2 * DECAY * np.exp(0.7) + partition) / (2 * DECAY + 1)
    joint = jnp.diag(scores)
    mine = joint - jnp.exp(joint - donsker_varadhan_bound(scores)) / average
    return {"mine": mine, "smile": jensen_shannon_bound(scores)}

  def expected(scores):
    values = oracle(scores, LOG_BASELINE)
    return {"mine": values["mine"], "smile": values["smile"]}

  check_kernel(
    trained_bounds,
    [SCORES],
    oracle=expected,
    surrogate=surrogate,
    batch_coupled=True,
    extreme=[[0 * SCORES], [1e4 * SCORES], [1e4 * np.eye(B)], [-1e4 * np.eye(B)]],
    bad_inputs=[
      ([SCORES.astype(int)], {}, TypeError, "scores must be a floating point"),
      ([SCORES[0]], {}, ValueError, "scores must have 2 axes"),
      ([SCORES[:, :7]], {}, ValueError, "one column for each of the 8 rows .* \\(8, 7\\)"),
      ([SCORES[:1, :1]], {}, ValueError, "at least 2 rows"),
    ],
  )


@pytest.mark.parametrize(
  ("call", "match"),
  [
    (partial(interpolated_bound, log_baseline=LOG_BASELINE, alpha=1.5), "alpha must be in"),
    (partial(tuba_bound, log_baseline=LOG_BASELINE[:2]), "log_baseline and diagonal must have the"),
    (partial(smile_bound, clip=-1.0), "clip must be in"),
    (partial(mine_bound, state=STATE, decay=-0.1), "decay must be in"),
  ],
)
def test_bad_settings(call, match):
  with pytest.raises(ValueError, match=match):
    call(SCORES)


@jax.jit
@jax.vmap
def every_bound(scores):
  """Means of all bounds with baseline 1, their limits, and whether value and gradient are finite."""

  def total(scores):
    zeros = jnp.zeros(len(scores))
    values = bounds(scores, zeros) | {
      "alpha_1": interpolated_bound(scores, zeros, alpha=1.0),
      "unclipped": smile_bound(scores, clip=jnp.inf),
    }
    stable = sum(jnp.sum(value) for name, value in values.items() if name not in ("tuba", "nwj"))
    unstable = {
      "nwj": nwj_bound(scores + 1),
      "alpha_0": interpolated_bound(scores, zeros, alpha=0.0),
    }
    return stable, values | unstable

  (stable, values), grad = jax.value_and_grad(total, has_aux=True)(scores)
  is_finite = jnp.isfinite(stable) & jnp.isfinite(grad).all()
  return {name: jnp.mean(value) for name, value in values.items()} | {"is_finite": is_finite}


NOISE, DIAGONAL, CORRELATION = RNG.standard_normal((64, 64)), np.eye(64), 0.8


@pytest.fixture(scope="module")
def values():
  """Bounds of six awkward batches, and of a hundred from Gaussians with the optimal critic."""
  awkward = [NOISE, 30 * DIAGONAL, 1e4 * NOISE, 1e4 * DIAGONAL, -1e4 * DIAGONAL, 0 * NOISE]
  x, noise = RNG.standard_normal((2, 100, 64))
  variance = 1 - CORRELATION**2
  y = CORRELATION * x + np.sqrt(variance) * noise
  x, y = x[:, :, None], y[:, None]  # rows x, columns y
  gaussian = (y**2 - (y - CORRELATION * x) ** 2 / variance - np.log(variance)) / 2
  every = every_bound(np.concatenate([awkward, gaussian]))
  return {name: (np.asarray(v)[:6], np.asarray(v)[6:]) for name, v in every.items()}


def test_identities_and_limits(values):
  values = {name: awkward for name, (awkward, _) in values.items()}
  assert values["is_finite"].all()
  for name, same in {"alpha_0": "tuba", "nwj": "tuba", "unclipped": "dv"}.items():
    np.testing.assert_allclose(values[name][0], values[same][0], rtol=1e-5)
  np.testing.assert_allclose(values["info_nce"][1::2], [np.log(64), np.log(64), 0], atol=1e-5)
  np.testing.assert_allclose(values["alpha_1"][[1, 3]], np.log(63), rtol=1e-5)


def test_gaussians_of_known_information(values):
  """Lower bounds below, upper bounds above, some of them tight."""
  information = -0.5 * np.log(1 - CORRELATION**2)
  means = {name: (v.mean(), v.std() / 10) for name, (_, v) in values.items()}
  for name in ("tuba", "nwj", "dv"):  # tight
    np.testing.assert_allclose(means[name][0], information, atol=4 * means[name][1] + 5e-3)
  for name in ("info_nce", "alpha_1", "interpolated"):
    assert means[name][0] < information + 4 * means[name][1]
  for name in ("club", "leave_one_out"):
    assert means[name][0] > information - 4 * means[name][1]


def test_mine_averages_the_partition_function():
  """Three steps against the weighted mean, and the first is that of Donsker and Varadhan."""
  batches = RNG.standard_normal((3, B, B)).astype(np.float32)
  partitions = np.exp(batches.astype(float))[:, ~np.eye(B, dtype=bool)].mean(1)

  @jax.jit
  def run(batches):
    def step(state, scores):
      grad, state = jax.grad(
        lambda s: (lambda b, n: (b.sum(), n))(*mine_bound(s, state, decay=DECAY)), has_aux=True
      )(scores)
      return state, grad

    state, grads = jax.lax.scan(step, init_mine(), batches)
    return state, grads, jax.grad(lambda s: donsker_varadhan_bound(s).sum())(batches[0])

  state, grads, plain = run(batches)
  weights = DECAY ** np.arange(3)[::-1]
  np.testing.assert_allclose(
    np.exp(state.log_mean), weights @ partitions / weights.sum(), rtol=1e-5
  )
  np.testing.assert_allclose(state.weight, weights.sum(), rtol=1e-6)
  np.testing.assert_allclose(grads[0], plain, rtol=1e-4, atol=1e-6)


def test_bottlenecks():
  def losses(nll, kl, log_backward):
    whole = jnp.sum(log_backward)
    bayes = bayes_loss(nll, whole, num_examples=5)
    return vib_loss(nll, kl, beta=0.1), ceb_loss(kl, log_backward, -nll, gamma=2.0), bayes

  args = tuple(RNG.standard_normal((3, B)))
  check_kernel(
    losses,
    args,
    oracle=lambda nll, kl, backward: (
      nll + kl / 10,
      (kl - backward) + nll + nll,
      nll + backward.mean() * B / 5,
    ),
    bad_inputs=[
      ((args[0].astype(int), *args[1:]), {}, TypeError, "nll must be a floating point"),
      ((args[0][:3], *args[1:]), {}, ValueError, "nll and kl must have the same shape"),
      ((args[0], args[1], args[2][:3]), {}, ValueError, "must have the same shape"),
    ],
  )
  with pytest.raises(ValueError, match="beta must be in"):
    vib_loss(*args[:2], beta=-1.0)
  with pytest.raises(ValueError, match="gamma must be in"):
    ceb_loss(*args, gamma=-1.0)
  with pytest.raises(ValueError, match="kl_params must have 0 axes"):
    bayes_loss(*args[:2], num_examples=5)
  with pytest.raises(ValueError, match="num_examples must be a positive"):
    bayes_loss(args[0], args[1][0], num_examples=0)
