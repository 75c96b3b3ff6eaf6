"""Dependence of latents on each other under a Gaussian fit: total correlation, Wasserstein correlation."""

import math

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_float, check_range, check_rank, wide_dtype
from latentjax.collectives import all_gather_rows
from latentjax.metrics._pairs import unit_of

__all__ = ["gaussian_total_correlation", "gaussian_wasserstein_correlation"]


def gaussian_total_correlation(
  codes: ArrayLike, *, ridge: float = 1e-6, axis_name: str | None = None
) -> jax.Array:
  r"""Total correlation of codes in nats, under a Gaussian fit of the aggregate posterior.

  .. math:: \mathrm{KL}\Big(q(z) \Big\| \prod_j q(z_j)\Big) = -\tfrac12 \log\det(R + \epsilon I)

  with R the correlation matrix: 0 for uncorrelated latents, whatever their scale. The ridge bounds it
  to about 7 nats for each latent that the others determine, where disentanglement_lib, without one,
  gives infinity or what rounding leaves. A latent of no variance counts as uncorrelated (there: nan).

  Args:
    codes: such as the means of q(z|x), shape (N, Z).
    ridge: epsilon, at least 0.
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`.

  Returns:
    A scalar, the same on every device, float32 or wider. Gradient flows to the codes.

  Raises:
    TypeError: if the codes are not floating point.
    ValueError: if they are not of rank 2, there are fewer than two rows, or the ridge is negative.

  Example:
    >>> codes = jnp.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    >>> round(float(gaussian_total_correlation(codes @ jnp.array([[1.0, 3.0], [0.0, 4.0]]))), 4)
    0.2231

  References:
    Locatello et al., Challenging Common Assumptions in the Unsupervised Learning of Disentangled
      Representations, 2019. arXiv:1811.12359
    Watanabe, Information Theoretical Analysis of Multivariate Correlation, 1960.
  """
  check_range(0.0, ridge=ridge)
  z = _centred_codes(codes, axis_name)
  z = z / unit_of(z)
  covariance = jnp.matmul(z.T, z, precision="highest") / (z.shape[0] - 1)
  return total_correlation(covariance, jnp.ones(len(covariance), bool), ridge)


def gaussian_wasserstein_correlation(
  codes: ArrayLike, *, normalize: bool = False, axis_name: str | None = None
) -> jax.Array:
  r"""Squared 2-Wasserstein distance of a Gaussian fit of codes from the product of its marginals.

  .. math::

    W_2^2 = 2 \,\mathrm{tr}\, C - 2 \,\mathrm{tr} \big(D^{1/2} C D^{1/2}\big)^{1/2}, \qquad
    D = \mathrm{diag}(C)

  with C the covariance, and divided by its trace if normalised: then in [0, 2) and independent of the
  scale that latents share. 0 for uncorrelated latents; unlike the total correlation, finite whatever they
  determine, and little moved by latents of little variance. The root's trace is the sum of the singular
  values of the centred codes times D^(1/2): roots of eigenvalues would lose half of the digits.

  Args:
    codes: such as the means of q(z|x), shape (N, Z).
    normalize: whether to divide by the trace.
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`.

  Returns:
    A scalar, at least 0, the same on every device, float32 or wider; 0 for constant codes. Detached: the
    root has no slope where latents determine each other.

  Raises:
    TypeError: if the codes are not floating point.
    ValueError: if they are not of rank 2 or there are fewer than two rows.

  Example:
    >>> codes = jnp.array([[1.0, 1.0], [-1.0, -1.0], [1.0, 1.0], [-1.0, -1.0]])
    >>> round(float(gaussian_wasserstein_correlation(codes, normalize=True)), 4)  # 2 - sqrt(2)
    0.5858

  References:
    Locatello et al., Challenging Common Assumptions in the Unsupervised Learning of Disentangled
      Representations, 2019. arXiv:1811.12359
  """
  z = jax.lax.stop_gradient(_centred_codes(codes, axis_name))
  z = z / math.sqrt(z.shape[0] - 1)
  trace = jnp.sum(jnp.square(z))
  scale = jnp.where(trace == 0, 1, trace)
  z = z / jnp.sqrt(scale)
  variance = jnp.sum(jnp.square(z), axis=0)
  roots = jnp.linalg.svd(z * jnp.sqrt(variance), compute_uv=False)
  distance = jnp.maximum(2 * jnp.sum(variance) - 2 * jnp.sum(roots), 0)
  return distance if normalize else distance * scale


def total_correlation(covariance: jax.Array, keep: jax.Array, ridge: float) -> jax.Array:
  """Of the latents to keep, of a covariance (Z, Z); see `gaussian_total_correlation`."""
  variance = jnp.diag(covariance)
  counts = keep & (variance > 0)
  scale = jnp.where(counts, jax.lax.rsqrt(jnp.where(counts, variance, 1.0)), 0.0)
  off_diagonal = covariance * scale[:, None] * scale * (1 - jnp.eye(len(scale), dtype=scale.dtype))
  diagonal = jnp.asarray(1 + ridge, scale.dtype) * jnp.eye(len(scale), dtype=scale.dtype)
  return -0.5 * jnp.linalg.slogdet(off_diagonal + diagonal)[1]


def centred(z: jax.Array) -> jax.Array:
  """Columns less their means; exactly 0 if they are constant, where the rounding of means would correlate."""
  z = z - jax.lax.stop_gradient(z[:1])
  return z - jnp.mean(z, axis=0)


def _centred_codes(codes: ArrayLike, axis_name: str | None) -> jax.Array:
  check_float(codes=codes)
  check_rank(2, codes=codes)
  z = all_gather_rows(jnp.asarray(codes, wide_dtype(codes)), axis_name)
  if z.shape[0] < 2:
    raise ValueError(f"codes must have at least two rows, got shape {z.shape}")
  return centred(z)
