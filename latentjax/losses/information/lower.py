"""Lower bounds on mutual information that need no partition function of the whole batch."""

import math

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_float, check_range, check_same_shape
from latentjax.losses.information._scores import product_log_mean_exp, split_scores

__all__ = ["info_nce_bound", "interpolated_bound", "nwj_bound", "tuba_bound"]


def tuba_bound(
  scores: ArrayLike, log_baseline: ArrayLike, *, axis_name: str | None = None
) -> jax.Array:
  r"""Unnormalised Barber-Agakov lower bound (TUBA), in nats; to be maximised.

  .. math::

    \ell_i = 1 + s_{ii} - \log a_i - \frac{1}{B - 1} \sum_{j \ne i} e^{s_{ij}} / a_i, \qquad
    E[\ell_i] \le I(X; Y)

  for any critic s and any positive baseline a of the rows' variable; equal for
  s - log a = log p(x, y) / p(x) p(y). Unbiased, and of a variance that grows with the exponential of
  the information.

  Args:
    scores: critic's scores of all pairs, joint samples on the diagonal and product samples off it,
      shape (B, B).
    log_baseline: log a of every row's example, shape (B,).
    axis_name: mapped device axis over which the rows of both arrays are split, inside `pmap` or
      `shard_map`; the columns are those of all devices, shape (B / n, B).

  Returns:
    Bound per example in nats, shape (B,), float32 or wider. Gradient flows to both arguments. It
    leaves float32 where a score is more than 88 above its baseline.

  Raises:
    TypeError: if an argument is not floating point.
    ValueError: if scores is not square, has a single row, or log_baseline is not of shape (B,).

  Example:
    >>> tuba_bound(jnp.zeros((2, 2)), jnp.zeros(2)).tolist()
    [0.0, 0.0]

  References:
    Poole et al., On Variational Bounds of Mutual Information, 2019 (I_TUBA). arXiv:1905.06922
  """
  scores, joint, is_product = split_scores(scores, axis_name)
  log_baseline = _as_baseline(log_baseline, joint)
  log_partition = product_log_mean_exp(scores, is_product)
  return 1 + joint - log_baseline - jnp.exp(log_partition - log_baseline)


def nwj_bound(scores: ArrayLike, *, axis_name: str | None = None) -> jax.Array:
  r"""Lower bound of Nguyen, Wainwright and Jordan (MINE-f), in nats; to be maximised.

  .. math::

    \ell_i = s_{ii} - \frac{1}{B - 1} \sum_{j \ne i} e^{s_{ij} - 1}, \qquad E[\ell_i] \le I(X; Y)

  `tuba_bound` with a = e; equal for s = 1 + log p(x, y) / p(x) p(y). Unbiased, of large variance.

  Args:
    scores: critic's scores of all pairs, joint samples on the diagonal and product samples off it,
      shape (B, B).
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`; the
      columns are those of all devices, shape (B / n, B).

  Returns:
    Bound per example in nats, shape (B,), float32 or wider. Gradient flows to the scores. It leaves
    float32 where a score exceeds 89.

  Raises:
    TypeError: if scores is not floating point.
    ValueError: if scores is not square or has a single row.

  Example:
    >>> nwj_bound(jnp.ones((2, 2))).tolist()
    [0.0, 0.0]

  References:
    Nguyen, Wainwright & Jordan, Estimating Divergence Functionals and the Likelihood Ratio by Convex
      Risk Minimization, 2010. arXiv:0809.0853
    Poole et al., On Variational Bounds of Mutual Information, 2019 (I_NWJ). arXiv:1905.06922
  """
  scores, joint, is_product = split_scores(scores, axis_name)
  return joint - jnp.exp(product_log_mean_exp(scores, is_product) - 1)


def info_nce_bound(scores: ArrayLike, *, axis_name: str | None = None) -> jax.Array:
  r"""InfoNCE lower bound on mutual information, in nats; to be maximised.

  .. math::

    \ell_i = \log B + s_{ii} - \log \sum_{j=1}^B e^{s_{ij}} \le \log B, \qquad
    E[\ell_i] \le I(X; Y)

  Of low variance, and biased low as soon as the information nears log B.

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
    >>> info_nce_bound(1e4 * jnp.eye(4)).tolist()  # log 4
    [1.38629..., 1.38629..., 1.38629..., 1.38629...]

  References:
    van den Oord, Li & Vinyals, Representation Learning with Contrastive Predictive Coding, 2018.
      arXiv:1807.03748
    Poole et al., On Variational Bounds of Mutual Information, 2019 (I_NCE). arXiv:1905.06922
  """
  scores, joint, _ = split_scores(scores, axis_name)
  return math.log(scores.shape[1]) - jax.nn.logsumexp(scores - joint[:, None], axis=1)


def interpolated_bound(
  scores: ArrayLike,
  log_baseline: ArrayLike,
  *,
  alpha: ArrayLike,
  axis_name: str | None = None,
) -> jax.Array:
  r"""Lower bound between InfoNCE and TUBA that trades bias for variance, in nats; to be maximised.

  .. math::

    \ell_i = 1 + s_{ii} - \frac{1}{B - 1} \sum_{j \ne i} \log a_{ij} - \frac{m_{ii}}{a_{ii}}, \qquad
    a_{ij} = \alpha m_{ij} + (1 - \alpha) q_i, \quad
    m_{ij} = \frac{1}{B - 1} \sum_{k \ne j} e^{s_{ik}}, \qquad E[\ell_i] \le I(X; Y)

  Every m is a mean over B - 1 columns: with the joint sample among them in the first sum (averaged
  over which other one is left out), without it in the last term. alpha = 1 is InfoNCE on B - 1
  samples, at most log(B - 1); alpha = 0 is TUBA with baseline q. In general at most
  log(B - 1) - log(alpha).

  Args:
    scores: critic's scores of all pairs, joint samples on the diagonal and product samples off it,
      shape (B, B).
    log_baseline: log q of every row's example, shape (B,).
    alpha: weight of the batch's own mean, in [0, 1]. Can be traced.
    axis_name: mapped device axis over which the rows of both arrays are split, inside `pmap` or
      `shard_map`; the columns are those of all devices, shape (B / n, B).

  Returns:
    Bound per example in nats, shape (B,), float32 or wider. Gradient flows to scores and
    log_baseline.

  Raises:
    TypeError: if an argument is not floating point.
    ValueError: if scores is not square, has a single row, log_baseline is not of shape (B,), or
      alpha is not in [0, 1].

  Example:
    >>> scores, log_baseline = jnp.full((2, 2), 3.0), jnp.full(2, 3.0)
    >>> interpolated_bound(scores, log_baseline, alpha=0.5).tolist()
    [0.0, 0.0]

  References:
    Poole et al., On Variational Bounds of Mutual Information, 2019 (I_alpha). arXiv:1905.06922
  """
  scores, joint, is_product = split_scores(scores, axis_name)
  log_baseline = _as_baseline(log_baseline, joint)
  check_range(0.0, 1.0, alpha=alpha)
  alpha = jnp.asarray(alpha, scores.dtype)
  # Only differences count; relative to the joint sample they keep their digits.
  scores, log_baseline = scores - joint[:, None], log_baseline - joint

  def mix(log_mean: jax.Array, log_baseline: jax.Array) -> jax.Array:
    return jnp.logaddexp(jnp.log(alpha) + log_mean, jnp.log1p(-alpha) + log_baseline)

  num_others = scores.shape[1] - 1
  without_one = _leave_one_out(scores) - math.log(num_others)
  log_mixed = jnp.where(is_product, mix(without_one, log_baseline[:, None]), 0)
  log_product = product_log_mean_exp(scores, is_product)
  ratio = jnp.exp(log_product - mix(log_product, log_baseline))
  return 1 - jnp.sum(log_mixed, axis=1) / num_others - ratio


def _leave_one_out(scores: jax.Array) -> jax.Array:
  """Log sum of the exponentials of a row without column j, for every j, shape (B, B).

  The largest is left out by summing the others, because what is left of the whole sum would be
  rounding; any other has at most half of the sum, and is subtracted.
  """
  is_largest = jnp.argmax(scores, axis=1)[:, None] == jnp.arange(scores.shape[1])
  total = jax.nn.logsumexp(scores, axis=1, keepdims=True)
  share = jnp.where(is_largest, 0, jnp.exp(scores - total))
  others = jax.nn.logsumexp(scores, axis=1, where=~is_largest, keepdims=True)
  return jnp.where(is_largest, others, total + jnp.log1p(-share))


def _as_baseline(log_baseline: ArrayLike, joint: jax.Array) -> jax.Array:
  check_float(log_baseline=log_baseline)
  check_same_shape(log_baseline=log_baseline, diagonal=joint)
  return jnp.asarray(log_baseline, joint.dtype)
