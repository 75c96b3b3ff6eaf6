"""Mutual information by the Donsker-Varadhan partition function: plain, MINE and SMILE."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_range
from latentjax.collectives import all_gather_rows
from latentjax.losses.information._scores import (
  product_log_mean_exp,
  product_mean,
  split_scores,
)
from latentjax.losses.routing import scale_gradient

__all__ = [
  "MineState",
  "donsker_varadhan_bound",
  "init_mine",
  "jensen_shannon_bound",
  "mine_bound",
  "smile_bound",
]


class MineState(NamedTuple):
  """Moving average of the partition function, both scalars.

  Attributes:
    log_mean: logarithm of the average.
    weight: number of batches in it, each counting for what the decay has left of it.
  """

  log_mean: jax.Array
  weight: jax.Array


def donsker_varadhan_bound(scores: ArrayLike, *, axis_name: str | None = None) -> jax.Array:
  r"""Donsker-Varadhan estimate of mutual information, in nats; to be maximised.

  .. math::

    \ell_i = s_{ii} - \log Z, \qquad Z = \frac{1}{B (B - 1)} \sum_i \sum_{j \ne i} e^{s_{ij}}

  With Z = E[e^s] under the product of the marginals the mean of l is a lower bound, equal for
  s = log p(x, y) / p(x) p(y) + c. The batch's Z makes it a bound in neither direction: by Jensen
  log Z is low on average, and its gradient is biased. The variance of Z grows with the exponential of
  the information.

  Args:
    scores: critic's scores of all pairs, joint samples on the diagonal and product samples off it,
      shape (B, B).
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`; the
      columns are those of all devices, shape (B / n, B). Z is that of all devices.

  Returns:
    Estimate per example in nats, shape (B,), float32 or wider. Gradient flows to all scores, from
    every example.

  Raises:
    TypeError: if scores is not floating point.
    ValueError: if scores is not square or has a single row.

  Example:
    >>> donsker_varadhan_bound(2.0 * jnp.eye(3)).tolist()
    [2.0, 2.0, 2.0]

  References:
    Donsker & Varadhan, Asymptotic Evaluation of Certain Markov Process Expectations for Large Time,
      1983.
    Belghazi et al., Mutual Information Neural Estimation (MINE), 2018. arXiv:1801.04062
  """
  scores, joint, is_product = split_scores(scores, axis_name)
  return joint - _log_partition(scores, is_product, axis_name)


def init_mine() -> MineState:
  r"""State of `mine_bound` before the first batch.

  .. math:: \log 0 = -\infty

  Args:
    None.

  Returns:
    MineState with no batch in it.

  Raises:
    Nothing.

  Example:
    >>> float(init_mine().weight)
    0.0

  References:
    Belghazi et al., Mutual Information Neural Estimation (MINE), 2018. arXiv:1801.04062
  """
  return MineState(jnp.asarray(-jnp.inf, jnp.float32), jnp.asarray(0.0, jnp.float32))


def mine_bound(
  scores: ArrayLike,
  state: MineState,
  *,
  decay: ArrayLike = 0.99,
  axis_name: str | None = None,
) -> tuple[jax.Array, MineState]:
  r"""Donsker-Varadhan estimate whose gradient is corrected by a moving average (MINE), in nats.

  .. math::

    \ell_i = s_{ii} - \log Z, \qquad
    \nabla \ell_i := \nabla s_{ii} - \frac{\nabla Z}{\bar Z}, \qquad
    \bar Z_t = \sum_{u \le t} d^{t - u} Z_u \Big/ \sum_{u \le t} d^{t - u}

  The average lessens the bias that the batch's own Z leaves in the gradient of its logarithm. It
  contains the present batch and is corrected for its start, so that the first step is that of
  `donsker_varadhan_bound`, as is every step with d = 0. The value is the plain estimate throughout;
  see there for what it bounds. (The paper leaves d open.)

  Args:
    scores: critic's scores of all pairs, joint samples on the diagonal and product samples off it,
      shape (B, B).
    state: from `init_mine` or from the previous step.
    decay: d, in [0, 1]; with 1 it never forgets. Can be traced.
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`; the
      columns are those of all devices, shape (B / n, B).

  Returns:
    (estimate per example in nats, shape (B,), float32 or wider; the next state). Gradient flows to
    the scores as written above; the state is detached, the same on every device.

  Raises:
    TypeError: if scores is not floating point.
    ValueError: if scores is not square or has a single row, or decay is not in [0, 1].

  Example:
    >>> bound, state = mine_bound(2.0 * jnp.eye(3), init_mine())
    >>> bound.tolist(), float(state.weight)
    ([2.0, 2.0, 2.0], 1.0)

  References:
    Belghazi et al., Mutual Information Neural Estimation (MINE), 2018, section 3.2.
      arXiv:1801.04062
  """
  scores, joint, is_product = split_scores(scores, axis_name)
  check_range(0.0, 1.0, decay=decay)
  log_partition = _log_partition(scores, is_product, axis_name)
  state = _average(state, jax.lax.stop_gradient(log_partition), decay)
  correction = jnp.exp(log_partition - state.log_mean)
  return joint - scale_gradient(log_partition, correction), state


def jensen_shannon_bound(scores: ArrayLike, *, axis_name: str | None = None) -> jax.Array:
  r"""Lower bound on the Jensen-Shannon divergence of joint and product, in nats; to be maximised.

  .. math::

    \ell_i = -\zeta(-s_{ii}) - \frac{1}{B - 1} \sum_{j \ne i} \zeta(s_{ij}), \qquad
    E[\ell_i] \le 2 \, JSD(p(x, y) \,\|\, p(x) p(y)) - \log 4 \le 0, \qquad
    \zeta(s) = \log(1 + e^s)

  Equal for s = log p(x, y) / p(x) p(y): minus the cross-entropy of a classifier that tells joint from
  product. Unbiased, with gradients that do not explode; but no bound on mutual information, which
  its critic estimates through `smile_bound`.

  Args:
    scores: critic's scores of all pairs, joint samples on the diagonal and product samples off it,
      shape (B, B).
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`; the
      columns are those of all devices, shape (B / n, B).

  Returns:
    Bound per example in nats, shape (B,), float32 or wider. Gradient flows to the scores.

  Raises:
    TypeError: if scores is not floating point.
    ValueError: if scores is not square or has a single row.

  Example:
    >>> jensen_shannon_bound(jnp.zeros((2, 2))).tolist()  # -log 4
    [-1.38629..., -1.38629...]

  References:
    Nowozin, Cseke & Tomioka, f-GAN, 2016. arXiv:1606.00709
    Hjelm et al., Learning Deep Representations by Mutual Information Estimation and Maximization,
      2019. arXiv:1808.06670
  """
  scores, joint, is_product = split_scores(scores, axis_name)
  return -jax.nn.softplus(-joint) - product_mean(jax.nn.softplus(scores), is_product)


def smile_bound(
  scores: ArrayLike, *, clip: ArrayLike = 5.0, axis_name: str | None = None
) -> jax.Array:
  r"""Donsker-Varadhan estimate with a clipped partition function (SMILE), in nats; to be maximised.

  .. math::

    \ell_i = s_{ii} - \log \frac{1}{B (B - 1)} \sum_i \sum_{j \ne i}
    e^{\max(-\tau, \min(s_{ij}, \tau))}, \qquad
    \nabla \ell_i := \nabla \ell_i^{JS}

  The clip bounds the variance of the partition function, at the price of a bias in either direction:
  it is a bound in neither. The critic is trained by `jensen_shannon_bound`, whose gradient this has,
  as in the authors' experiments. The larger tau, the less bias and the more variance; without a clip
  the value is that of `donsker_varadhan_bound`.

  Args:
    scores: critic's scores of all pairs, joint samples on the diagonal and product samples off it,
      shape (B, B).
    clip: tau, at least 0; infinity for no clip. Can be traced.
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`; the
      columns are those of all devices, shape (B / n, B). The partition function is that of all.

  Returns:
    Estimate per example in nats, shape (B,), float32 or wider. Gradient flows to the scores as
    through `jensen_shannon_bound`.

  Raises:
    TypeError: if scores is not floating point.
    ValueError: if scores is not square or has a single row, or clip is negative.

  Example:
    >>> smile_bound(9.0 - 18.0 * (1 - jnp.eye(3)), clip=1.0).tolist()
    [10.0, 10.0, 10.0]

  References:
    Song & Ermon, Understanding the Limitations of Variational Mutual Information Estimators, 2020.
      arXiv:1910.06222
  """
  trained = jensen_shannon_bound(scores, axis_name=axis_name)
  scores, joint, is_product = split_scores(scores, axis_name)
  check_range(low=0.0, clip=clip)
  clip = jnp.asarray(clip, scores.dtype)
  value = joint - _log_partition(jnp.clip(scores, -clip, clip), is_product, axis_name)
  return jax.lax.stop_gradient(value) + (trained - jax.lax.stop_gradient(trained))


def _log_partition(scores: jax.Array, is_product: jax.Array, axis_name: str | None) -> jax.Array:
  """log Z over the product samples of all devices, a scalar."""
  rows = all_gather_rows(product_log_mean_exp(scores, is_product), axis_name)
  return jax.nn.logsumexp(rows) - math.log(rows.shape[0])


def _average(state: MineState, log_value: jax.Array, decay: ArrayLike) -> MineState:
  """The value joins the average with weight 1, after all before it have decayed."""
  kept = jnp.asarray(decay, log_value.dtype) * state.weight
  weight = 1 + kept
  log_mean = jnp.logaddexp(jnp.log(kept / weight) + state.log_mean, log_value - jnp.log(weight))
  return MineState(log_mean, weight)
