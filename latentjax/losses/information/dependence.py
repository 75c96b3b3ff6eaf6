"""Statistical dependence of two samples by the Hilbert-Schmidt norm of their cross-covariance."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_choice
from latentjax.collectives import all_gather_rows, row_offset
from latentjax.losses.information._kernels import (
  as_samples,
  bandwidth_of,
  check_block_size,
  log_gaussian,
  map_rows,
)

__all__ = ["hsic"]


def hsic(
  x: ArrayLike,
  y: ArrayLike,
  *,
  bandwidth_x: float | None = None,
  bandwidth_y: float | None = None,
  estimator: str = "biased",
  axis_name: str | None = None,
  block_size: int | None = None,
) -> jax.Array:
  r"""Hilbert-Schmidt independence criterion of two paired samples, with Gaussian kernels.

  .. math::

    \mathrm{HSIC} = E[k(x, x') l(y, y')] + E[k(x, x')] \, E[l(y, y')]
    - 2 E_{xy}\big[E_{x'}[k(x, x')] \, E_{y'}[l(y, y')]\big], \qquad k(x, x') = e^{-\|x - x'\|^2 / 2h}

  Zero exactly if x and y are independent. "biased" puts means over all B^2 pairs for the
  expectations: tr(K H L H) / B^2, at least 0, too large by the order of 1 / B. "unbiased" is the
  U-statistic of Song et al., which can be negative. The HSIC bottleneck minimises
  hsic(z, x) - beta hsic(z, y), with h = 25 D; it divides by (B - 1)^2, as the first of the papers.

  Args:
    x: one sample, shape (B, D).
    y: the sample paired with it, shape (B, E); one-hot for classes.
    bandwidth_x: h of x's kernel, positive, a squared length; 2 D by default.
    bandwidth_y: h of y's kernel; 2 E by default.
    estimator: "biased" or "unbiased".
    axis_name: mapped device axis over which the rows of both samples are split, inside `pmap` or
      `shard_map`.
    block_size: rows at a time, to bound memory to (block_size, B); None takes all. The result does
      not depend on it.

  Returns:
    Estimate for the batch, a scalar, float32 or wider, the same on every device. Gradient flows to
    both samples.

  Raises:
    TypeError: if a sample is not floating point or block_size is not an integer.
    ValueError: if a sample is not of rank 2, their rows differ, an option is unknown, a bandwidth or
      block_size is not positive, or the unbiased estimate has less than 4 rows.

  Example:
    >>> hsic(jnp.array([[0.0], [1.0]]), jnp.ones((2, 1))).item()
    0.0

  References:
    Gretton et al., Measuring Statistical Dependence with Hilbert-Schmidt Norms, 2005.
    Song et al., Feature Selection via Dependence Maximization, 2012 (the unbiased estimate).
    Ma, Lewis & Kleijn, The HSIC Bottleneck, 2020. arXiv:1908.01580
  """
  x, y = as_samples(x=x, y=y)
  bandwidths = bandwidth_of(x, bandwidth_x=bandwidth_x), bandwidth_of(y, bandwidth_y=bandwidth_y)
  check_choice(("biased", "unbiased"), estimator=estimator)
  check_block_size(block_size)
  distinct = estimator == "unbiased"
  columns = [all_gather_rows(array, axis_name) for array in (x, y)]
  num_rows = columns[0].shape[0]
  if distinct and num_rows < 4:
    raise ValueError(f"estimator 'unbiased' must have at least 4 rows of x and y, got {num_rows}")
  log_kernels = [log_gaussian(array, h) for array, h in zip(columns, bandwidths)]

  def row_terms(x: jax.Array, y: jax.Array, index: jax.Array) -> jax.Array:
    k = jnp.exp(jnp.stack([log_kernels[0](x), log_kernels[1](y)]))
    counts = (jnp.arange(num_rows) != index[..., None]) if distinct else True
    means = jnp.sum(k, axis=-1, where=counts) / (num_rows - distinct)
    products = jnp.prod(k - means[..., None], axis=0)
    return jnp.stack([*means, jnp.sum(products, axis=-1, where=counts)], axis=-1)

  # Written as covariances within and between rows: the sums of the formula cancel to rounding.
  indices = row_offset(x.shape[0], axis_name) + jnp.arange(x.shape[0])
  terms = all_gather_rows(map_rows(row_terms, x, y, indices, block_size=block_size), axis_name)
  centred = terms - jnp.mean(terms, axis=0)
  within = jnp.sum(terms[:, 2])
  between = jnp.dot(centred[:, 0], centred[:, 1], precision="highest")
  if distinct:
    between *= num_rows * (num_rows - 1) / (num_rows - 2)
    return (within - between) / (num_rows * (num_rows - 3))
  return (within - num_rows * between) / num_rows**2
