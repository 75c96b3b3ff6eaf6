"""Learning from hidden patches: their pixels (MAE), or a teacher's features of them (I-JEPA)."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_positive_int
from latentjax.losses.masked import (
  BlockMasks,
  jepa_loss,
  mae_loss,
  masked_positions,
  patchify,
  random_masking,
)
from latentjax.objectives.latent_model import Batch, Metrics, Params, take_feature
from latentjax.objectives.teacher import Momentum, Teacher, init_teacher, update_teacher
from latentjax.objectives.two_view import SelfSupervised

__all__ = ["i_jepa", "mae"]

PatchFn = Callable[..., jax.Array]


def mae(
  encode_fn: PatchFn,
  predict_fn: PatchFn,
  *,
  patch_size: int,
  mask_ratio: float = 0.75,
  normalize_patches: bool = True,
  feature: str = "image",
  axis_name: str | None = None,
) -> SelfSupervised:
  """Masked autoencoder: the hidden patches from the features of the visible ones.

  Args:
    encode_fn: `(params, patches, positions) -> features` of the visible patches (B, V, p^2 C) at
      their places (B, V) in the image, row by row.
    predict_fn: `(params, features, positions, queries) -> patches` at the hidden places, (B, Q, p^2 C).
    patch_size: p, side of a patch.
    mask_ratio: share of the patches that is hidden, see `random_masking`.
    normalize_patches: whether patches are predicted at zero mean and unit variance, see `mae_loss`.
    feature: name of the batch's array, images (B, H, W, C), floating point.
    axis_name: mapped device axis over which the batch is split, inside `pmap` or `shard_map`.

  Returns:
    The objective.

  Raises:
    KeyError: if a batch lacks the feature.
    ValueError: if the shapes do not fit or no patch stays visible.

  References:
    He et al., Masked Autoencoders Are Scalable Vision Learners, 2022. arXiv:2111.06377
  """

  def objective(
    params: Params, model_state: Any, key: jax.Array, batch: Batch
  ) -> tuple[jax.Array, tuple[Any, Metrics]]:
    patches = patchify(take_feature(batch, feature), patch_size=patch_size)
    masking = random_masking(
      key,
      batch_size=patches.shape[0],
      num_patches=patches.shape[1],
      mask_ratio=mask_ratio,
      axis_name=axis_name,
    )
    features = encode_fn(params, _take(patches, masking.visible), masking.visible)
    prediction = predict_fn(params, features, masking.visible, masking.hidden)
    hidden = _take(patches, masking.hidden)
    losses = mae_loss(prediction, hidden, normalize_patches=normalize_patches)
    return jnp.mean(losses), (model_state, {})

  return SelfSupervised(objective)


def i_jepa(
  encode_fn: PatchFn,
  predict_fn: PatchFn,
  masks_fn: Callable[..., BlockMasks],
  *,
  patch_size: int,
  momentum: Momentum = 0.996,
  context_size: int | None = None,
  target_size: int | None = None,
  normalize_target: bool = True,
  delta: ArrayLike = 1.0,
  feature: str = "image",
  axis_name: str | None = None,
) -> SelfSupervised:
  """I-JEPA: the teacher's features of target blocks from the student's of a context without them.

  The teacher sees the whole image. Each target block is predicted by itself.

  Args:
    encode_fn: `(params, patches, positions, where) -> features` of patches (B, V, p^2 C) at their
      places (B, V) in the image, row by row; (B, V, D). Patches that `where` (B, V) excludes fill up
      the list and must not matter. The teacher's are all patches, and it gets no `where`.
    predict_fn: `(params, features, positions, queries, where) -> features` at the queries (B, Q),
      (B, Q, D); `where` (B, V + Q) for features and queries.
    masks_fn: `(key, batch_size=, axis_name=) -> BlockMasks`, such as
      `partial(block_masks, grid=(7, 7))`.
    patch_size: p, side of a patch.
    momentum: of the teacher, see `update_teacher`; the authors' rises from 0.996 to 1.
    context_size: most patches of a context that the student gets; None: all. Less saves work.
    target_size: most patches of a target block that are predicted; None: all. Set to the largest
      block's number it saves work and changes nothing.
    normalize_target: whether the teacher's features are normalised, see `jepa_loss`.
    delta: where the distance turns from squared to linear, see `jepa_loss`.
    feature: name of the batch's array, images (B, H, W, C), floating point.
    axis_name: mapped device axis over which the batch is split, inside `pmap` or `shard_map`.

  Returns:
    The objective; its model_state is a `Teacher`.

  Raises:
    KeyError: if a batch lacks the feature.
    TypeError: if context_size or target_size is not an integer.
    ValueError: if the shapes do not fit or a number is out of range.

  References:
    Assran et al., Self-Supervised Learning from Images with a Joint-Embedding Predictive
      Architecture, 2023. arXiv:2301.08243
  """
  for name, size in {"context_size": context_size, "target_size": target_size}.items():
    if size is not None:
      check_positive_int(**{name: size})

  def objective(
    params: Params, teacher: Teacher, key: jax.Array, batch: Batch
  ) -> tuple[jax.Array, tuple[Teacher, Metrics]]:
    patches = patchify(take_feature(batch, feature), patch_size=patch_size)
    batch_size, num_patches, _ = patches.shape
    masks = masks_fn(key, batch_size=batch_size, axis_name=axis_name)
    most = lambda size: num_patches if size is None else size
    seen, is_seen = masked_positions(masks.context, size=most(context_size))
    asked, is_asked = masked_positions(masks.targets, size=most(target_size))
    features = encode_fn(params, _take(patches, seen), seen, is_seen)

    def predict(queries: jax.Array, where: jax.Array) -> jax.Array:
      return predict_fn(params, features, seen, queries, jnp.concatenate([is_seen, where], axis=1))

    prediction = jax.vmap(predict, in_axes=1, out_axes=1)(asked, is_asked)
    teacher = update_teacher(teacher, params, momentum=momentum)
    everywhere = jnp.broadcast_to(jnp.arange(num_patches), (batch_size, num_patches))
    targets = encode_fn(teacher.params, patches, everywhere)
    targets = jax.vmap(_take, in_axes=(None, 1), out_axes=1)(targets, asked)
    losses = jepa_loss(
      prediction, targets, where=is_asked, normalize_target=normalize_target, delta=delta
    )
    return jnp.mean(losses), (teacher, {})

  return SelfSupervised(objective, init_teacher)


def _take(patches: jax.Array, positions: jax.Array) -> jax.Array:
  """Rows (B, V, D) of patches (B, P, D)."""
  return jnp.take_along_axis(patches, positions[..., None], axis=1)
