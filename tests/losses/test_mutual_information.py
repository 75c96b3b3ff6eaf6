"""Bounds on mutual information against loops over pairs and against Gaussians of known information."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import check_kernel

from latentjax.losses.information import (
  MineState,
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
    "mine": mine_bound(scores, STATE, decay=DECAY, **run)[0],
    "js": jensen_shannon_bound(scores, **run),
    "smile": smile_bound(scores, clip=CLIP, **run),
    "club": club_bound(scores, **run),
    "leave_one_out": leave_one_out_bound(scores, **run),
  }


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
    "mine": joint - log(partition),
    "js": each(
      lambda i: (
        log(ratio[i, i] / (1 + ratio[i, i]))
        + np.mean([log(1 / (1 + ratio[i, j])) for j in others[i]])
      )
    ),
    "smile": joint - log(clipped_partition),
    "club": each(lambda i: joint[i] - np.mean([scores[i, j] for j in others[i]])),
    "leave_one_out": each(lambda i: log(ratio[i, i] / np.mean([ratio[i, j] for j in others[i]]))),
  }


def surrogate(scores, log_baseline, axis_name=None):
  """What the gradients are those of: MINE divides by its average, SMILE trains as Jensen-Shannon."""
  partition = np.exp(SCORES)[~np.eye(B, dtype=bool)].mean()
  average = (2 * DECAY * np.exp(0.7) + partition) / (2 * DECAY + 1)
  values = bounds(scores, log_baseline)
  of_scores = jnp.exp(jnp.diag(scores) - donsker_varadhan_bound(scores))
  return values | {"mine": jnp.diag(scores) - of_scores / average, "smile": values["js"]}


def test_bounds():
  narrow, args = SCORES[:, :7], (SCORES, LOG_BASELINE)
  check_kernel(
    bounds,
    args,
    oracle=oracle,
    surrogate=surrogate,
    batch_coupled=True,
    extreme=[
      (0 * SCORES, 0 * LOG_BASELINE),
      (40 * np.eye(B), LOG_BASELINE),
      (-40 * np.eye(B), -LOG_BASELINE),
    ],
    bad_inputs=[
      ((SCORES.astype(int), LOG_BASELINE), {}, TypeError, "scores must be a floating point"),
      ((SCORES[0], LOG_BASELINE), {}, ValueError, "scores must have 2 axes"),
      ((narrow, LOG_BASELINE), {}, ValueError, "one column for each of the 8 rows .* \\(8, 7\\)"),
      ((SCORES[:1, :1], LOG_BASELINE[:1]), {}, ValueError, "at least 2 rows"),
      ((SCORES, LOG_BASELINE[:2]), {}, ValueError, "log_baseline and diagonal must have the same"),
    ],
  )


@pytest.mark.parametrize(
  ("call", "match"),
  [
    (partial(interpolated_bound, log_baseline=LOG_BASELINE, alpha=1.5), "alpha must be in"),
    (partial(smile_bound, clip=-1.0), "clip must be in"),
    (partial(mine_bound, state=STATE, decay=-0.1), "decay must be in"),
  ],
)
def test_bad_settings(call, match):
  with pytest.raises(ValueError, match=match):
    call(SCORES)


def test_limits():
  """alpha = 0 is TUBA, alpha = 1 at most log(B - 1); no clip is DV; scores of 1e4 stay finite."""

  @jax.jit
  def run(scores, log_baseline):
    def total(scores):
      values = bounds(scores, log_baseline)
      values |= {
        "alpha_0": interpolated_bound(scores, log_baseline, alpha=0.0),
        "alpha_1": interpolated_bound(scores, log_baseline, alpha=1.0),
        "unclipped": smile_bound(scores, clip=jnp.inf),
      }
      kept = [value for name, value in values.items() if name not in ("tuba", "nwj", "alpha_0")]
      return jnp.sum(jnp.stack(kept)), values

    return jax.value_and_grad(total, has_aux=True)(scores)

  (_, values), _ = run(SCORES, LOG_BASELINE)
  np.testing.assert_allclose(values["alpha_0"], values["tuba"], rtol=1e-5)
  np.testing.assert_allclose(values["unclipped"], values["dv"], rtol=1e-5)
  (_, values), _ = run(30 * np.eye(B), LOG_BASELINE)
  np.testing.assert_allclose(values["info_nce"], np.log(B), rtol=1e-6)
  np.testing.assert_allclose(values["alpha_1"], np.log(B - 1), rtol=1e-5)
  for extreme in (1e4 * SCORES, 1e4 * np.eye(B), -1e4 * np.eye(B)):
    (total, _), grad = run(extreme, LOG_BASELINE)
    assert np.isfinite(total) and np.isfinite(grad).all()


def test_gaussians_of_known_information():
  """The optimal critic: lower bounds below, upper bounds above, InfoNCE at most log B."""
  size, correlation = 64, 0.8
  information = -0.5 * np.log(1 - correlation**2)
  x, noise = np.random.default_rng(1).standard_normal((2, 400, size))
  y = correlation * x + np.sqrt(1 - correlation**2) * noise

  x, y = x[:, :, None], y[:, None]  # rows x, columns y
  variance = 1 - correlation**2
  scores = (y**2 - (y - correlation * x) ** 2 / variance - np.log(variance)) / 2
  zeros = np.zeros(size)

  @jax.jit
  @jax.vmap
  def run(scores):
    values = bounds(scores, zeros) | {"nwj": nwj_bound(scores + 1)}
    return {name: jnp.mean(value) for name, value in values.items()}

  means = {name: (v.mean(), v.std() / np.sqrt(400)) for name, v in run(scores).items()}
  for name in ("tuba", "nwj", "dv"):  # tight
    np.testing.assert_allclose(means[name][0], information, atol=4 * means[name][1] + 5e-3)
  for name in ("info_nce", "interpolated"):
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
    return vib_loss(nll, kl, beta=0.1), ceb_loss(kl, log_backward, -nll, gamma=2.0)

  args = tuple(RNG.standard_normal((3, B)))
  check_kernel(
    losses,
    args,
    oracle=lambda nll, kl, backward: (nll + kl / 10, (kl - backward) + nll + nll),
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
