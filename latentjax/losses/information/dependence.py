"""Statistical dependence of two samples by the Hilbert-Schmidt norm of their cross-covariance.

And the bottleneck that trains a network layer by layer with it.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_choice, check_range
from latentjax.collectives import all_gather_rows, row_offset
from latentjax.distances import squared_distances
from latentjax.losses.information._kernels import (
  as_samples,
  bandwidth_of,
  check_block_size,
  log_gaussian,
  map_rows,
)

__all__ = ["hsic", "hsic_bottleneck_loss", "normalized_hsic"]


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
  U-statistic of Song et al., which can be negative. Deviation: the first of the papers divides by
  (B - 1)^2.

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


def normalized_hsic(
  x: ArrayLike,
  y: ArrayLike,
  *,
  bandwidth_x: float | None = None,
  bandwidth_y: float | None = None,
  epsilon: float = 1e-5,
  axis_name: str | None = None,
) -> jax.Array:
  r"""Normalised Hilbert-Schmidt independence criterion (nHSIC) of two paired samples.

  .. math::

    \mathrm{nHSIC} = \mathrm{tr}(\tilde K \tilde L), \qquad
    \tilde K = H K H \, (H K H + \epsilon B I)^{-1}, \quad H = I - \tfrac1B 1 1^\top

  with Gaussian kernels as in `hsic`. It counts the directions that the samples share whatever their
  scale: between 0 and B - 1, and in the limit of much data free of the choice of the kernels. Takes
  time B^3 and memory B^2 on every device, since the inverse is of the whole Gram matrix.

  Args:
    x: one sample, shape (B, D).
    y: the sample paired with it, shape (B, E); one-hot for classes.
    bandwidth_x: h of x's kernel, positive, a squared length; 2 D by default.
    bandwidth_y: h of y's kernel; 2 E by default.
    epsilon: positive; directions of less than this share of the Gram matrix's largest possible
      eigenvalue, B, do not count. Below 1e-7 float32 cannot tell them from rounding, and the result
      may be NaN.
    axis_name: mapped device axis over which the rows of both samples are split, inside `pmap` or
      `shard_map`.

  Returns:
    Estimate for the batch, a scalar, float32 or wider, the same on every device. Gradient flows to
    both samples.

  Raises:
    TypeError: if a sample is not floating point.
    ValueError: if a sample is not of rank 2, their rows differ, or a bandwidth or epsilon is not
      positive.

  Example:
    >>> x = jnp.array([[-100.0], [0.0], [100.0]])
    >>> round(normalized_hsic(x, -2 * x).item(), 2)  # three points apart: two directions
    2.0

  References:
    Fukumizu, Gretton, Sun & Schoelkopf, Kernel Measures of Conditional Dependence, 2008.
    Ma, Lewis & Kleijn, The HSIC Bottleneck, 2020. arXiv:1908.01580
  """
  x, y = as_samples(x=x, y=y)
  bandwidths = bandwidth_of(x, bandwidth_x=bandwidth_x), bandwidth_of(y, bandwidth_y=bandwidth_y)
  check_range(0.0, strict=True, epsilon=epsilon)
  k, values = (
    _normalized_gram(all_gather_rows(array, axis_name), h, epsilon)
    for array, h in zip((x, y), bandwidths)
  )
  return jnp.sum(k * values.T)


def hsic_bottleneck_loss(
  z: ArrayLike,
  x: ArrayLike,
  y: ArrayLike,
  *,
  beta: ArrayLike = 50.0,
  bandwidth_z: float | None = None,
  bandwidth_x: float | None = None,
  bandwidth_y: float | None = None,
  epsilon: float = 1e-5,
  axis_name: str | None = None,
) -> jax.Array:
  r"""HSIC bottleneck of a hidden layer: dependent on the target, independent of the input.

  .. math:: \mathrm{nHSIC}(Z, X) - \beta \, \mathrm{nHSIC}(Z, Y)

  to be minimised for each layer by itself: pass every layer the stopped gradient of its input, and no
  error is propagated between layers.

  Args:
    z: outputs of the layer, shape (B, Z).
    x: inputs of the network, shape (B, D).
    y: targets, shape (B, E); one-hot for classes.
    beta: weight of the target, at least 0; 50 in the authors' program. Can be traced.
    bandwidth_z: h of z's kernel, positive, a squared length; the paper's 25 Z by default.
    bandwidth_x: h of x's kernel; 25 D by default.
    bandwidth_y: h of y's kernel; 25 E by default.
    epsilon: see `normalized_hsic`.
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`.

  Returns:
    Loss for the batch, a scalar, float32 or wider, the same on every device. Gradient flows to all
    arguments.

  Raises:
    TypeError: if an array is not floating point.
    ValueError: if an array is not of rank 2, their rows differ, beta is negative, or a bandwidth or
      epsilon is not positive.

  Example:
    >>> x, y = 50 * jnp.array([[0.0], [1.0], [2.0], [3.0]]), jnp.array([[0.0], [50.0], [0.0], [50.0]])
    >>> loss = [hsic_bottleneck_loss(z, x, y, beta=2.0).item() for z in (x, y)]
    >>> loss[1] < loss[0]  # the target itself is the better code
    True

  References:
    Ma, Lewis & Kleijn, The HSIC Bottleneck, 2020. arXiv:1908.01580
  """
  z, x, y = as_samples(z=z, x=x, y=y)
  check_range(0.0, beta=beta)
  widths = {"bandwidth_z": (bandwidth_z, z), "bandwidth_x": (bandwidth_x, x)}
  widths["bandwidth_y"] = (bandwidth_y, y)
  h_z, h_x, h_y = (
    bandwidth_of(array, **{name: 25.0 * array.shape[1] if h is None else h})
    for name, (h, array) in widths.items()
  )
  shared_with = partial(normalized_hsic, z, bandwidth_x=h_z, epsilon=epsilon, axis_name=axis_name)
  of_target = shared_with(y, bandwidth_y=h_y)
  return shared_with(x, bandwidth_y=h_x) - jnp.asarray(beta, z.dtype) * of_target


def _normalized_gram(rows: jax.Array, bandwidth: float, epsilon: float) -> jax.Array:
  # Rounding in distances from inner products can leave a Gram matrix that is not positive.
  gram = jnp.exp(-0.5 / bandwidth * squared_distances(rows, rows, exact=True))
  gram = gram - jnp.mean(gram, axis=0)
  gram = gram - jnp.mean(gram, axis=1, keepdims=True)
  regularised = gram + epsilon * len(rows) * jnp.eye(len(rows), dtype=gram.dtype)
  return jax.scipy.linalg.solve(regularised, gram, assume_a="pos")
