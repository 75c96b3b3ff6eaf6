"""Penalties on the first two moments of the aggregate posterior."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import (
  check_alike,
  check_choice,
  check_range,
  wide_dtype,
)
from latentjax.collectives import all_gather_rows

__all__ = ["dip_penalty"]


def dip_penalty(
  mean: ArrayLike,
  log_scale: ArrayLike,
  *,
  kind: str = "i",
  lambda_offdiag: ArrayLike = 10.0,
  lambda_diag: ArrayLike = 100.0,
  axis_name: str | None = None,
) -> jax.Array:
  r"""Distance of the aggregate posterior's covariance from the identity; to be minimised.

  .. math::

    \lambda_{od} \sum_{i \ne j} C_{ij}^2 + \lambda_d \sum_i (C_{ii} - 1)^2, \qquad
    C = \mathrm{Cov}_x[m(x)] \;\text{(I)}, \quad
    C = \mathrm{Cov}_x[m(x)] + E_x[\mathrm{diag}\, s^2(x)] \;\text{(II)}

  The covariance is the batch's, with divisor B, so it is low by a factor of (B - 1) / B on average,
  and its square is biased upward by the covariance's own variance.

  Args:
    mean: means of q(z|x), shape (B, D).
    log_scale: logarithm of the standard deviations of q(z|x), shape (B, D); kind "i" ignores it.
    kind: "i" for the covariance of the means, "ii" for that of z.
    lambda_offdiag: weight of the covariances, at least 0. Can be traced.
    lambda_diag: weight of the variances, at least 0; the paper takes 10 lambda_offdiag for kind "i"
      and lambda_offdiag for kind "ii". Can be traced.
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`.

  Returns:
    Penalty of the batch, a scalar, float32 or wider, the same on every device. Gradient flows to
    mean and, for kind "ii", to log_scale. It grows as s^4 and leaves float32 near log_scale = 22.

  Raises:
    TypeError: if an array is not floating point.
    ValueError: if the shapes differ or are not of rank 2, the kind is unknown, or a weight is
      negative.

  Example:
    >>> mean = jnp.array([[1.0, 1.0], [-1.0, -1.0]])  # variances 1, covariance 1
    >>> float(dip_penalty(mean, jnp.zeros((2, 2))))
    20.0

  References:
    Kumar, Sattigeri & Balakrishnan, Variational Inference of Disentangled Latent Concepts from
      Unlabeled Observations, 2018 (DIP-VAE-I and II). arXiv:1711.00848
  """
  check_alike(2, mean=mean, log_scale=log_scale)
  check_choice(("i", "ii"), kind=kind)
  check_range(low=0.0, lambda_offdiag=lambda_offdiag, lambda_diag=lambda_diag)
  dtype = wide_dtype(mean, log_scale)
  mean, log_scale = (
    all_gather_rows(jnp.asarray(array, dtype), axis_name) for array in (mean, log_scale)
  )
  centred = mean - jnp.mean(mean, axis=0)
  covariance = jnp.matmul(centred.T, centred, precision="highest") / mean.shape[0]
  if kind == "ii":
    covariance += jnp.diag(jnp.mean(jnp.exp(2 * log_scale), axis=0))
  diagonal = jnp.diag(covariance)
  off_diagonal = covariance - jnp.diag(diagonal)
  penalties = jnp.stack([jnp.sum(jnp.square(off_diagonal)), jnp.sum(jnp.square(diagonal - 1))])
  return jnp.dot(jnp.asarray([lambda_offdiag, lambda_diag], dtype), penalties)
