"""How well predicted embeddings find their targets among the others."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import (
  check_alike,
  check_positive_int,
  wide_dtype,
)
from latentjax.collectives import all_gather_rows, device_mean, row_offset
from latentjax.losses.contrastive import l2_normalize

__all__ = ["Retrieval", "prediction_retrieval"]


class Retrieval(NamedTuple):
  """Scalars in [0, 1].

  Attributes:
    mrr: mean of 1 / rank of the right target.
    hits: share of predictions whose target is among the nearest k, for every k, shape (len(k),).
  """

  mrr: jax.Array
  hits: jax.Array


def prediction_retrieval(
  predicted: ArrayLike,
  targets: ArrayLike,
  *,
  k: Sequence[int] = (1, 5),
  block_size: int = 1024,
  axis_name: str | None = None,
) -> Retrieval:
  r"""Ranks of the right targets by cosine similarity: mean reciprocal rank and hits at k.

  .. math::

    r_i = \big|\{j : \bar p_i^\top \bar t_j \ge \bar p_i^\top \bar t_i\}\big|, \qquad
    MRR = \frac1B \sum_i \frac{1}{r_i}, \qquad H@k = \frac1B \sum_i 1[r_i \le k]

  Ties count against the prediction: if everything collapses to one point, all ranks are B. Guessing
  has an MRR of (1 + 1/2 + ... + 1/B) / B. The candidates are the rows of one batch; the paper's are
  the views of one object, which is this function mapped over objects.

  Args:
    predicted: predicted embeddings of any norm, shape (B, D).
    targets: the right one of each, shape (B, D).
    k: numbers of nearest targets, each at least 1.
    block_size: predictions that are compared at once.
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`; the
      candidates are those of all devices.

  Returns:
    Retrieval, the same on every device. Detached.

  Raises:
    TypeError: if an array is not floating point, or a k or block_size not an integer.
    ValueError: if the shapes differ or are not of rank 2, or a k or block_size is below 1.

  Example:
    >>> targets = jnp.array([[1.0, 0.0], [0.0, 1.0]])
    >>> float(prediction_retrieval(jnp.array([[0.9, 0.1], [0.9, 0.1]]), targets).mrr)
    0.75

  References:
    Garrido, Najman & LeCun, Self-Supervised Learning of Split Invariant Equivariant
      Representations, 2023. arXiv:2302.10283
  """
  check_alike(2, predicted=predicted, targets=targets)
  check_positive_int(block_size=block_size)
  for number in k:
    check_positive_int(k=number)
  dtype = wide_dtype(predicted, targets)
  unit = lambda z: jax.lax.stop_gradient(l2_normalize(jnp.asarray(z, dtype)))
  predicted, candidates = unit(predicted), all_gather_rows(unit(targets), axis_name)
  own = row_offset(len(predicted), axis_name) + jnp.arange(len(predicted))

  def rank_of(row: tuple[jax.Array, jax.Array]) -> jax.Array:
    similarity = jnp.matmul(candidates, row[0], precision="highest")
    return jnp.sum(similarity >= similarity[row[1]])

  rank = jax.lax.map(rank_of, (predicted, own), batch_size=block_size)
  hits = jnp.mean(rank[:, None] <= jnp.asarray(tuple(k)), axis=0, dtype=dtype)
  mrr = jnp.mean(1 / rank.astype(dtype))
  return Retrieval(device_mean(mrr, axis_name), device_mean(hits, axis_name))
