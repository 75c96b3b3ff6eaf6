"""Disentangled representations of time series (Li et al., 2021)."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp

from latentjax.densities import gaussian
from latentjax.losses.elbo import group_adversary_loss, tcvae_kl, total_correlation_terms
from latentjax.objectives.conditional import ConditionalDecodeFn, ConditionedModel, conditional
from latentjax.objectives.gaussian_vae import Draw, make_gaussian_vae
from latentjax.objectives.latent_model import (
  Batch,
  DecodeFn,
  EncodeFn,
  LatentModel,
  Metrics,
  Params,
  take_feature,
)

__all__ = ["dts"]

LogitsFn = Callable[[Params, jax.Array], jax.Array]


def dts(
  encode_fn: EncodeFn,
  decode_fn: ConditionalDecodeFn,
  informed_fn: LogitsFn | None = None,
  invariant_fn: LogitsFn | None = None,
  *,
  latent_dim: int,
  dataset_size: int,
  informed_dim: int = 0,
  mutual_information_weight: float = 0.0,
  total_correlation_weight: float = 2.0,
  dimension_wise_weight: float = 1.0,
  adversary_weight: float = 1.0,
  likelihood: ModuleType = gaussian,
  feature: str = "x",
  label: str = "label",
  axis_name: str | None = None,
) -> ConditionedModel:
  r"""Sequence autoencoder with a decomposed divergence and two segments of the latent.

  .. math::

    -\sum_t \log p(x_t | x_{<t}, z) + \alpha I(x; z) + \beta TC(z) + \gamma \sum_d KL(q(z_d) \| p(z_d))
    + \lambda \, (CE_s(y | z_s) + CE_d(y | R(z_d)))

  Decoders that see the past can do without z, and an ELBO then drops it. alpha < 1 takes the mutual
  information out of the penalty, alpha < 0 rewards it; beta and gamma keep the latents independent
  and near the prior. The last term is `group_adversary_loss`: z_s, the first latents, knows the class
  and z_d, the others, does not.

  Args:
    encode_fn: `(params, x) -> (mean, log_scale)` of q(z|x), each (B, Z).
    decode_fn: `(params, z, x) -> parameters of p(x_t|x_<t, z)` for all times of x at once, shape (B, T,
      ...); the output at t must not see x_t or later.
    informed_fn: `(params, z_s) -> logits` of the class; None, with the next, for no groups.
    invariant_fn: `(params, z_d) -> logits` of the class.
    latent_dim: Z.
    dataset_size: number of training examples, for the decomposition.
    informed_dim: number of latents of z_s.
    mutual_information_weight: alpha.
    total_correlation_weight: beta.
    dimension_wise_weight: gamma. All three at 1 are the sampled ELBO.
    adversary_weight: lambda, of both cross-entropies and of the reversal.
    likelihood: density family of p(x_t|x_<t, z).
    feature: name of the batch's array to model, shape (B, T, ...), floating point.
    label: name of the batch's classes, integers of shape (B,); read only with groups.
    axis_name: mapped device axis over which the batch is split, inside `pmap` or `shard_map`.

  Returns:
    ConditionedModel; `given(x)` is the model whose decoder is told the past of x. Metrics: elbo,
    log_likelihood, kl, mutual_information, total_correlation, dimension_wise_kl, and with groups
    adversary, the sum of both cross-entropies.

  Raises:
    ValueError: if only one classifier is given, or informed_dim is not below latent_dim.

  References:
    Li et al., Learning Disentangled Representations for Time Series, 2021. arXiv:2105.08179
  """
  if (informed_fn is None) != (invariant_fn is None):
    raise ValueError("informed_fn and invariant_fn must both be given or both be None")
  if informed_fn is not None and not 0 < informed_dim < latent_dim:
    raise ValueError(f"informed_dim must be in (0, {latent_dim}) with groups, got {informed_dim}")
  weights = {
    "alpha": mutual_information_weight,
    "beta": total_correlation_weight,
    "gamma": dimension_wise_weight,
  }

  def adversary(params: Params, z: jax.Array, labels: jax.Array) -> jax.Array:
    assert informed_fn is not None and invariant_fn is not None
    return group_adversary_loss(
      z[:, :informed_dim],
      z[:, informed_dim:],
      labels,
      lambda z: informed_fn(params, z),
      lambda z: invariant_fn(params, z),
    )

  def make_model(
    encode_fn: EncodeFn, decode_fn: DecodeFn, labels: jax.Array | None = None
  ) -> LatentModel:
    def loss_fn(
      params: Params, model_state: Any, key: jax.Array, draw: Draw
    ) -> tuple[jax.Array, tuple[Any, Metrics]]:
      terms = total_correlation_terms(
        draw.z[0], draw.mean, draw.log_scale, dataset_size=dataset_size, axis_name=axis_name
      )
      loss = tcvae_kl(terms, **weights) - draw.log_likelihood
      metrics = {name: jnp.mean(term) for name, term in terms._asdict().items()}
      if labels is not None:
        entropies = adversary(params, draw.z[0], labels)
        loss += adversary_weight * entropies
        metrics["adversary"] = jnp.mean(entropies)
      return loss, (model_state, metrics)

    return make_gaussian_vae(
      encode_fn,
      decode_fn,
      loss_fn,
      latent_dim=latent_dim,
      likelihood=likelihood,
      feature=feature,
      axis_name=axis_name,
    )

  def condition(labels: jax.Array | None) -> ConditionedModel:
    return conditional(
      lambda encode_fn, decode_fn: make_model(encode_fn, decode_fn, labels),
      lambda params, x, past: encode_fn(params, x),
      decode_fn,
      condition=feature,
    )

  def objective(
    params: Params, model_state: Any, key: jax.Array, batch: Batch
  ) -> tuple[jax.Array, tuple[Any, Metrics]]:
    labels = None if informed_fn is None else take_feature(batch, label)
    return condition(labels).objective(params, model_state, key, batch)

  return condition(None)._replace(objective=objective)
