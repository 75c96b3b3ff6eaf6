"""How InfoNCE weighs its negatives, and the loss that keeps the hardest of them alone."""

from functools import partial

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import (
  check_alike,
  check_positive_int,
  check_range,
  wide_dtype,
)
from latentjax.collectives import all_gather_rows, row_offset
from latentjax.losses.contrastive._pairs import check_two_rows

__all__ = ["hard_contrastive_loss", "negative_shares"]


def negative_shares(
  anchors: ArrayLike,
  positives: ArrayLike,
  *,
  temperature: ArrayLike = 0.1,
  axis_name: str | None = None,
) -> jax.Array:
  r"""Shares that the negatives of an anchor have in the gradient of `info_nce`.

  .. math::

    r_{ij} = \frac{|\partial \ell_i / \partial s_{ij}|}{|\partial \ell_i / \partial s_{ii}|}
    = \frac{\exp(s_{ij} / \tau)}{\sum_{k \ne i} \exp(s_{ik} / \tau)}, \qquad s_{ij} = a_i^\top p_j

  All equal as tau grows (the loss is then linear in the scores); the nearest negative has all of it
  as tau falls. For analysis: it is a matrix (B, B).

  Args:
    anchors: embeddings, of norm 1 if the scores are to be cosines, shape (B, D).
    positives: the other view of every anchor, shape (B, D).
    temperature: tau, positive. Can be traced and receives a gradient.
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`.

  Returns:
    Shares, shape (B, all rows), float32 or wider, each row a distribution with 0 at the positive.
    Gradient flows to both arrays.

  Raises:
    TypeError: if an array is not floating point.
    ValueError: if the shapes differ or are not of rank 2, temperature is not positive, or there is
      one row, hence no negative.

  Example:
    >>> negative_shares(jnp.eye(3), jnp.eye(3))[0].tolist()
    [0.0, 0.5, 0.5]

  References:
    Wang & Liu, Understanding the Behaviour of Contrastive Loss, 2021. arXiv:2012.09740
  """
  anchors, columns, own = _prepare(anchors, positives, temperature, axis_name)
  shares = lambda anchor, i: jax.nn.softmax(_scores(anchor, i, columns, temperature)[0])
  return jax.vmap(shares)(anchors, own)


def hard_contrastive_loss(
  anchors: ArrayLike,
  positives: ArrayLike,
  *,
  num_negatives: int,
  temperature: ArrayLike = 0.3,
  axis_name: str | None = None,
  block_size: int | None = None,
) -> jax.Array:
  r"""InfoNCE loss with the most similar negatives alone.

  .. math::

    -\log \frac{\exp(s_{ii} / \tau)}{\exp(s_{ii} / \tau) + \sum_{j \in H_i} \exp(s_{ij} / \tau)}, \qquad
    s_{ij} = a_i^\top p_j

  with the K negatives H_i of largest score, a fixed number where the paper has a fixed quantile. What
  a small temperature does to `info_nce` it does at any: so temperature is free to be large.

  Args:
    anchors: embeddings of norm 1 (see `l2_normalize`), shape (B, D).
    positives: the other view of every anchor, of norm 1, shape (B, D).
    num_negatives: K, at most the number of negatives.
    temperature: tau, positive. Can be traced and receives a gradient.
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`;
      negatives come from all devices.
    block_size: anchors at a time: scores take memory (block_size, B), forward and backward, instead
      of (B, B). The result does not depend on it.

  Returns:
    Loss per anchor in nats, shape (B,), float32 or wider. Gradient flows to both arrays, to the rows
    of every device; which negatives are kept is detached.

  Raises:
    TypeError: if an array is not floating point or an integer is not one.
    ValueError: if the shapes differ or are not of rank 2, there are fewer than num_negatives
      negatives, or temperature or block_size is not positive.

  Example:
    >>> z = jnp.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    >>> loss = hard_contrastive_loss(z, z, num_negatives=1, temperature=1.0)
    >>> round(float(loss[0]), 4)  # log(1 + 1 / e)
    0.3133

  References:
    Wang & Liu, Understanding the Behaviour of Contrastive Loss, 2021. arXiv:2012.09740
  """
  anchors, columns, own = _prepare(anchors, positives, temperature, axis_name)
  block_size = len(anchors) if block_size is None else block_size
  check_positive_int(num_negatives=num_negatives, block_size=block_size)
  if num_negatives >= len(columns):
    raise ValueError(
      f"num_negatives must be at most the {len(columns) - 1} negatives, got {num_negatives}"
    )

  @jax.checkpoint
  def loss(anchor: jax.Array, i: jax.Array) -> jax.Array:
    negatives, positive = _scores(anchor, i, columns, temperature)
    hardest = jax.lax.top_k(negatives, num_negatives)[0]
    return jax.nn.softplus(jax.nn.logsumexp(hardest) - positive)

  return jax.lax.map(lambda row: loss(*row), (anchors, own), batch_size=block_size)


def _prepare(
  anchors: ArrayLike, positives: ArrayLike, temperature: ArrayLike, axis_name: str | None
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Anchors, the positives of all devices, and which of these is each anchor's own."""
  check_alike(2, anchors=anchors, positives=positives)
  check_range(0.0, strict=True, temperature=temperature)
  check_two_rows(axis_name, anchors=anchors)
  dtype = wide_dtype(anchors, positives)
  anchors, positives = jnp.asarray(anchors, dtype), jnp.asarray(positives, dtype)
  own = row_offset(len(anchors), axis_name) + jnp.arange(len(anchors))
  return anchors, all_gather_rows(positives, axis_name), own


def _scores(
  anchor: jax.Array, own: jax.Array, columns: jax.Array, temperature: ArrayLike
) -> tuple[jax.Array, jax.Array]:
  """Scores of the negatives, -inf at the positive, and of the positive."""
  product = partial(jnp.matmul, precision="highest")
  scores = product(columns, anchor) / jnp.asarray(temperature, columns.dtype)
  return jnp.where(jnp.arange(len(columns)) == own, -jnp.inf, scores), scores[own]
