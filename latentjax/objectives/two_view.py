"""Objectives on two augmented views of every example, without a second set of weights."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from latentjax.losses.contrastive import simsiam_loss
from latentjax.objectives.latent_model import Batch, Metrics, Objective, Params, take_feature

__all__ = ["EmbedFn", "SelfSupervised", "check_pair", "embed_views", "simsiam", "two_view"]

EmbedFn = Callable[[Params, jax.Array], jax.Array]


class SelfSupervised(NamedTuple):
  """A training objective on views of the same examples.

  Attributes:
    objective: `(params, model_state, key, batch) -> (loss, (model_state, metrics))`, means over the
      batch.
    init_state: `(params) -> model_state` that training starts with; () where the objective carries
      nothing.
  """

  objective: Objective
  init_state: Callable[[Params], Any] = lambda params: ()


def two_view(
  embed_fn: EmbedFn,
  loss_fn: Callable[[jax.Array, jax.Array], jax.Array],
  *,
  features: Sequence[str] = ("view_1", "view_2"),
) -> SelfSupervised:
  """Any loss of two views' embeddings: NT-Xent, Barlow Twins, VICReg and their kin.

  Args:
    embed_fn: `(params, x) -> embeddings`, encoder and projector in one, shape (B, D).
    loss_fn: `(z_1, z_2) -> loss`, of shape (B,) or (), such as
      `lambda z_1, z_2: nt_xent(l2_normalize(z_1), l2_normalize(z_2), axis_name=axis_name)`. Inside
      `pmap` or `shard_map` it is what takes the axis_name.
    features: names of the two views in a batch.

  Returns:
    The objective. Its metrics are empty: the step adds the loss.

  Raises:
    KeyError: if a batch lacks a view.
    ValueError: if the views' shapes differ, or there are not two names.

  Example:
    >>> from latentjax.losses.contrastive import alignment
    >>> ssl = two_view(lambda params, x: params * x, alignment)
    >>> x = {"view_1": jnp.ones((4, 1)), "view_2": jnp.zeros((4, 1))}
    >>> float(ssl.objective(2.0, (), jax.random.key(0), x)[0])
    4.0

  References:
    Chen et al., A Simple Framework for Contrastive Learning of Visual Representations, 2020.
      arXiv:2002.05709
  """
  check_pair(features)

  def objective(
    params: Params, model_state: Any, key: jax.Array, batch: Batch
  ) -> tuple[jax.Array, tuple[Any, Metrics]]:
    z_1, z_2 = embed_views(embed_fn, params, batch, features)
    return jnp.mean(loss_fn(z_1, z_2)), (model_state, {})

  return SelfSupervised(objective)


def simsiam(
  embed_fn: EmbedFn, predict_fn: EmbedFn, *, features: Sequence[str] = ("view_1", "view_2")
) -> SelfSupervised:
  """SimSiam: each view predicts the other's embedding, whose gradient is stopped.

  Args:
    embed_fn: `(params, x) -> embeddings`, encoder and projector in one, shape (B, D).
    predict_fn: `(params, z) -> predictions`, shape (B, D).
    features: names of the two views in a batch.

  Returns:
    The objective.

  Raises:
    KeyError: if a batch lacks a view.
    ValueError: if the views' shapes differ, or there are not two names.

  References:
    Chen & He, Exploring Simple Siamese Representation Learning, 2021. arXiv:2011.10566
  """
  check_pair(features)

  def objective(
    params: Params, model_state: Any, key: jax.Array, batch: Batch
  ) -> tuple[jax.Array, tuple[Any, Metrics]]:
    z = embed_views(embed_fn, params, batch, features)
    predictions = jax.vmap(predict_fn, (None, 0))(params, z)
    return jnp.mean(simsiam_loss(*predictions, *z)), (model_state, {})

  return SelfSupervised(objective)


def embed_views(
  embed_fn: EmbedFn, params: Params, batch: Batch, features: Sequence[str]
) -> jax.Array:
  """Embeddings of the views of a batch, shape (V, B, D).

  One pass for all, with each view's own batch statistics where the network has any.
  """
  views = [take_feature(batch, feature) for feature in features]
  shapes = [view.shape for view in views]
  if len(set(shapes)) > 1:
    raise ValueError(f"views {tuple(features)} must have the same shape, got {shapes}")
  return jax.vmap(embed_fn, (None, 0))(params, jnp.stack(views))


def check_pair(features: Sequence[str]) -> None:
  """Refuses anything but two names of views."""
  if len(features) != 2:
    raise ValueError(f"features must name two views, got {tuple(features)}")
