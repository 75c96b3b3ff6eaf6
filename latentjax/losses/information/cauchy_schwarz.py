"""Cauchy-Schwarz divergences and information of samples, by Gaussian kernel densities."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_float, check_rank, check_same_shape, wide_dtype
from latentjax.collectives import all_gather_rows
from latentjax.losses.information._kernels import (
  as_samples,
  bandwidth_of,
  check_block_size,
  log_gaussian,
  map_rows,
)

__all__ = ["cs_conditional_divergence", "cs_divergence", "cs_information"]


def cs_divergence(
  x: ArrayLike,
  y: ArrayLike,
  *,
  bandwidth: float | None = None,
  axis_name: str | None = None,
  block_size: int | None = None,
) -> jax.Array:
  r"""Cauchy-Schwarz divergence of two samples, in nats; to be minimised.

  .. math::

    D = -\log \frac{(\int p q)^2}{\int p^2 \int q^2} \approx
    \log \overline{k(x, x')} + \log \overline{k(y, y')} - 2 \log \overline{k(x, y)}, \qquad
    k(x, y) = e^{-\|x - y\|^2 / 2h}

  Exactly the divergence of the two Gaussian kernel density estimates of variance h / 2; so it is at
  least 0, and zero for equal samples. In logarithms: far samples have a finite divergence.

  Args:
    x: one sample, shape (B, D).
    y: the other, shape (N, D).
    bandwidth: h, positive, a squared length; 2 D by default.
    axis_name: mapped device axis over which the rows of both samples are split, inside `pmap` or
      `shard_map`.
    block_size: rows at a time, to bound memory to (block_size, max(B, N)); None takes all. The
      result does not depend on it.

  Returns:
    Estimate for the batch in nats, a scalar, float32 or wider, the same on every device. Gradient
    flows to both samples.

  Raises:
    TypeError: if a sample is not floating point or block_size is not an integer.
    ValueError: if a sample is not of rank 2, their dimensions differ, or bandwidth or block_size is
      not positive.

  Example:
    >>> cs_divergence(jnp.zeros((1, 1)), jnp.full((1, 1), 3.0), bandwidth=1.0).item()
    9.0

  References:
    Principe, Information Theoretic Learning, 2010.
    Yu et al., Cauchy-Schwarz Divergence Information Bottleneck for Regression, 2024.
      arXiv:2404.17951
  """
  check_float(x=x, y=y)
  check_rank(2, x=x, y=y)
  check_block_size(block_size)
  dtype = wide_dtype(x, y)
  x, y = (jnp.asarray(array, dtype) for array in (x, y))
  if x.shape[1] != y.shape[1]:
    raise ValueError(f"x and y must have the same last axis, got x {x.shape}, y {y.shape}")
  h = bandwidth_of(x, bandwidth=bandwidth)

  def log_mean(rows: jax.Array, others: jax.Array) -> jax.Array:
    log_kernel = log_gaussian(all_gather_rows(others, axis_name), h)
    log_sums = map_rows(
      lambda points: jax.nn.logsumexp(log_kernel(points), axis=-1), rows, block_size=block_size
    )
    num_devices = 1 if axis_name is None else jax.lax.axis_size(axis_name)
    num_pairs = num_devices**2 * rows.shape[0] * others.shape[0]
    return jax.nn.logsumexp(all_gather_rows(log_sums, axis_name)) - math.log(num_pairs)

  return log_mean(x, x) + log_mean(y, y) - 2 * log_mean(x, y)


def cs_information(
  x: ArrayLike,
  y: ArrayLike,
  *,
  bandwidth_x: float | None = None,
  bandwidth_y: float | None = None,
  axis_name: str | None = None,
  block_size: int | None = None,
) -> jax.Array:
  r"""Cauchy-Schwarz quadratic mutual information of two paired samples (CS-QMI), in nats.

  .. math::

    I = D_{CS}(p(x, y) \,\|\, p(x) p(y)) \approx
    \log \overline{K_{ij} L_{ij}} + \log \bar K \bar L
    - 2 \log \frac1B \sum_i \bar K_i \bar L_i

  with Gram matrices K of x and L of y, bars for their means and row means, and Gaussian kernels as in
  `cs_divergence`. At least 0; zero for kernel density estimates that are independent.

  Args:
    x: one sample, shape (B, D).
    y: the sample paired with it, such as a representation of x, shape (B, E).
    bandwidth_x: h of x's kernel, positive, a squared length; 2 D by default.
    bandwidth_y: h of y's kernel; 2 E by default.
    axis_name: mapped device axis over which the rows of both samples are split, inside `pmap` or
      `shard_map`.
    block_size: rows at a time, to bound memory to (block_size, B); None takes all. The result does
      not depend on it.

  Returns:
    Estimate for the batch in nats, a scalar, float32 or wider, the same on every device. Gradient
    flows to both samples.

  Raises:
    TypeError: if a sample is not floating point or block_size is not an integer.
    ValueError: if a sample is not of rank 2, their rows differ, or a bandwidth or block_size is not
      positive.

  Example:
    >>> cs_information(jnp.array([[0.0], [1.0]]), jnp.ones((2, 1))).item()
    0.0

  References:
    Yu et al., Cauchy-Schwarz Divergence Information Bottleneck for Regression, 2024.
      arXiv:2404.17951
  """
  x, y = as_samples(x=x, y=y)
  bandwidths = bandwidth_of(x, bandwidth_x=bandwidth_x), bandwidth_of(y, bandwidth_y=bandwidth_y)
  check_block_size(block_size)
  log_x, log_y = _log_kernels((x, y), bandwidths, axis_name)

  def row_terms(x: jax.Array, y: jax.Array) -> jax.Array:
    k_x, k_y = log_x(x), log_y(y)
    return jax.nn.logsumexp(jnp.stack([k_x + k_y, k_x, k_y], axis=-1), axis=-2)

  terms = all_gather_rows(map_rows(row_terms, x, y, block_size=block_size), axis_name)
  of_both, of_x, of_y = terms.T
  # The numbers of terms in the sums, B^2, B^4 and twice B^3, cancel.
  sums = jax.nn.logsumexp(jnp.stack([of_both, of_x, of_y, of_x + of_y]), axis=1)
  return sums[0] + sums[1] + sums[2] - 2 * sums[3]


def cs_conditional_divergence(
  x: ArrayLike,
  y: ArrayLike,
  y_hat: ArrayLike,
  *,
  bandwidth_x: float | None = None,
  bandwidth_y: float | None = None,
  axis_name: str | None = None,
  block_size: int | None = None,
) -> jax.Array:
  r"""Cauchy-Schwarz divergence of p(y|x) from the predictions' q(y|x), in nats; to be minimised.

  .. math::

    D \approx \log \sum_j \frac{\sum_i K_{ji} L_{ji}}{(\sum_i K_{ji})^2}
    + \log \sum_j \frac{\sum_i K_{ji} M_{ji}}{(\sum_i K_{ji})^2}
    - 2 \log \sum_j \frac{\sum_i K_{ji} N_{ji}}{(\sum_i K_{ji})^2}

  with Gram matrices K of x, L of y, M of y_hat and N between y_hat (rows) and y (columns). Zero for
  y_hat = y; the estimate can be negative elsewhere. With `cs_information` of x and its representation
  it makes the paper's loss, D + beta I. (The authors' program sums squares K_ji^2 in the
  denominators; their derivation and this have the square of the sum.)

  Args:
    x: condition, shape (B, D).
    y: target, shape (B, E).
    y_hat: prediction, shape (B, E).
    bandwidth_x: h of x's kernel, positive, a squared length; 2 D by default.
    bandwidth_y: h of the kernel of y and y_hat; 2 E by default.
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`.
    block_size: rows at a time, to bound memory to (block_size, B); None takes all. The result does
      not depend on it.

  Returns:
    Estimate for the batch in nats, a scalar, float32 or wider, the same on every device. Gradient
    flows to all arguments.

  Raises:
    TypeError: if an array is not floating point or block_size is not an integer.
    ValueError: if an array is not of rank 2, the rows differ, y and y_hat differ in shape, or a
      bandwidth or block_size is not positive.

  Example:
    >>> y = jnp.array([[0.0], [1.0]])
    >>> cs_conditional_divergence(y, y, y).item()
    0.0

  References:
    Yu et al., Cauchy-Schwarz Divergence Information Bottleneck for Regression, 2024.
      arXiv:2404.17951
    Yu et al., The Conditional Cauchy-Schwarz Divergence with Applications to Time-Series Data and
      Sequential Decision Making, 2023. arXiv:2301.08970
  """
  x, y, y_hat = as_samples(x=x, y=y, y_hat=y_hat)
  check_same_shape(y=y, y_hat=y_hat)
  h_x, h_y = bandwidth_of(x, bandwidth_x=bandwidth_x), bandwidth_of(y, bandwidth_y=bandwidth_y)
  check_block_size(block_size)
  log_x, log_y, log_y_hat = _log_kernels((x, y, y_hat), (h_x, h_y, h_y), axis_name)

  def row_terms(x: jax.Array, y: jax.Array, y_hat: jax.Array) -> jax.Array:
    k_x = log_x(x)
    pairs = [log_y(y), log_y_hat(y_hat), log_y(y_hat), jnp.zeros_like(k_x)]
    sums = jax.nn.logsumexp(k_x[..., None] + jnp.stack(pairs, axis=-1), axis=-2)
    return sums[..., :3] - 2 * sums[..., 3:]

  terms = all_gather_rows(map_rows(row_terms, x, y, y_hat, block_size=block_size), axis_name)
  of_y, of_y_hat, between = jax.nn.logsumexp(terms, axis=0)
  return of_y + of_y_hat - 2 * between


def _log_kernels(
  samples: tuple[jax.Array, ...], bandwidths: tuple[float, ...], axis_name: str | None
) -> list[Callable[[jax.Array], jax.Array]]:
  return [
    log_gaussian(all_gather_rows(array, axis_name), h) for array, h in zip(samples, bandwidths)
  ]
