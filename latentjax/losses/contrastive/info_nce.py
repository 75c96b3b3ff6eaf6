"""InfoNCE: tell the positive of an anchor from those of the other anchors."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_alike, check_range
from latentjax.losses.contrastive._pairs import log_sums, pair_scores

__all__ = ["info_nce"]


def info_nce(
  anchors: ArrayLike,
  positives: ArrayLike,
  *,
  temperature: ArrayLike = 0.1,
  axis_name: str | None = None,
  block_size: int | None = None,
) -> jax.Array:
  r"""InfoNCE loss, with the positives of the other anchors as negatives.

  .. math:: \ell_i = -\log \frac{\exp(a_i^\top p_i / \tau)}{\sum_{j=1}^B \exp(a_i^\top p_j / \tau)}

  log B - mean(loss) is a lower bound on the mutual information of anchor and positive, and at most
  log B. Deviation: the paper's scores are log-bilinear; put the matrix into one of the embeddings.
  Evaluated as log(1 + sum_{j != i} exp((a_i . p_j - a_i . p_i) / tau)), so that small losses keep
  their digits.

  Args:
    anchors: embeddings, of norm 1 if the scores are to be cosines (see `l2_normalize`), shape
      (B, D).
    positives: the other view of every anchor, shape (B, D).
    temperature: tau, positive. Can be traced and receives a gradient.
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`.
    block_size: rows at a time: scores take memory (block_size, block_size), forward and backward,
      instead of (B, B). The result does not depend on it.

  Returns:
    Loss per anchor in nats, shape (B,), float32 or wider. Gradient flows to both arrays, to the rows
    of every device, in reverse mode.

  Raises:
    TypeError: if an array is not floating point or block_size is not an integer.
    ValueError: if the shapes differ or are not of rank 2, or temperature or block_size is not
      positive.

  Example:
    >>> loss = info_nce(jnp.eye(2), jnp.eye(2), temperature=1.0)
    >>> round(float(loss[0]), 4)  # log(1 + 1 / e)
    0.3133

  References:
    van den Oord et al., Representation Learning with Contrastive Predictive Coding, 2018, eq. 4.
      arXiv:1807.03748
  """
  check_alike(2, anchors=anchors, positives=positives)
  check_range(0.0, strict=True, temperature=temperature)
  scale = 1 / jnp.asarray(temperature)
  (negatives,), _ = log_sums(
    [anchors], [positives], scale, axis_name=axis_name, block_size=block_size
  )
  return jax.nn.softplus(negatives - pair_scores(anchors, positives, scale))
