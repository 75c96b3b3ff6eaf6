"""Supervised contrastive loss: every example of the same class is a positive."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_float, check_range, check_rank, wide_dtype
from latentjax.collectives import all_gather_rows, local_rows
from latentjax.losses.contrastive._pairs import log_sums, pair_scores

__all__ = ["sup_con"]


def sup_con(
  z: ArrayLike,
  labels: ArrayLike,
  *,
  temperature: ArrayLike = 0.1,
  axis_name: str | None = None,
  block_size: int | None = None,
) -> jax.Array:
  r"""Supervised contrastive loss, with the sum over positives outside the logarithm.

  .. math:: \ell_i = -\frac{1}{|P(i)|} \sum_{p \in P(i)} \log
    \frac{\exp(z_i^\top z_p / \tau)}{\sum_{a \ne i} \exp(z_i^\top z_a / \tau)}, \qquad
    P(i) = \{p \ne i : y_p = y_i\}

  If every label occurs twice it is NT-Xent. Two views of a batch are passed as one array of 2 B rows,
  with their labels twice. An anchor whose label occurs only once has no positive: its loss is 0 and
  has no gradient. The positives enter by the sum of the embeddings of a class, so that only the
  denominator runs over pairs.

  Args:
    z: embeddings, of norm 1 (see `l2_normalize`), shape (B, D).
    labels: class of every row, integers of any value, shape (B,).
    temperature: tau, positive. Can be traced and receives a gradient.
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`.
    block_size: rows at a time: scores take memory (block_size, block_size), forward and backward,
      instead of (B, B). The result does not depend on it. Every device still gathers the (B, D)
      embeddings of all, for the sums over classes.

  Returns:
    Loss per anchor in nats, shape (B,), float32 or wider. Gradient flows to z, to the rows of every
    device, in reverse mode.

  Raises:
    TypeError: if z is not floating point, labels are not integers or block_size is not.
    ValueError: if z is not of rank 2, labels do not have one entry per row, or temperature or
      block_size is not positive.

  Example:
    >>> z = jnp.repeat(jnp.eye(2), 2, axis=0)
    >>> loss = sup_con(z, jnp.array([0, 0, 1, 1]), temperature=1.0)
    >>> round(float(loss[0]), 4)  # log(1 + 2 / e)
    0.5514

  References:
    Khosla et al., Supervised Contrastive Learning, 2020 (L_out). arXiv:2004.11362
  """
  check_float(z=z)
  check_rank(2, z=z)
  check_range(0.0, strict=True, temperature=temperature)
  if not jnp.issubdtype(jnp.result_type(labels), jnp.integer):
    raise TypeError(f"labels must be integers, got {jnp.result_type(labels)}")
  if jnp.shape(labels) != jnp.shape(z)[:1]:
    raise ValueError(f"labels must have shape {jnp.shape(z)[:1]}, got {jnp.shape(labels)}")
  scale = 1 / jnp.asarray(temperature)
  (everyone,), _ = log_sums([z], [z], scale, axis_name=axis_name, block_size=block_size)
  total, count = _positives(jnp.asarray(z, wide_dtype(z)), jnp.asarray(labels), axis_name)
  mean_positive = pair_scores(z, total / jnp.maximum(count, 1)[:, None], scale)
  return jnp.where(count > 0, everyone - mean_positive, 0.0)


def _positives(
  z: jax.Array, labels: jax.Array, axis_name: str | None
) -> tuple[jax.Array, jax.Array]:
  """Sum (B, D) and number (B,) of the other rows with the same label."""
  all_labels, all_z = (all_gather_rows(array, axis_name) for array in (labels, z))
  # A number below B for every label: where it begins among the sorted ones.
  group = jnp.searchsorted(jnp.sort(all_labels), all_labels)
  size = all_labels.shape[0]
  total = jax.ops.segment_sum(all_z, group, num_segments=size)
  count = jnp.bincount(group, length=size)
  own = local_rows(group, axis_name)
  return total[own] - z, count[own] - 1
