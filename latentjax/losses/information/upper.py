"""Upper bounds on mutual information from conditional densities of all pairs; to be minimised."""

import jax
from jax.typing import ArrayLike

from latentjax.losses.information._scores import (
  product_log_mean_exp,
  product_mean,
  split_scores,
)

__all__ = ["club_bound", "leave_one_out_bound"]


def club_bound(scores: ArrayLike, *, axis_name: str | None = None) -> jax.Array:
  r"""Contrastive log-ratio upper bound on mutual information (CLUB), in nats; to be minimised.

  .. math::

    \ell_i = s_{ii} - \frac{1}{B - 1} \sum_{j \ne i} s_{ij}, \qquad
    s_{ij} = \log q(y_j | x_i), \qquad E[\ell_i] \ge I(X; Y)

  An upper bound, and unbiased, if q is the conditional density itself or close enough to it; for
  another q it is an estimate. q is trained by its likelihood, the mean of the diagonal, on other
  steps. Deviation: the paper's mean over j includes j = i, which makes it (B - 1) / B of this.

  Args:
    scores: log-densities of all pairs, joint samples on the diagonal and product samples off it,
      shape (B, B).
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`; the
      columns are those of all devices, shape (B / n, B).

  Returns:
    Bound per example in nats, shape (B,), float32 or wider. Gradient flows to the scores.

  Raises:
    TypeError: if scores is not floating point.
    ValueError: if scores is not square or has a single row.

  Example:
    >>> club_bound(2.0 * jnp.eye(3) - 1.0).tolist()
    [2.0, 2.0, 2.0]

  References:
    Cheng et al., CLUB: A Contrastive Log-ratio Upper Bound of Mutual Information, 2020.
      arXiv:2006.12013
  """
  scores, joint, is_product = split_scores(scores, axis_name)
  return joint - product_mean(scores, is_product)


def leave_one_out_bound(scores: ArrayLike, *, axis_name: str | None = None) -> jax.Array:
  r"""Leave-one-out upper bound on mutual information (L1Out), in nats; to be minimised.

  .. math::

    \ell_i = s_{ii} - \log \frac{1}{B - 1} \sum_{j \ne i} e^{s_{ij}}, \qquad
    s_{ij} = \log p(y_i | x_j), \qquad E[\ell_i] \ge I(X; Y)

  The others' mixture stands for the marginal p(y). Note the order: row i holds y_i under every
  condition. The conditional density must be known; log-likelihoods up to a function of y do.

  Args:
    scores: log-densities of all pairs, joint samples on the diagonal and product samples off it,
      shape (B, B).
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`; the
      columns are those of all devices, shape (B / n, B).

  Returns:
    Bound per example in nats, shape (B,), float32 or wider. Gradient flows to the scores.

  Raises:
    TypeError: if scores is not floating point.
    ValueError: if scores is not square or has a single row.

  Example:
    >>> leave_one_out_bound(2.0 * jnp.eye(3)).tolist()
    [2.0, 2.0, 2.0]

  References:
    Poole et al., On Variational Bounds of Mutual Information, 2019. arXiv:1905.06922
  """
  scores, joint, is_product = split_scores(scores, axis_name)
  return joint - product_log_mean_exp(scores, is_product)
