"""Posteriors of latent variables that several examples share: by group, or by what a pair has in common."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import (
  check_alike,
  check_range,
  check_rank,
  wide_dtype,
)
from latentjax.collectives import all_gather_rows, local_rows
from latentjax.densities import gaussian

__all__ = ["adaptive_shared_mask", "group_average", "group_product", "group_sizes"]


def group_product(
  mean: ArrayLike,
  log_scale: ArrayLike,
  group: ArrayLike,
  *,
  axis_name: str | None = None,
) -> tuple[jax.Array, jax.Array]:
  r"""Posterior of every example's group: the product of its members' Gaussians (ML-VAE).

  .. math:: s_g^{-2} = \sum_{b \in g} s_b^{-2}, \qquad m_g = s_g^2 \sum_{b \in g} s_b^{-2} m_b

  The more members, the sharper. Precisions are added relative to the sharpest, so members of any
  sharpness combine.

  Args:
    mean: means of the members' Gaussians, shape (B, Z).
    log_scale: logarithm of their standard deviations, shape (B, Z).
    group: label of every example's group, any integers, shape (B,).
    axis_name: mapped device axis over which the rows are split; groups may lie across devices.

  Returns:
    (mean, log_scale) of the group of every row, each (B, Z), float32 or wider; the same for all
    members. Gradient flows from every row to all members of its group.

  Raises:
    TypeError: if mean or log_scale is not floating point, or group is not integer.
    ValueError: if the shapes do not fit.

  Example:
    >>> mean, _ = group_product(jnp.array([[1.0], [3.0], [7.0]]), jnp.zeros((3, 1)), jnp.array([8, 8, -1]))
    >>> mean.tolist()
    [[2.0], [2.0], [7.0]]

  References:
    Bouchacourt, Tomioka & Nowozin, Multi-Level Variational Autoencoder, 2018.
      arXiv:1705.08841
  """
  mean, log_scale, local, group, count = _members(mean, log_scale, group, axis_name)
  least = jax.lax.stop_gradient(jax.ops.segment_min(log_scale, group, count))
  precision = jnp.exp(2 * (least[group] - log_scale))
  total = jax.ops.segment_sum(precision, group, count)
  safe = jnp.where(total > 0, total, 1)  # groups without members
  group_mean = jax.ops.segment_sum(precision * mean, group, count) / safe
  return group_mean[local], (least - 0.5 * jnp.log(safe))[local]


def group_average(
  mean: ArrayLike,
  log_scale: ArrayLike,
  group: ArrayLike,
  *,
  axis_name: str | None = None,
) -> tuple[jax.Array, jax.Array]:
  r"""Posterior of every example's group: the average of its members' means and variances (GVAE).

  .. math:: m_g = \frac{1}{|g|} \sum_{b \in g} m_b, \qquad s_g^2 = \frac{1}{|g|} \sum_{b \in g} s_b^2

  Args:
    mean: means of the members' Gaussians, shape (B, Z).
    log_scale: logarithm of their standard deviations, shape (B, Z).
    group: label of every example's group, any integers, shape (B,).
    axis_name: mapped device axis over which the rows are split; groups may lie across devices.

  Returns:
    (mean, log_scale) of the group of every row, each (B, Z), float32 or wider; the same for all
    members. Gradient flows from every row to all members of its group.

  Raises:
    TypeError: if mean or log_scale is not floating point, or group is not integer.
    ValueError: if the shapes do not fit.

  Example:
    >>> mean, _ = group_average(jnp.array([[1.0], [3.0], [7.0]]), jnp.zeros((3, 1)), jnp.array([8, 8, -1]))
    >>> mean.tolist()
    [[2.0], [2.0], [7.0]]

  References:
    Hosoya, Group-based Learning of Disentangled Representations with Generalizability for Novel
      Contents, 2019. arXiv:1809.02383
    Locatello et al., Weakly-Supervised Disentanglement Without Compromises, 2020
      (averages of means and variances). arXiv:2002.02886
  """
  mean, log_scale, local, group, count = _members(mean, log_scale, group, axis_name)
  size = jnp.maximum(jax.ops.segment_sum(jnp.ones_like(mean), group, count), 1)
  most = jax.lax.stop_gradient(jax.ops.segment_max(log_scale, group, count))
  total = jax.ops.segment_sum(jnp.exp(2 * (log_scale - most[group])), group, count)
  variance = jnp.where(total > 0, total / size, 1)  # relative to the widest; groups without members
  group_mean = jax.ops.segment_sum(mean, group, count) / size
  return group_mean[local], (most + 0.5 * jnp.log(variance))[local]


def group_sizes(group: ArrayLike, *, axis_name: str | None = None) -> jax.Array:
  r"""Number of members of every example's group.

  .. math:: |g_b| = \sum_{b'} 1[g_{b'} = g_b]

  Divides what a group owes once, such as the divergence of its posterior, among its members.

  Args:
    group: label of every example's group, any integers, shape (B,).
    axis_name: mapped device axis over which the rows are split; groups may lie across devices.

  Returns:
    Sizes, at least 1, int32, shape (B,). There is no gradient.

  Raises:
    TypeError: if group is not integer.
    ValueError: if group is not of rank 1.

  Example:
    >>> group_sizes(jnp.array([8, 8, -1])).tolist()
    [2, 2, 1]

  References:
    Bouchacourt, Tomioka & Nowozin, Multi-Level Variational Autoencoder, 2018.
      arXiv:1705.08841
  """
  rows, local = _groups(group, axis_name)
  return jax.ops.segment_sum(jnp.ones_like(rows, jnp.int32), rows, rows.shape[0])[local]


def adaptive_shared_mask(
  mean_a: ArrayLike,
  log_scale_a: ArrayLike,
  mean_b: ArrayLike,
  log_scale_b: ArrayLike,
  *,
  threshold: float = 0.5,
) -> jax.Array:
  r"""Which latent variables a pair of examples shares, by how far their posteriors are apart.

  .. math::

    \delta_i = KL(q(z_i|x_a) \| q(z_i|x_b)), \qquad
    \mathrm{shared}_i = 1\big[\delta_i < (1 - t) \min_j \delta_j + t \max_j \delta_j\big]

  The paper's threshold lies halfway between the smallest and the largest divergence. At least the
  largest is never shared; if all are equal none is.

  Args:
    mean_a: means of q(z|x_a), shape (B, Z).
    log_scale_a: logarithm of its standard deviations, shape (B, Z).
    mean_b: means of q(z|x_b), shape (B, Z).
    log_scale_b: logarithm of its standard deviations, shape (B, Z).
    threshold: t, in [0, 1].

  Returns:
    Booleans, shape (B, Z), True where shared. There is no gradient.

  Raises:
    TypeError: if an argument is not floating point.
    ValueError: if the shapes differ, are not of rank 2, or threshold is not in [0, 1].

  Example:
    >>> mean_b, zeros = jnp.array([[0.1, 2.0, 0.0]]), jnp.zeros((1, 3))
    >>> adaptive_shared_mask(zeros, zeros, mean_b, zeros).tolist()
    [[True, False, True]]

  References:
    Locatello et al., Weakly-Supervised Disentanglement Without Compromises, 2020.
      arXiv:2002.02886
  """
  check_alike(2, mean_a=mean_a, log_scale_a=log_scale_a, mean_b=mean_b, log_scale_b=log_scale_b)
  check_range(0.0, 1.0, threshold=threshold)
  delta = gaussian.kl(mean_a, log_scale_a, mean_b, log_scale_b, event_ndim=0)
  least, most = (reduce(delta, axis=1, keepdims=True) for reduce in (jnp.min, jnp.max))
  # A compiler that computes delta twice may round it differently: the smallest is not below itself.
  return jnp.maximum(delta - least, 0) < threshold * (most - least)


def _members(
  mean: ArrayLike,
  log_scale: ArrayLike,
  group: ArrayLike,
  axis_name: str | None,
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array, int]:
  """Checked rows of all devices, the local groups, the groups of all rows and their number at most."""
  check_alike(2, mean=mean, log_scale=log_scale)
  if jnp.shape(group) != jnp.shape(mean)[:1]:
    raise ValueError(f"group must have shape {jnp.shape(mean)[:1]}, got {jnp.shape(group)}")
  dtype = wide_dtype(mean, log_scale)
  rows, local = _groups(group, axis_name)
  mean, log_scale = (
    all_gather_rows(jnp.asarray(param, dtype), axis_name) for param in (mean, log_scale)
  )
  return mean, log_scale, local, rows, rows.shape[0]


def _groups(group: ArrayLike, axis_name: str | None) -> tuple[jax.Array, jax.Array]:
  """Groups of the rows of all devices, numbered in [0, rows), and of the local rows."""
  check_rank(1, group=group)
  if not jnp.issubdtype(jnp.result_type(group), jnp.integer):
    raise TypeError(f"group must be an integer array, got {jnp.result_type(group)}")
  labels = all_gather_rows(jnp.asarray(group), axis_name)
  rows = jnp.searchsorted(jnp.sort(labels), labels)  # where the group begins among sorted labels
  return rows, local_rows(rows, axis_name)
