"""MMVAE and MoPoE: posteriors that are mixtures of experts, and of products of experts."""

import math
from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_choice, check_positive_int, check_range
from latentjax.densities import gaussian, mixture
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

__all__ = ["mmvae", "mopoe"]


def mmvae(
  modalities: Mapping[str, Modality],
  *,
  latent_dim: int,
  num_samples: int = 1,
  estimator: str = "iwae",
  mask_feature: str = "mask",
  axis_name: str | None = None,
) -> MultimodalModel:
  r"""MMVAE: the posterior is an equal mixture of the experts that are present.

  .. math::

    q(z|X) = \frac1M \sum_m q_m(z|x_m), \qquad
    \frac1M \sum_m E_{z_m^{1:K} \sim q_m} \Big[
      \log \frac1K \sum_k \frac{p(z_m^k) \prod_n p(x_n|z_m^k)^{\lambda_n}}{q(z_m^k|X)} \Big]

  The loss is minus the second formula, in which every expert has samples of its own (stratified
  sampling) and every sample reconstructs all that is present. It is a lower bound on log p(X) for
  weights of one, below the bound with the average over experts inside the logarithm; "elbo" takes
  the mean of the logarithms, which is the same for K = 1. Experts are Gaussian and the gradient is the
  plain reparameterised one; the paper has Laplace experts and a doubly reparameterised gradient.

  Args:
    modalities: networks, likelihood and weight lambda of every modality, M of them.
    latent_dim: Z.
    num_samples: K, samples of z per example and expert.
    estimator: "iwae" or "elbo".
    mask_feature: name of the mask in a batch, see `MultimodalModel`.
    axis_name: mapped device axis over which the batch is split, inside `pmap` or `shard_map`.

  Returns:
    MultimodalModel whose posterior has M components. The metrics and `bound` are the ELBO, with the
    divergence log q(z|X) - log p(z) at the samples, means in nats.

  Raises:
    TypeError: if a size is not an integer.
    ValueError: if there is no modality, a weight is negative, a size is below 1 or the estimator is
      unknown.

  Example:
    >>> encode_fn = lambda w, x: (x @ w, 0 * x @ w)
    >>> modality = Modality(encode_fn, lambda w, z: z @ w.T)
    >>> model = mmvae({"a": modality, "b": modality}, latent_dim=2)
    >>> model.encode(jnp.zeros((3, 2)), {"a": jnp.ones((4, 3))}).mean.shape
    (4, 2, 2)

  References:
    Shi et al., Variational Mixture-of-Experts Autoencoders for Multi-Modal Deep Generative Models,
      2019. arXiv:1911.03393
  """
  check_positive_int(num_samples=num_samples)
  check_choice(("elbo", "iwae"), estimator=estimator)

  def posterior_fn(params: Params, observed: Observed) -> Posterior:
    return as_posterior(*encode_experts(modalities, params, observed, latent_dim), observed.mask)

  def loss_fn(
    params: Params, key: jax.Array, observed: Observed, axis_name: str | None
  ) -> tuple[jax.Array, BoundTerms]:
    q = posterior_fn(params, observed)
    z = sample_components(key, q, num_samples, axis_name)
    log_p_x = _stratified(modalities, params, observed, z)
    kl = mixture.log_prob(z, *q) - gaussian.standard_log_prob(z)
    log_w = weighted(modalities, log_p_x) - kl  # (K, S, B)
    if estimator == "iwae":
      bounds = jax.nn.logsumexp(log_w, axis=0) - math.log(num_samples)
    else:
      bounds = jnp.mean(log_w, axis=0)
    joint = _mean_of_valid(jnp.mean(jnp.sum(log_p_x, axis=0), axis=0), q)
    kl = _mean_of_valid(jnp.mean(kl, axis=0), q)
    return -_mean_of_valid(bounds, q), BoundTerms(elbo(joint, kl), joint, kl)

  return make_multimodal_model(
    modalities,
    posterior_fn,
    loss_fn,
    latent_dim=latent_dim,
    mask_feature=mask_feature,
    axis_name=axis_name,
  )


def mopoe(
  modalities: Mapping[str, Modality],
  *,
  latent_dim: int,
  beta: ArrayLike = 1.0,
  prior_expert: bool = False,
  num_samples: int = 1,
  mask_feature: str = "mask",
  axis_name: str | None = None,
) -> MultimodalModel:
  r"""MoPoE-VAE: the posterior is an equal mixture of the products of all subsets of experts.

  .. math::

    q_S(z) \propto \prod_{m \in S} q_m(z|x_m), \qquad
    \frac{1}{|\mathcal{P}|} \sum_{S \in \mathcal{P}} E_{q_S}\Big[\sum_{m} \lambda_m \log p(x_m|z)\Big]
    - \beta KL(q_S \| p(z))

  P are the non-empty subsets of what is present. The loss is minus the second formula: every subset
  has samples of its own, which reconstruct all that is present, and the mean of the subsets'
  divergences stands for that of the mixture, which is no larger, so for beta = 1 it is a lower bound
  on log p(X). There are 2^M - 1 components, and as many passes through every decoder.

  Args:
    modalities: networks, likelihood and weight lambda of every modality, M of them.
    latent_dim: Z.
    beta: weight of the divergence in the loss.
    prior_expert: whether N(0, I) is a factor of every product.
    num_samples: K, samples of z per example and subset.
    mask_feature: name of the mask in a batch, see `MultimodalModel`.
    axis_name: mapped device axis over which the batch is split, inside `pmap` or `shard_map`.

  Returns:
    MultimodalModel whose posterior has 2^M - 1 components. The metrics and `bound` are the second
    formula without weights, means in nats.

  Raises:
    TypeError: if a size is not an integer.
    ValueError: if there is no modality, beta or a weight is negative, or a size is below 1.

  Example:
    >>> encode_fn = lambda w, x: (x @ w, 0 * x @ w)
    >>> modality = Modality(encode_fn, lambda w, z: z @ w.T)
    >>> model = mopoe({"a": modality, "b": modality}, latent_dim=2)
    >>> model.encode(jnp.zeros((3, 2)), {"a": jnp.ones((1, 3))}).logits.tolist()
    [[0.0, -10000.0, -10000.0]]

  References:
    Sutter, Daunhawer & Vogt, Generalized Multimodal ELBO, 2021. arXiv:2105.02470
  """
  check_range(low=0.0, beta=beta)
  check_positive_int(num_samples=num_samples)

  def posterior_fn(params: Params, observed: Observed) -> Posterior:
    experts = encode_experts(modalities, params, observed, latent_dim)
    count = len(modalities)
    members = (jnp.arange(1, 2**count)[:, None] >> jnp.arange(count)) % 2 == 1  # (S, M)
    valid = jnp.all(observed.mask | ~members[..., None], axis=1)

    def product(mask: jax.Array) -> tuple[jax.Array, jax.Array]:
      return combine(*experts, mask[:, None] & observed.mask, prior_expert=prior_expert)

    return as_posterior(*jax.vmap(product)(members), valid)

  def loss_fn(
    params: Params, key: jax.Array, observed: Observed, axis_name: str | None
  ) -> tuple[jax.Array, BoundTerms]:
    q = posterior_fn(params, observed)
    z = sample_components(key, q, num_samples, axis_name)
    log_p_x = jnp.mean(_stratified(modalities, params, observed, z), axis=1)  # (M, S, B)
    kl = gaussian.kl_standard(q.mean, q.log_scale).T
    loss = -_mean_of_valid(elbo(weighted(modalities, log_p_x), kl, beta=beta), q)
    joint, kl = _mean_of_valid(jnp.sum(log_p_x, axis=0), q), _mean_of_valid(kl, q)
    return loss, BoundTerms(elbo(joint, kl), joint, kl)

  return make_multimodal_model(
    modalities,
    posterior_fn,
    loss_fn,
    latent_dim=latent_dim,
    mask_feature=mask_feature,
    axis_name=axis_name,
  )


def _stratified(
  modalities: Mapping[str, Modality], params: Params, observed: Observed, z: jax.Array
) -> jax.Array:
  """log p(x|z) of every modality at the samples of every component, (M, K, S, B)."""
  log_p_x = log_likelihoods(modalities, params, observed, z.reshape(-1, *z.shape[2:]))
  return log_p_x.reshape(-1, *z.shape[:3])


def _mean_of_valid(values: jax.Array, q: Posterior) -> jax.Array:
  """Mean of (S, B) over the components that are there, (B,)."""
  return jnp.sum(jax.nn.softmax(q.logits.T, axis=0) * values, axis=0)
