"""Mean and sampled representations: which latents are used, and how correlated either is."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import (
  check_alike,
  check_float,
  check_range,
  check_rank,
  wide_dtype,
)
from latentjax.collectives import all_gather_rows, device_mean, draw_rows
from latentjax.metrics._pairs import unit_of
from latentjax.metrics.discrete_information import discretize, mutual_information_matrix
from latentjax.metrics.latent_correlation import centred, total_correlation

__all__ = [
  "MutualInformations",
  "TotalCorrelations",
  "VariableTypes",
  "mean_sampled_correlations",
  "mean_sampled_information",
  "variable_types",
]


class VariableTypes(NamedTuple):
  """Kind of every latent, boolean masks of shape (Z,), exactly one of which is true.

  Attributes:
    active: encodes information on every example.
    mixed: encodes information on some, or a little on every one.
    passive: has the variance of the prior on every example.
  """

  active: jax.Array
  mixed: jax.Array
  passive: jax.Array


class MutualInformations(NamedTuple):
  """Mutual information of two latents in nats, scalars, of the two representations.

  Attributes:
    mean: of the means of q(z|x).
    sampled: of samples of q(z|x).
  """

  mean: jax.Array
  sampled: jax.Array


class TotalCorrelations(NamedTuple):
  """Gaussian total correlation in nats, scalars, of the two representations.

  Attributes:
    mean: of the means of q(z|x).
    sampled: of samples of q(z|x).
  """

  mean: jax.Array
  sampled: jax.Array


def variable_types(
  log_scale: ArrayLike,
  *,
  tolerance: float = 0.1,
  max_variance: float = 0.1,
  axis_name: str | None = None,
) -> VariableTypes:
  r"""Sorts latents into active, mixed and passive by the variances of their posteriors over a data set.

  .. math:: m_j = E_x[s_j^2(x)], \qquad v_j = \mathrm{Var}_x[s_j^2(x)]

  A latent is passive if its posterior has the prior's variance for all data, |m - 1| <= t and v < h;
  active if it is certain for all, m <= t and v < h; else mixed. t and h are those of the authors' program.
  The means play no part: those of a passive latent may still vary a little, and be correlated, which is the
  paper's subject. (`active_units` is the criterion of the means.)

  Args:
    log_scale: logarithm of the standard deviations s of q(z|x), shape (N, Z).
    tolerance: t, in (0, 0.5).
    max_variance: h, positive.
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`.

  Returns:
    VariableTypes, the same on every device; what is not finite is mixed. Detached.

  Raises:
    TypeError: if log_scale is not floating point.
    ValueError: if it is not of rank 2 or has no row, or a number is out of range.

  Example:
    >>> variable_types(jnp.array([[-2.0, 0.0, -2.0], [-2.5, 0.0, 0.0]])).mixed.tolist()
    [False, False, True]

  References:
    Bonheme & Grzes, Be More Active! Understanding the Differences between Mean and Sampled
      Representations of Variational Autoencoders, 2021. arXiv:2109.12679
  """
  check_float(log_scale=log_scale)
  check_rank(2, log_scale=log_scale)
  check_range(0.0, 0.5, strict=True, tolerance=tolerance)
  check_range(0.0, strict=True, max_variance=max_variance)
  if jnp.shape(log_scale)[0] == 0:
    raise ValueError(f"log_scale must have at least one row, got shape {jnp.shape(log_scale)}")
  variance = jnp.exp(2 * jnp.asarray(log_scale, wide_dtype(log_scale)))
  mean = device_mean(jnp.mean(variance, axis=0), axis_name)
  spread = device_mean(jnp.mean(jnp.square(variance - mean), axis=0), axis_name)
  is_steady = spread < max_variance
  active = is_steady & (mean <= tolerance)
  passive = is_steady & (jnp.abs(mean - 1) <= tolerance)
  return VariableTypes(active, ~(active | passive), passive)


def mean_sampled_correlations(
  mean: ArrayLike,
  log_scale: ArrayLike,
  *,
  where: ArrayLike | None = None,
  axis_name: str | None = None,
) -> TotalCorrelations:
  r"""Total correlation, under a Gaussian fit, of the means of q(z|x) and of its samples.

  .. math::

    TC = -\tfrac12 \log\det R, \qquad
    R_{mean} = \mathrm{corr}(C), \quad R_{sampled} = \mathrm{corr}(C + E_x[\mathrm{diag}\, s^2(x)]),
    \quad C = \mathrm{Cov}_x[m(x)]

  The second covariance is that of samples exactly, by the law of total covariance; nothing is drawn.
  Noise only shrinks correlations, so the mean representation is the more correlated one. The
  determinant is of R + 1e-6 I, which bounds TC to about 7 nats for each dimension that the others
  determine; a latent of no variance counts as uncorrelated.

  Args:
    mean: means of q(z|x), shape (N, Z).
    log_scale: logarithm of its standard deviations, shape (N, Z).
    where: latents that count, boolean, shape (Z,); all by default.
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`.

  Returns:
    TotalCorrelations, the same on every device, float32 or wider. Gradient flows to mean and
    log_scale.

  Raises:
    TypeError: if an array is not floating point.
    ValueError: if the shapes differ or are not of rank 2, or `where` is not of shape (Z,).

  Example:
    >>> mean = jnp.array([[1.0, 1.0], [-1.0, -1.0], [1.0, -1.0], [-1.0, 1.0], [1.0, 1.0]])
    >>> both = mean_sampled_correlations(mean, jnp.zeros((5, 2)))
    >>> bool(both.mean > both.sampled)
    True

  References:
    Bonheme & Grzes, Be More Active!, 2021. arXiv:2109.12679
    Locatello et al., Challenging Common Assumptions in the Unsupervised Learning of Disentangled
      Representations, 2019. arXiv:1811.12359
  """
  mean, log_scale = _checked(mean, log_scale)
  keep = _kept(where, mean)
  mean, log_scale = (all_gather_rows(array, axis_name) for array in (mean, log_scale))
  shifted, scale = centred(mean), jnp.exp(log_scale)

  def correlation(noise: jax.Array) -> jax.Array:
    unit = jnp.maximum(unit_of(shifted), unit_of(noise))
    z = shifted / unit
    covariance = jnp.matmul(z.T, z, precision="highest") / len(z)
    variance = jnp.mean(jnp.square(noise / unit), axis=0)
    return total_correlation(covariance + jnp.diag(variance), keep, 1e-6)

  return TotalCorrelations(correlation(jnp.zeros_like(scale)), correlation(scale))


def mean_sampled_information(
  key: jax.Array,
  mean: ArrayLike,
  log_scale: ArrayLike,
  *,
  num_bins: int = 20,
  where: ArrayLike | None = None,
  axis_name: str | None = None,
) -> MutualInformations:
  r"""Mutual information of two latents, averaged over all pairs, of the means of q(z|x) and of samples.

  .. math::

    \frac{1}{Z (Z - 1)} \sum_{i \ne j} I(b(z_i); b(z_j)), \qquad z = m(x) \text{ or } m(x) + s(x) \epsilon

  where b is the number of one of the bins of equal width from the least to the largest value. Like the total
  correlation of `mean_sampled_correlations`, but not blind to what is not linear; it is biased upwards, by
  about (bins - 1)^2 / 2N.

  Args:
    key: random key, the same on every device.
    mean: means of q(z|x), shape (N, Z).
    log_scale: logarithm of its standard deviations, shape (N, Z).
    num_bins: bins of every latent, at most N.
    where: latents that count, boolean, shape (Z,); all by default.
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`.

  Returns:
    MutualInformations, the same on every device, float32 or wider; 0 if less than two latents count, nan
    if a traced number is not finite. Detached.

  Raises:
    TypeError: if an array is not floating point or num_bins no integer.
    ValueError: if the shapes differ or are not of rank 2, there are fewer rows than bins, an array that is
      not traced is not finite, or `where` is not of shape (Z,).

  Example:
    >>> mean = jnp.array([[1.0, 1.0], [-1.0, -1.0]])
    >>> both = mean_sampled_information(jax.random.key(0), mean, jnp.zeros((2, 2)), num_bins=2)
    >>> float(both.mean)  # log 2
    0.6931...

  References:
    Bonheme & Grzes, Be More Active!, 2021. arXiv:2109.12679
    Locatello et al., Challenging Common Assumptions in the Unsupervised Learning of Disentangled
      Representations, 2019. arXiv:1811.12359
  """
  mean, log_scale = _checked(mean, log_scale)
  keep = _kept(where, mean)
  pairs = jnp.outer(keep, keep) & ~jnp.eye(len(keep), dtype=bool)
  draw = lambda key, shape: jax.random.normal(key, shape, mean.dtype)
  noise = draw_rows(key, draw, mean.shape, axis_name=axis_name)

  def average(z: jax.Array) -> jax.Array:
    labels = discretize(z, num_bins=num_bins, axis_name=axis_name)
    matrix = mutual_information_matrix(
      labels, labels, num_values=num_bins, num_other_values=num_bins
    )
    zero = device_mean(jnp.sum(0 * z), axis_name)  # or nan
    return jnp.sum(jnp.where(pairs, matrix, 0)) / jnp.maximum(jnp.sum(pairs), 1) + zero

  return MutualInformations(average(mean), average(mean + jnp.exp(log_scale) * noise))


def _kept(where: ArrayLike | None, mean: jax.Array) -> jax.Array:
  keep = jnp.ones(mean.shape[1], bool) if where is None else jnp.asarray(where, bool)
  if keep.shape != mean.shape[1:]:
    raise ValueError(f"where must have shape {mean.shape[1:]}, got {keep.shape}")
  return keep


def _checked(mean: ArrayLike, log_scale: ArrayLike) -> tuple[jax.Array, jax.Array]:
  check_alike(2, mean=mean, log_scale=log_scale)
  dtype = wide_dtype(mean, log_scale)
  return jnp.asarray(mean, dtype), jnp.asarray(log_scale, dtype)
