"""Objectives that remember earlier batches: MoCo's negatives, NNCLR's neighbours."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_positive_int
from latentjax.losses.contrastive import (
  Queue,
  init_queue,
  l2_normalize,
  moco_loss,
  nnclr_loss,
  update_queue,
)
from latentjax.objectives.latent_model import Batch, Metrics, Params, take_feature
from latentjax.objectives.teacher import Momentum, Teacher, init_teacher, update_teacher
from latentjax.objectives.two_view import EmbedFn, SelfSupervised, check_pair, embed_views

__all__ = ["MocoState", "moco", "nnclr"]


class MocoState(NamedTuple):
  """The momentum encoder and the keys that it made of the last batches."""

  teacher: Teacher
  queue: Queue


def moco(
  embed_fn: EmbedFn,
  *,
  dim: int,
  queue_size: int = 65_536,
  momentum: Momentum = 0.999,
  temperature: ArrayLike = 0.07,
  axis_name: str | None = None,
  features: Sequence[str] = ("view_1", "view_2"),
) -> SelfSupervised:
  """MoCo: the first view finds the momentum encoder's embedding of the second among earlier ones.

  Args:
    embed_fn: `(params, x) -> embeddings`, encoder and projector in one, shape (B, D).
    dim: D.
    queue_size: keys that are remembered, at least a batch.
    momentum: of the teacher, see `update_teacher`; short runs want less.
    temperature: positive.
    axis_name: mapped device axis over which the batch is split, inside `pmap` or `shard_map`.
    features: names of the two views in a batch.

  Returns:
    The objective; its model_state is a `MocoState`, whose queue starts with random directions.

  Raises:
    KeyError: if a batch lacks a view.
    ValueError: if the views' shapes differ, there are not two names, or a number is out of range.

  References:
    He et al., Momentum Contrast for Unsupervised Visual Representation Learning, 2020.
      arXiv:1911.05722
  """
  check_pair(features)
  check_positive_int(dim=dim, queue_size=queue_size)

  def init_state(params: Params) -> MocoState:
    return MocoState(init_teacher(params), init_queue(jax.random.key(0), size=queue_size, dim=dim))

  def objective(
    params: Params, state: MocoState, key: jax.Array, batch: Batch
  ) -> tuple[jax.Array, tuple[MocoState, Metrics]]:
    teacher = update_teacher(state.teacher, params, momentum=momentum)
    query, key_view = (take_feature(batch, feature) for feature in features)
    queries = l2_normalize(embed_fn(params, query))
    keys = l2_normalize(embed_fn(teacher.params, key_view))
    loss = moco_loss(queries, keys, state.queue.rows, temperature=temperature)
    queue = update_queue(state.queue, keys, axis_name=axis_name)
    return jnp.mean(loss), (MocoState(teacher, queue), {})

  return SelfSupervised(objective, init_state)


def nnclr(
  embed_fn: EmbedFn,
  predict_fn: EmbedFn,
  *,
  dim: int,
  queue_size: int = 98_304,
  temperature: ArrayLike = 0.1,
  axis_name: str | None = None,
  block_size: int | None = None,
  features: Sequence[str] = ("view_1", "view_2"),
) -> SelfSupervised:
  """NNCLR: each view's nearest neighbour among earlier embeddings is the other view's positive.

  Args:
    embed_fn: `(params, x) -> embeddings`, encoder and projector in one, shape (B, D).
    predict_fn: `(params, z) -> predictions`, shape (B, D).
    dim: D.
    queue_size: embeddings of the first view that are remembered, at least a batch.
    temperature: positive.
    axis_name: mapped device axis over which the batch is split, inside `pmap` or `shard_map`.
    block_size: rows at a time, see `info_nce`.
    features: names of the two views in a batch.

  Returns:
    The objective; its model_state is a `Queue`, which starts with random directions.

  Raises:
    KeyError: if a batch lacks a view.
    ValueError: if the views' shapes differ, there are not two names, or a number is out of range.

  References:
    Dwibedi et al., With a Little Help from My Friends: Nearest-Neighbor Contrastive Learning of
      Visual Representations, 2021. arXiv:2104.14548
  """
  check_pair(features)
  check_positive_int(dim=dim, queue_size=queue_size)

  def objective(
    params: Params, queue: Queue, key: jax.Array, batch: Batch
  ) -> tuple[jax.Array, tuple[Queue, Metrics]]:
    z = embed_views(embed_fn, params, batch, features)
    predictions = jax.vmap(predict_fn, (None, 0))(params, z)
    loss = nnclr_loss(
      predictions[0],
      predictions[1],
      z[0],
      z[1],
      queue.rows,
      temperature=temperature,
      axis_name=axis_name,
      block_size=block_size,
    )
    queue = update_queue(queue, l2_normalize(z[0]), axis_name=axis_name)
    return jnp.mean(loss), (queue, {})

  return SelfSupervised(
    objective, lambda params: init_queue(jax.random.key(0), size=queue_size, dim=dim)
  )
