"""How far apart two sets of features are as normal distributions: the Frechet distance."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_alike, check_float, check_rank, wide_dtype
from latentjax.collectives import all_gather_rows, device_mean

__all__ = ["frechet_distance", "frechet_distance_of_moments"]


def frechet_distance(
  features_a: ArrayLike, features_b: ArrayLike, *, axis_name: str | None = None
) -> jax.Array:
  r"""Frechet distance of normal distributions with the moments of two sets of features.

  .. math::

    \|m_a - m_b\|^2 + \mathrm{tr}\big(C_a + C_b - 2 (C_a^{1/2} C_b C_a^{1/2})^{1/2}\big)

  With the features of an Inception network it is the FID. Triangular factors of the centred features, C =
  R^T R, replace the covariances (divisor N - 1): the trace of the root is the sum of the singular values of
  R_a R_b^T, and no digit is lost to squares, whatever the rank.

  It is biased upwards, by about a constant over the number of rows (more for wider features): compare at
  equal numbers alone.

  Args:
    features_a: features, shape (N, D), N > 1.
    features_b: features, shape (M, D), M > 1.
    axis_name: mapped device axis over which the rows of both are split, inside `pmap` or `shard_map`.

  Returns:
    Scalar, at least 0, float32 or wider, the same on every device, in squared units of the features; NaN if
    one is not finite. Detached.

  Raises:
    TypeError: if an array is not floating point.
    ValueError: if the arrays are not of rank 2 and one width, or of less than two rows.

  Example:
    >>> a = jnp.array([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0]])
    >>> round(float(frechet_distance(a, a + jnp.array([3.0, 4.0]))), 3)
    25.0

  References:
    Heusel et al., GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium,
      2017. arXiv:1706.08500
    Chong and Forsyth, Effectively Unbiased FID and Inception Score and Where to Find Them, 2020 (the
      bias). arXiv:1911.07023
  """
  check_float(features_a=features_a, features_b=features_b)
  check_rank(2, features_a=features_a, features_b=features_b)
  shapes = jnp.shape(features_a), jnp.shape(features_b)
  if shapes[0][1] != shapes[1][1]:
    raise ValueError(
      f"features_a and features_b must have the same width, got {shapes[0]} and {shapes[1]}"
    )
  dtype = wide_dtype(features_a, features_b)
  (mean_a, root_a), (mean_b, root_b) = (
    _moments(jax.lax.stop_gradient(jnp.asarray(x, dtype)), name, axis_name)
    for name, x in (("features_a", features_a), ("features_b", features_b))
  )
  return _distance(mean_a - mean_b, root_a, root_b)


def frechet_distance_of_moments(
  mean_a: ArrayLike, covariance_a: ArrayLike, mean_b: ArrayLike, covariance_b: ArrayLike
) -> jax.Array:
  r"""Frechet distance of two normal distributions, the square of their 2-Wasserstein distance.

  .. math::

    \|m_a - m_b\|^2 + \mathrm{tr}\big(C_a + C_b - 2 (C_a^{1/2} C_b C_a^{1/2})^{1/2}\big)

  For statistics that are stored. Eigenvalues of the size of rounding, D times epsilon of the largest,
  count as zero; of what is below, the trace of the root loses up to its square root, 3e-4 of the largest in
  float32 for each: `frechet_distance` of the features themselves does not.

  Args:
    mean_a: shape (D,).
    covariance_a: symmetric, positive semi-definite, of any rank, shape (D, D).
    mean_b: shape (D,).
    covariance_b: shape (D, D).

  Returns:
    Scalar, at least 0, float32 or wider. Detached.

  Raises:
    TypeError: if an array is not floating point.
    ValueError: if a shape does not fit.

  Example:
    >>> mean, covariance = jnp.zeros(2), jnp.eye(2)
    >>> float(frechet_distance_of_moments(mean, covariance, mean + 1.0, 4.0 * covariance))
    4.0

  References:
    Dowson and Landau, The Frechet Distance between Multivariate Normal Distributions, 1982. Journal of
      Multivariate Analysis 12.
  """
  check_alike(1, mean_a=mean_a, mean_b=mean_b)
  check_alike(2, covariance_a=covariance_a, covariance_b=covariance_b)
  dim = jnp.shape(mean_a)[0]
  if jnp.shape(covariance_a) != (dim, dim):
    raise ValueError(f"covariance_a must have shape {(dim, dim)}, got {jnp.shape(covariance_a)}")
  dtype = wide_dtype(mean_a, mean_b, covariance_a, covariance_b)
  arrays = (mean_a, mean_b, covariance_a, covariance_b)
  mean_a, mean_b, *covariances = (jax.lax.stop_gradient(jnp.asarray(a, dtype)) for a in arrays)
  return _distance(mean_a - mean_b, *map(_root, covariances))


def _moments(x: jax.Array, name: str, axis_name: str | None) -> tuple[jax.Array, jax.Array]:
  """Mean, and R of at most D rows with R^T R the covariance."""
  num_rows = x.shape[0] * (1 if axis_name is None else jax.lax.axis_size(axis_name))
  if num_rows < 2:
    raise ValueError(f"{name} must have at least two rows, got shape {x.shape}")
  mean = device_mean(jnp.mean(x, axis=0), axis_name)
  root = jnp.linalg.qr((x - mean) / (num_rows - 1) ** 0.5, mode="r")
  if axis_name is not None:  # the factor of factors: rows are not exchanged
    root = jnp.linalg.qr(all_gather_rows(root, axis_name), mode="r")
  return mean, root


def _root(covariance: jax.Array) -> jax.Array:
  """R with R^T R the covariance."""
  values, vectors = jnp.linalg.eigh(covariance)
  rounding = jnp.finfo(values.dtype).eps * len(values) * values[-1]
  return jnp.sqrt(jnp.where(values > rounding, values, 0))[:, None] * vectors.T


def _distance(difference: jax.Array, root_a: jax.Array, root_b: jax.Array) -> jax.Array:
  # In units of the largest number: squares of very large ones would leave float32, as NaN.
  parts = difference, root_a, root_b
  unit = jax.lax.stop_gradient(jnp.max(jnp.stack([jnp.max(jnp.abs(x)) for x in parts])))
  unit = jnp.where(unit == 0, 1, unit)
  difference, root_a, root_b = (x / unit for x in parts)
  squares = sum(jnp.sum(jnp.square(x)) for x in (difference, root_a, root_b))
  product = jnp.matmul(root_a, root_b.T, precision="highest")
  overlap = jnp.sum(jnp.linalg.svd(product, compute_uv=False))
  return jnp.maximum(squares - 2 * overlap, 0) * unit * unit
