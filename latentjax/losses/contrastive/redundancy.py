"""Losses that keep the dimensions of an embedding varied and uncorrelated (Barlow Twins, VICReg)."""

import math

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_range
from latentjax.collectives import device_mean
from latentjax.losses.contrastive._pairs import check_two_rows
from latentjax.losses.contrastive._views import as_view_pair, mean_product

__all__ = ["barlow_twins_loss", "vicreg_loss"]


def barlow_twins_loss(
  z_1: ArrayLike,
  z_2: ArrayLike,
  *,
  lambda_offdiag: ArrayLike = 5e-3,
  eps: ArrayLike = 1e-5,
  axis_name: str | None = None,
) -> jax.Array:
  r"""Distance of the views' cross-correlation matrix from the identity (Barlow Twins).

  .. math::

    \sum_i (1 - C_{ii})^2 + \lambda \sum_{i \ne j} C_{ij}^2, \qquad
    C_{ij} = \frac1B \sum_b \hat z^{(1)}_{bi} \hat z^{(2)}_{bj}, \qquad
    \hat z = \frac{z - \mathrm{mean}_b z}{\sqrt{\mathrm{var}_b z + \epsilon}}

  The variance has divisor B, as in the batch normalisation of the authors' program.

  Args:
    z_1: embeddings of the first view, shape (B, D).
    z_2: those of the second, shape (B, D).
    lambda_offdiag: weight of the off-diagonal elements, at least 0. Can be traced.
    eps: added to the variances, positive. Can be traced.
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`. The
      statistics are those of all rows; devices exchange D x D numbers.

  Returns:
    Loss of the batch, a scalar, float32 or wider, the same on every device. Gradient flows to both
    arguments.

  Raises:
    TypeError: if an argument is not floating point.
    ValueError: if the shapes differ or are not of rank 2, lambda_offdiag is negative or eps is not
      positive.

  Example:
    >>> z = jnp.array([[1.0, 1.0], [-1.0, 1.0], [1.0, -1.0], [-1.0, -1.0]])
    >>> round(barlow_twins_loss(z, -z).item(), 3)  # both correlations are -1
    8.0

  References:
    Zbontar et al., Barlow Twins: Self-Supervised Learning via Redundancy Reduction, 2021.
      arXiv:2103.03230
  """
  z_1, z_2 = as_view_pair(z_1=z_1, z_2=z_2)
  check_range(low=0.0, lambda_offdiag=lambda_offdiag)
  check_range(low=0.0, strict=True, eps=eps)
  z_1, z_2 = (_centred(z, axis_name) for z in (z_1, z_2))
  z_1, z_2 = (
    z * jax.lax.rsqrt(_variance(z, axis_name) + jnp.asarray(eps, z.dtype)) for z in (z_1, z_2)
  )
  correlation = mean_product(z_1, z_2, axis_name)
  diagonal = jnp.diag(correlation)
  weight = jnp.asarray(lambda_offdiag, z_1.dtype)
  return jnp.sum(jnp.square(1 - diagonal)) + weight * _off_diagonal(correlation)


def vicreg_loss(
  z_1: ArrayLike,
  z_2: ArrayLike,
  *,
  lambda_invariance: ArrayLike = 25.0,
  lambda_variance: ArrayLike = 25.0,
  lambda_covariance: ArrayLike = 1.0,
  eps: ArrayLike = 1e-4,
  axis_name: str | None = None,
) -> jax.Array:
  r"""Variance-invariance-covariance loss (VICReg).

  .. math::

    \frac{\lambda}{B D} \sum_b \|z^{(1)}_b - z^{(2)}_b\|^2
    + \sum_{v = 1, 2} \Big( \frac{\mu}{2 D} \sum_i \max\big(0, 1 - \sqrt{C^{(v)}_{ii} + \epsilon}\big)
    + \frac{\nu}{D} \sum_{i \ne j} \big(C^{(v)}_{ij}\big)^2 \Big)

  with the covariance matrix C of each view, of divisor B - 1. The factors 1 / D of the first term and
  1 / 2 of the second are in the authors' program, whose weights these are; the paper's text has
  neither.

  Args:
    z_1: embeddings of the first view, shape (B, D).
    z_2: those of the second, shape (B, D).
    lambda_invariance: weight of the distance of the views, at least 0. Can be traced.
    lambda_variance: mu, weight of the hinge on the standard deviations, at least 0. Can be traced.
    lambda_covariance: nu, weight of the covariances, at least 0. Can be traced.
    eps: added to the variances, positive. Can be traced.
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`. The
      statistics are those of all rows; devices exchange D x D numbers.

  Returns:
    Loss of the batch, a scalar, float32 or wider, the same on every device. Gradient flows to both
    arguments.

  Raises:
    TypeError: if an argument is not floating point.
    ValueError: if the shapes differ or are not of rank 2, the batch has a single row, a weight is
      negative or eps is not positive.

  Example:
    >>> z = jnp.zeros((4, 2))  # collapsed: only the hinge is left, 25 (1 - sqrt(eps))
    >>> vicreg_loss(z, z).item()
    24.75

  References:
    Bardes, Ponce & LeCun, VICReg: Variance-Invariance-Covariance Regularization for Self-Supervised
      Learning, 2022. arXiv:2105.04906
  """
  z_1, z_2 = as_view_pair(z_1=z_1, z_2=z_2)
  weights = {
    "lambda_invariance": lambda_invariance,
    "lambda_variance": lambda_variance,
    "lambda_covariance": lambda_covariance,
  }
  for name, weight in weights.items():
    check_range(0.0, math.inf, strict=False, **{name: weight})
  check_range(low=0.0, strict=True, eps=eps)
  check_two_rows(axis_name, z_1=z_1)
  batch_size = z_1.shape[0] * (1 if axis_name is None else jax.lax.axis_size(axis_name))
  invariance = device_mean(jnp.mean(jnp.square(z_1 - z_2)), axis_name)
  variance, covariance = jnp.zeros_like(invariance), jnp.zeros_like(invariance)
  for z in (z_1, z_2):
    centred = _centred(z, axis_name)
    matrix = mean_product(centred, centred, axis_name) * (batch_size / (batch_size - 1))
    scale = jnp.sqrt(jnp.diag(matrix) + jnp.asarray(eps, z.dtype))
    variance += jnp.mean(jax.nn.relu(1 - scale)) / 2
    covariance += _off_diagonal(matrix) / z.shape[1]
  terms = jnp.stack([invariance, variance, covariance])
  return jnp.dot(jnp.asarray(list(weights.values()), terms.dtype), terms)


def _centred(z: jax.Array, axis_name: str | None) -> jax.Array:
  return z - device_mean(jnp.mean(z, axis=0), axis_name)


def _variance(centred: jax.Array, axis_name: str | None) -> jax.Array:
  return device_mean(jnp.mean(jnp.square(centred), axis=0), axis_name)


def _off_diagonal(matrix: jax.Array) -> jax.Array:
  """Sum of the squares off the diagonal."""
  return jnp.sum(jnp.square(matrix - jnp.diag(jnp.diag(matrix))))
