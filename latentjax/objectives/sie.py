"""SIE: one part of an embedding is invariant, the other is predicted from how the views differ."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.typing import ArrayLike

from latentjax.losses.contrastive import sie_loss
from latentjax.objectives.latent_model import Batch, Metrics, Params, take_feature
from latentjax.objectives.two_view import EmbedFn, SelfSupervised, check_pair, embed_views

__all__ = ["sie"]


def sie(
  embed_fn: EmbedFn,
  predict_fn: Callable[[Params, jax.Array, jax.Array], jax.Array],
  *,
  num_equivariant: int,
  lambda_invariance: ArrayLike = 10.0,
  lambda_equivariance: ArrayLike = 45.0,
  lambda_variance: ArrayLike = 10.0,
  lambda_covariance: ArrayLike = 1.0,
  features: Sequence[str] = ("view_1", "view_2"),
  transform: str = "transform",
  axis_name: str | None = None,
) -> SelfSupervised:
  """SIE: split invariant-equivariant representations.

  Args:
    embed_fn: `(params, x) -> embeddings`, encoder and projectors in one, invariant part first, shape
      (B, D).
    predict_fn: `(params, z, g) -> prediction`, the second view's equivariant part (B, E) from that
      of the first and the parameters of the transform. The paper's is linear in both, without bias:
      `lambda params, z, g: hyper_linear(z, g, params["predictor"])`.
    num_equivariant: E, less than D.
    lambda_invariance: weight of the distance of the invariant parts, see `sie_loss`.
    lambda_equivariance: weight of the error of the prediction.
    lambda_variance: weight of the hinges on the standard deviations.
    lambda_covariance: weight of the covariances.
    features: names of the two views in a batch.
    transform: name of the parameters that lead from the first view to the second, shape (B, G).
    axis_name: mapped device axis over which the batch is split, inside `pmap` or `shard_map`.

  Returns:
    The objective.

  Raises:
    KeyError: if a batch lacks a view or the transform.
    ValueError: if shapes do not fit, there are not two names, or a weight is negative.

  References:
    Garrido, Najman & LeCun, Self-Supervised Learning of Split Invariant Equivariant
      Representations, 2023. arXiv:2302.10283
  """
  check_pair(features)

  def objective(
    params: Params, model_state: Any, key: jax.Array, batch: Batch
  ) -> tuple[jax.Array, tuple[Any, Metrics]]:
    z_1, z_2 = embed_views(embed_fn, params, batch, features)
    equivariant = z_1[:, z_1.shape[1] - num_equivariant :]
    loss = sie_loss(
      z_1,
      z_2,
      predict_fn(params, equivariant, take_feature(batch, transform)),
      lambda_invariance=lambda_invariance,
      lambda_equivariance=lambda_equivariance,
      lambda_variance=lambda_variance,
      lambda_covariance=lambda_covariance,
      axis_name=axis_name,
    )
    return loss, (model_state, {})

  return SelfSupervised(objective)
