"""Differential entropy of embeddings by their nearest neighbours (KoLeo)."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_float, check_positive_int, check_range, check_rank, wide_dtype
from latentjax.collectives import all_gather_rows, row_offset
from latentjax.losses.contrastive._pairs import check_two_rows
from latentjax.losses.contrastive.normalize import l2_normalize

__all__ = ["koleo_loss"]


def koleo_loss(
  z: ArrayLike,
  *,
  eps: ArrayLike = 1e-8,
  axis_name: str | None = None,
  block_size: int | None = None,
) -> jax.Array:
  r"""Negative log distance of every embedding from its nearest neighbour in the batch (KoLeo).

  .. math::

    -\tfrac12 \log\big(\|\bar z_b - \bar z_{n(b)}\|^2 + \epsilon^2\big), \qquad
    n(b) = \arg\min_{j \ne b} \|\bar z_b - \bar z_j\|, \qquad \bar z = z / \|z\|

  The Kozachenko-Leonenko estimate of minus the differential entropy, without its constants; it
  spreads the embeddings over the sphere. The choice of the neighbour has no gradient. (DINOv2 looks
  for it among the rows of its own device, and adds eps to the distance.)

  Args:
    z: embeddings of any norm, shape (B, D).
    eps: length below which distances do not count, positive. Can be traced.
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`;
      neighbours are looked for on all devices.
    block_size: rows at a time, to bound memory to (block_size, B); None takes all. The result does
      not depend on it.

  Returns:
    Loss per example, shape (B,), float32 or wider. Gradient flows to the embedding and to its
    neighbour; it is zero between equal ones.

  Raises:
    TypeError: if z is not floating point or block_size is not an integer.
    ValueError: if z is not of rank 2, the batch has a single row, or eps or block_size is not
      positive.

  Example:
    >>> koleo_loss(jnp.array([[1.0], [-3.0]])).tolist()  # -log 2
    [-0.69314..., -0.69314...]

  References:
    Sablayrolles et al., Spreading Vectors for Similarity Search, 2019. arXiv:1806.03198
    Oquab et al., DINOv2, 2023. arXiv:2304.07193
  """
  check_float(z=z)
  check_rank(2, z=z)
  check_two_rows(axis_name, z=z)
  check_range(low=0.0, strict=True, eps=eps)
  if block_size is not None:
    check_positive_int(block_size=block_size)
  z = l2_normalize(jnp.asarray(z, wide_dtype(z)))
  columns = all_gather_rows(z, axis_name)
  # Cosines of embeddings that have nearly collapsed, the ones to be driven apart, all round to 1.
  centre = jnp.mean(columns, axis=0)
  points, fixed = jax.lax.stop_gradient((z - centre, columns - centre))
  half_norms = jnp.sum(jnp.square(fixed), axis=1) / 2

  def neighbour(row: tuple[jax.Array, jax.Array]) -> jax.Array:
    point, index = row
    nearness = jnp.matmul(fixed, point, precision="highest") - half_norms
    return jnp.argmax(jnp.where(jnp.arange(fixed.shape[0]) == index, -jnp.inf, nearness))

  rows = (points, row_offset(z.shape[0], axis_name) + jnp.arange(z.shape[0]))
  size = z.shape[0] if block_size is None else min(block_size, z.shape[0])
  nearest = jax.lax.map(neighbour, rows, batch_size=size)
  squared = jnp.sum(jnp.square(z - columns[nearest]), axis=1)
  return -0.5 * jnp.log(squared + jnp.square(jnp.asarray(eps, z.dtype)))
