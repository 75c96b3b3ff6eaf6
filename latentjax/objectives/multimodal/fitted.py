"""What JMVAE and MVTCAE share: one Gaussian posterior, held against the expert of every modality."""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp

from latentjax.checks import check_positive_int
from latentjax.densities import gaussian
from latentjax.densities.product_of_experts import combine
from latentjax.losses.elbo import elbo
from latentjax.objectives.latent_model import BoundTerms, Params
from latentjax.objectives.multimodal.model import (
  Modality,
  MultimodalModel,
  Observed,
  Posterior,
  as_posterior,
  encode_experts,
  log_likelihoods,
  make_multimodal_model,
  sample_components,
  weighted,
)

Gaussian = tuple[jax.Array, jax.Array]


def make_fitted_model(
  modalities: Mapping[str, Modality],
  fuse_fn: Callable[[Params, Observed, Gaussian], Gaussian],
  loss_fn: Callable[[jax.Array, jax.Array, jax.Array, jax.Array], jax.Array],
  *,
  latent_dim: int,
  num_samples: int,
  mask_feature: str,
  axis_name: str | None,
) -> MultimodalModel:
  """An objective from the posterior and the loss of one draw of it.

  Args:
    modalities: the networks of every modality, M of them.
    fuse_fn: `(params, observed, product) -> (mean, log_scale)` of q(z|X), each (B, Z), from the
      product of the experts that are present, without the prior.
    loss_fn: `(log_likelihood, kl, misfit, count) -> loss`, all of shape (B,): the weighted
      log-likelihood, KL(q(z|X) || p(z)), the sum of KL(q(z|X) || q_m(z|x_m)) over the modalities that
      are present, and their number.
    latent_dim: Z.
    num_samples: K, samples of z per example.
    mask_feature: name of the mask in a batch.
    axis_name: mapped device axis over which the batch is split.

  Returns:
    The model; its metrics are those of the ordinary bound.

  Raises:
    TypeError: if a size is not an integer.
    ValueError: if there is no modality, a weight is negative or a size is below 1.
  """
  check_positive_int(num_samples=num_samples)

  def fuse(params: Params, observed: Observed) -> tuple[Posterior, Gaussian]:
    """The posterior, and the experts, (M, B, Z)."""
    experts = encode_experts(modalities, params, observed, latent_dim)
    product = combine(*experts, observed.mask, prior_expert=False)
    mean, log_scale = fuse_fn(params, observed, product)
    some = jnp.any(observed.mask, axis=0)
    return as_posterior(mean[None], log_scale[None], some[None]), experts

  def loss_and_terms(
    params: Params, key: jax.Array, observed: Observed, axis_name: str | None
  ) -> tuple[jax.Array, BoundTerms]:
    q, experts = fuse(params, observed)
    mean, log_scale = q.mean[:, 0], q.log_scale[:, 0]
    z = sample_components(key, q, num_samples, axis_name)[:, 0]
    log_p_x = jnp.mean(log_likelihoods(modalities, params, observed, z), axis=1)  # (M, B)
    kl = gaussian.kl_standard(mean, log_scale)
    to_experts = gaussian.kl(mean, log_scale, *experts)
    misfit = jnp.sum(jnp.where(observed.mask, to_experts, 0.0), axis=0)
    loss = loss_fn(weighted(modalities, log_p_x), kl, misfit, jnp.sum(observed.mask, axis=0))
    joint = jnp.sum(log_p_x, axis=0)
    return loss, BoundTerms(elbo(joint, kl), joint, kl)

  return make_multimodal_model(
    modalities,
    lambda params, observed: fuse(params, observed)[0],
    loss_and_terms,
    latent_dim=latent_dim,
    mask_feature=mask_feature,
    axis_name=axis_name,
  )
