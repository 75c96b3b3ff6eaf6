"""Objectives on any number of views, of two sizes: SwAV, FroSSL, MMCR and their kin; DINO; LeJEPA."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_positive_int, check_range
from latentjax.losses.contrastive import dino_loss, sigreg_loss, update_dino_centre
from latentjax.objectives.latent_model import Batch, Metrics, Params
from latentjax.objectives.teacher import Momentum, Teacher, init_teacher, update_teacher
from latentjax.objectives.two_view import EmbedFn, SelfSupervised, embed_views

__all__ = ["DinoState", "dino", "lejepa", "multi_view"]


class DinoState(NamedTuple):
  """The teacher and the moving average of its outputs."""

  teacher: Teacher
  centre: jax.Array


def multi_view(
  embed_fn: EmbedFn,
  loss_fn: Callable[[jax.Array], jax.Array],
  *,
  features: Sequence[str] = ("view_1", "view_2"),
  num_global: int = 2,
) -> SelfSupervised:
  """Any loss of stacked views: SwAV, FroSSL, MMCR.

  Args:
    embed_fn: `(params, x) -> embeddings`, or scores of prototypes, shape (B, D); it takes the sizes
      of both kinds of views.
    loss_fn: `(z) -> loss`, of shape (B,) or (), with z of shape (V, B, D), such as `swav_loss`. Inside
      `pmap` or `shard_map` it is what takes the axis_name.
    features: names of the views in a batch, global crops first.
    num_global: how many these are. The others have one shape, which may be another.

  Returns:
    The objective. Its metrics are empty: the step adds the loss.

  Raises:
    KeyError: if a batch lacks a view.
    TypeError: if num_global is not an integer.
    ValueError: if shapes differ among views of a kind, or num_global is not in [1, V].

  Example:
    >>> from latentjax.losses.contrastive import swav_loss
    >>> ssl = multi_view(lambda params, x: params * x, swav_loss)
    >>> x = {"view_1": jnp.zeros((4, 2)), "view_2": jnp.zeros((4, 2))}
    >>> round(float(ssl.objective(1.0, (), jax.random.key(0), x)[0]), 4)  # log 2
    0.6931

  References:
    Caron et al., Unsupervised Learning of Visual Features by Contrasting Cluster Assignments (SwAV),
      2020. arXiv:2006.09882
  """
  _check_global(features, num_global)

  def objective(
    params: Params, model_state: Any, key: jax.Array, batch: Batch
  ) -> tuple[jax.Array, tuple[Any, Metrics]]:
    z = _embed_crops(embed_fn, params, batch, features, num_global)
    return jnp.mean(loss_fn(z)), (model_state, {})

  return SelfSupervised(objective)


def lejepa(
  embed_fn: EmbedFn,
  *,
  lambda_sigreg: ArrayLike = 0.05,
  num_slices: int = 256,
  axis_name: str | None = None,
  features: Sequence[str] = ("view_1", "view_2"),
  num_global: int = 2,
) -> SelfSupervised:
  r"""LeJEPA: views agree, and every view's embeddings are a standard Gaussian.

  .. math::

    \frac{1 - \lambda}{V} \sum_v \frac{1}{B D} \sum_b \|z_{vb} - \mu_b\|^2
    + \frac{\lambda}{V} \sum_v \mathrm{SIGReg}(z_v)

  mu is the mean of the global views' embeddings, not detached; no teacher, no predictor.

  Args:
    embed_fn: `(params, x) -> embeddings`, not normalised, shape (B, D).
    lambda_sigreg: lambda, in [0, 1].
    num_slices: directions of `sigreg_loss`, new ones in every step, the same for all views.
    axis_name: mapped device axis over which the batch is split, inside `pmap` or `shard_map`.
    features: names of the views in a batch, global crops first.
    num_global: how many these are.

  Returns:
    The objective.

  Raises:
    KeyError: if a batch lacks a view.
    TypeError: if an integer is not one.
    ValueError: if shapes differ among views of a kind, or a number is out of range.

  References:
    Balestriero & LeCun, LeJEPA: Provable and Scalable Self-Supervised Learning Without the
      Heuristics, 2025. arXiv:2511.08544
  """
  _check_global(features, num_global)
  check_range(0.0, 1.0, lambda_sigreg=lambda_sigreg)

  def objective(
    params: Params, model_state: Any, key: jax.Array, batch: Batch
  ) -> tuple[jax.Array, tuple[Any, Metrics]]:
    z = _embed_crops(embed_fn, params, batch, features, num_global)
    agreement = jnp.mean(jnp.square(z - jnp.mean(z[:num_global], axis=0)))
    gaussian = jnp.mean(
      jax.vmap(lambda x: sigreg_loss(key, x, num_slices=num_slices, axis_name=axis_name))(z)
    )
    weight = jnp.asarray(lambda_sigreg)
    return (1 - weight) * agreement + weight * gaussian, (model_state, {})

  return SelfSupervised(objective)


def dino(
  logits_fn: EmbedFn,
  *,
  num_prototypes: int,
  momentum: Momentum = 0.996,
  student_temperature: ArrayLike = 0.1,
  teacher_temperature: ArrayLike = 0.04,
  centre_momentum: ArrayLike = 0.9,
  axis_name: str | None = None,
  features: Sequence[str] = ("view_1", "view_2"),
  num_global: int = 2,
) -> SelfSupervised:
  """DINO: every view predicts the teacher's assignment of the other global views.

  Args:
    logits_fn: `(params, x) -> logits`, encoder and head in one, shape (B, K).
    num_prototypes: K.
    momentum: of the teacher, see `update_teacher`. The paper's rises to 1 (`cosine_momentum`); short
      runs want less.
    student_temperature: positive.
    teacher_temperature: positive.
    centre_momentum: of the centre, in [0, 1].
    axis_name: mapped device axis over which the batch is split, inside `pmap` or `shard_map`.
    features: names of the views in a batch, global crops first.
    num_global: how many these are; the teacher sees them alone.

  Returns:
    The objective; its model_state is a `DinoState`.

  Raises:
    KeyError: if a batch lacks a view.
    TypeError: if an integer is not one.
    ValueError: if shapes differ among views of a kind, or a number is out of range.

  References:
    Caron et al., Emerging Properties in Self-Supervised Vision Transformers, 2021.
      arXiv:2104.14294
  """
  _check_global(features, num_global)
  check_positive_int(num_prototypes=num_prototypes)
  temperatures = {
    "student_temperature": student_temperature,
    "teacher_temperature": teacher_temperature,
  }

  def objective(
    params: Params, state: DinoState, key: jax.Array, batch: Batch
  ) -> tuple[jax.Array, tuple[DinoState, Metrics]]:
    teacher = update_teacher(state.teacher, params, momentum=momentum)
    student = _embed_crops(logits_fn, params, batch, features, num_global)
    targets = embed_views(logits_fn, teacher.params, batch, features[:num_global])
    loss = dino_loss(student, targets, state.centre, **temperatures)
    centre = update_dino_centre(
      state.centre, targets, momentum=centre_momentum, axis_name=axis_name
    )
    return jnp.mean(loss), (DinoState(teacher, centre), {})

  return SelfSupervised(
    objective, lambda params: DinoState(init_teacher(params), jnp.zeros(num_prototypes))
  )


def _embed_crops(
  embed_fn: EmbedFn, params: Params, batch: Batch, features: Sequence[str], num_global: int
) -> jax.Array:
  """Embeddings (V, B, D) of both kinds of views."""
  kinds = features[:num_global], features[num_global:]
  return jnp.concatenate([embed_views(embed_fn, params, batch, kind) for kind in kinds if kind])


def _check_global(features: Sequence[str], num_global: int) -> None:
  check_positive_int(num_global=num_global)
  if num_global > len(features):
    raise ValueError(f"num_global must be at most the {len(features)} views, got {num_global}")
