"""Dependence by the Wasserstein distance of joint and product, through critics of bounded slope."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_float, check_range, wide_dtype
from latentjax.losses.information._scores import product_mean, split_scores

__all__ = ["gradient_penalty", "wasserstein_dependency"]


def wasserstein_dependency(scores: ArrayLike, *, axis_name: str | None = None) -> jax.Array:
  r"""Lower bound on the Wasserstein dependency measure, in units of the scores; to be maximised.

  .. math::

    \ell_i = s_{ii} - \frac{1}{B - 1} \sum_{j \ne i} s_{ij}, \qquad
    E[\ell_i] \le \sup_{\|f\|_L \le 1} E_{p(x, y)}[f] - E_{p(x) p(y)}[f] = W_1(p(x, y), p(x) p(y))

  for scores s_ij = f(x_i, y_j) of a critic that changes by at most the distance of two pairs; see
  `gradient_penalty`. Unbiased. Unlike mutual information it depends on the metric of x and y, and
  is not saturated by the batch size. `info_nce_bound` of the same critic is Wasserstein predictive
  coding, which the authors train.

  Args:
    scores: critic's scores of all pairs, joint samples on the diagonal and product samples off it,
      shape (B, B).
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`; the
      columns are those of all devices, shape (B / n, B).

  Returns:
    Bound per example, shape (B,), float32 or wider. Gradient flows to the scores.

  Raises:
    TypeError: if scores is not floating point.
    ValueError: if scores is not square or has a single row.

  Example:
    >>> wasserstein_dependency(2.0 * jnp.eye(3) - 1.0).tolist()
    [2.0, 2.0, 2.0]

  References:
    Ozair et al., Wasserstein Dependency Measure for Representation Learning, 2019. arXiv:1903.11780
  """
  scores, joint, is_product = split_scores(scores, axis_name)
  return joint - product_mean(scores, is_product)


def gradient_penalty(
  x: ArrayLike,
  y: ArrayLike,
  critic_fn: Callable[[jax.Array, jax.Array], jax.Array],
  *,
  slope: ArrayLike = 1.0,
  one_sided: bool = False,
) -> jax.Array:
  r"""Squared excess of a critic's slope at given pairs; to be minimised.

  .. math::

    \ell_i = (\|\nabla_{(x, y)} f(x_i, y_i)\|_2 - L)^2 \quad \text{or, one-sided,} \quad
    \max(0, \|\nabla_{(x, y)} f(x_i, y_i)\|_2 - L)^2

  Keeps a critic near slope L in its two arguments together, or under it. The pairs are usually drawn
  between those of the joint and of the product of marginals. Where the slope is 0 its gradient is
  taken as 0.

  Args:
    x: first members of the pairs, shape (B, ...).
    y: second members, shape (B, ...).
    critic_fn: `critic_fn(x, y) -> scores of the pairs`, shape (B,), each of its own pair alone.
    slope: L, at least 0. Can be traced.
    one_sided: whether a slope under L is free.

  Returns:
    Penalty per pair, shape (B,), float32 or wider. Gradient flows to both arguments and, through a
    second derivative, to what the critic closes over.

  Raises:
    TypeError: if x or y is not floating point.
    ValueError: if x and y differ in their rows, slope is negative, or the critic does not return one
      score for each pair.

  Example:
    >>> critic_fn = lambda x, y: 3 * x[:, 0] + 4 * y[:, 0]
    >>> gradient_penalty(jnp.ones((2, 1)), jnp.ones((2, 1)), critic_fn).tolist()
    [16.0, 16.0]

  References:
    Gulrajani et al., Improved Training of Wasserstein GANs, 2017. arXiv:1704.00028
    Petzka, Fischer & Lukovnikov, On the Regularization of Wasserstein GANs, 2018 (one-sided).
      arXiv:1709.08894
    Ozair et al., Wasserstein Dependency Measure for Representation Learning, 2019. arXiv:1903.11780
  """
  check_float(x=x, y=y)
  check_range(0.0, math.inf, slope=slope)
  x, y = (jnp.asarray(array, wide_dtype(x, y)) for array in (x, y))
  if not x.ndim or x.shape[:1] != y.shape[:1]:
    raise ValueError(f"x and y must have the same number of rows, got {x.shape} and {y.shape}")
  scores, pullback = jax.vjp(critic_fn, x, y)
  if scores.shape != x.shape[:1]:
    raise ValueError(f"critic_fn must return shape {x.shape[:1]}, got {scores.shape}")
  grads = pullback(jnp.ones_like(scores))  # row i of them is of score i alone
  squared = sum(jnp.sum(jnp.square(grad), axis=range(1, grad.ndim)) for grad in grads)
  norm = jnp.where(squared > 0, jnp.sqrt(jnp.where(squared > 0, squared, 1)), 0)
  excess = norm - slope
  return jnp.square(jax.nn.relu(excess) if one_sided else excess)
