"""MVTCAE: total correlation of the modalities as an objective (Hwang et al., 2021)."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_positive_int, check_range
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

__all__ = ["mvtcae"]


def mvtcae(
  modalities: Mapping[str, Modality],
  *,
  latent_dim: int,
  alpha: ArrayLike = 0.9,
  beta: ArrayLike = 1.0,
  num_samples: int = 1,
  mask_feature: str = "mask",
  axis_name: str | None = None,
) -> MultimodalModel:
  r"""MVTCAE: a product of experts that every expert alone must be able to predict.

  .. math::

    \frac{M - \alpha}{M} E_{q}\Big[\sum_m \lambda_m \log p(x_m|z)\Big]
    - \beta \Big[ (1 - \alpha) KL(q(z|X) \| p(z))
    + \frac{\alpha}{M} \sum_m KL(q(z|X) \| q_m(z|x_m)) \Big], \qquad q \propto \prod_m q_m

  The loss is minus the formula. alpha = 0 is the bound of a product of experts without the prior;
  alpha = 1 has no prior at all, only the conditional information bottleneck of every modality. M and
  the sums are those of what is present in an example. The objective is no bound on log p(X) for alpha
  above 0; the metrics are.

  Args:
    modalities: networks, likelihood and weight lambda of every modality, M of them.
    latent_dim: Z.
    alpha: between 0 and 1; the paper chooses it for each data set.
    beta: weight of all divergences.
    num_samples: K, samples of z per example.
    mask_feature: name of the mask in a batch, see `MultimodalModel`.
    axis_name: mapped device axis over which the batch is split, inside `pmap` or `shard_map`.

  Returns:
    MultimodalModel whose posterior has one component. The metrics elbo, log_likelihood and kl are
    those of the ordinary bound, means in nats.

  Raises:
    TypeError: if a size is not an integer.
    ValueError: if there is no modality, alpha is not in [0, 1], beta or a weight is negative, or a
      size is below 1.

  Example:
    >>> encode_fn = lambda w, x: (x @ w, 0 * x @ w)
    >>> modality = Modality(encode_fn, lambda w, z: z @ w.T)
    >>> model = mvtcae({"a": modality, "b": modality}, latent_dim=2)
    >>> q = model.encode(jnp.zeros((3, 2)), {"a": jnp.ones((4, 3)), "b": jnp.ones((4, 3))})
    >>> q.log_scale[0].tolist()  # two experts of scale 1 and no prior: -log(2) / 2
    [[-0.346573..., -0.346573...]]

  References:
    Hwang et al., Multi-View Representation Learning via Total Correlation Objective, NeurIPS 2021.
  """
  check_range(0.0, 1.0, alpha=alpha)
  check_range(low=0.0, beta=beta)
  check_positive_int(num_samples=num_samples)

  def fuse(params: Params, observed: Observed) -> tuple[Posterior, jax.Array, jax.Array]:
    """The posterior, and the experts it is held against, (M, B, Z)."""
    mean, log_scale = encode_experts(modalities, params, observed, latent_dim)
    product = combine(mean, log_scale, observed.mask, prior_expert=False)
    some = jnp.any(observed.mask, axis=0)
    return as_posterior(product[0][None], product[1][None], some[None]), mean, log_scale

  def loss_fn(
    params: Params, key: jax.Array, observed: Observed, axis_name: str | None
  ) -> tuple[jax.Array, BoundTerms]:
    q, expert_mean, expert_log_scale = fuse(params, observed)
    mean, log_scale = q.mean[:, 0], q.log_scale[:, 0]
    (z,) = jnp.swapaxes(sample_components(key, q, num_samples, axis_name), 0, 1)
    log_p_x = jnp.mean(log_likelihoods(modalities, params, observed, z), axis=1)  # (M, B)
    kl = gaussian.kl_standard(mean, log_scale)
    to_experts = gaussian.kl(mean, log_scale, expert_mean, expert_log_scale)
    count = jnp.maximum(jnp.sum(observed.mask, axis=0), 1)
    mean_to_experts = jnp.sum(jnp.where(observed.mask, to_experts, 0.0), axis=0) / count
    rate = (1 - alpha) * kl + alpha * mean_to_experts
    loss = -elbo((1 - alpha / count) * weighted(modalities, log_p_x), rate, beta=beta)
    joint = jnp.sum(log_p_x, axis=0)
    return loss, BoundTerms(elbo(joint, kl), joint, kl)

  return make_multimodal_model(
    modalities,
    lambda params, observed: fuse(params, observed)[0],
    loss_fn,
    latent_dim=latent_dim,
    mask_feature=mask_feature,
    axis_name=axis_name,
  )
