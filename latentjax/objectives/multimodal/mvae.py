"""MVAE: a product of experts, trained on the evidence of many subsets (Wu & Goodman, 2018)."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_positive_int, check_range
from latentjax.collectives import draw_rows
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

__all__ = ["mvae"]


def mvae(
  modalities: Mapping[str, Modality],
  *,
  latent_dim: int,
  beta: ArrayLike = 1.0,
  unimodal: bool = True,
  num_subsets: int = 1,
  num_samples: int = 1,
  mask_feature: str = "mask",
  axis_name: str | None = None,
) -> MultimodalModel:
  r"""MVAE: the posterior is the product of the prior and of the experts that are present.

  .. math::

    q(z|X) \propto p(z) \prod_{m \in X} q_m(z|x_m), \qquad
    \mathcal{L}(X) = E_q\Big[\sum_{m \in X} \lambda_m \log p(x_m|z)\Big] - \beta KL(q(z|X) \| p(z))

  The loss is the negative sum of the bounds of everything that is present, of every present modality
  alone and of random subsets, drawn uniformly among the non-empty ones for every example. Without the
  last two no expert learns to stand alone. A subset reconstructs itself only; one of which nothing is
  present contributes zero.

  Args:
    modalities: networks, likelihood and weight lambda of every modality, M of them.
    latent_dim: Z.
    beta: weight of the divergence in the loss.
    unimodal: whether the loss has the bound of every single modality.
    num_subsets: number of random subsets per example, the paper's k; 0 for none.
    num_samples: K, samples of z per example and subset.
    mask_feature: name of the mask in a batch, see `MultimodalModel`.
    axis_name: mapped device axis over which the batch is split, inside `pmap` or `shard_map`.

  Returns:
    MultimodalModel whose posterior has one component. The metrics elbo, log_likelihood and kl are
    those of everything that is present, means in nats.

  Raises:
    TypeError: if a size is not an integer.
    ValueError: if there is no modality, beta or a weight is negative, or a size is out of range.

  Example:
    >>> encode_fn = lambda w, x: (x @ w, 0 * x @ w)
    >>> modality = Modality(encode_fn, lambda w, z: z @ w.T)
    >>> model = mvae({"a": modality, "b": modality}, latent_dim=2)
    >>> xs = {"a": jnp.ones((1, 3)), "b": jnp.full((1, 3), jnp.nan)}
    >>> model.encode(jnp.ones((3, 2)), xs, jnp.array([[True, False]])).mean.tolist()
    [[[1.5, 1.5]]]

  References:
    Wu & Goodman, Multimodal Generative Models for Scalable Weakly-Supervised Learning, 2018. arXiv:1802.05335
  """
  check_range(low=0.0, beta=beta)
  check_range(low=0, num_subsets=num_subsets)
  check_positive_int(num_samples=num_samples)

  def posterior_fn(params: Params, observed: Observed) -> Posterior:
    experts = encode_experts(modalities, params, observed, latent_dim)
    mean, log_scale = combine(*experts, observed.mask)
    return as_posterior(mean[None], log_scale[None], jnp.ones((1, mean.shape[0]), bool))

  def subsets(key: jax.Array, present: jax.Array, axis_name: str | None) -> jax.Array:
    """Masks whose bounds are summed, (S, M, B); the first is everything that is present."""
    count, batch_size = present.shape
    masks = [jnp.ones((1, count, batch_size), bool)]
    if unimodal:
      masks.append(jnp.broadcast_to(jnp.eye(count, dtype=bool)[..., None], (count, *present.shape)))
    if num_subsets:
      draw = lambda row_key, shape: jax.random.randint(row_key, shape, 1, 2**count)
      codes = draw_rows(key, draw, (batch_size, num_subsets), axis_name=axis_name)
      masks.append((codes.T[:, None] >> jnp.arange(count)[:, None]) % 2 == 1)
    return jnp.concatenate(masks) & present

  def loss_fn(
    params: Params, key: jax.Array, observed: Observed, axis_name: str | None
  ) -> tuple[jax.Array, BoundTerms]:
    key_latent, key_subsets = jax.random.split(key)
    experts = encode_experts(modalities, params, observed, latent_dim)
    masks = subsets(key_subsets, observed.mask, axis_name)
    mean, log_scale = jax.vmap(lambda mask: combine(*experts, mask))(masks)
    q = as_posterior(mean, log_scale, jnp.ones(mean.shape[:2], bool))
    z = sample_components(key_latent, q, num_samples, axis_name)
    log_p_x = log_likelihoods(modalities, params, observed, z.reshape(-1, *z.shape[2:]))
    log_p_x = jnp.mean(log_p_x.reshape(-1, *z.shape[:3]), axis=1)  # (M, S, B)
    log_p_x = jnp.where(jnp.swapaxes(masks, 0, 1), log_p_x, 0.0)
    kl = gaussian.kl_standard(mean, log_scale)
    loss = -jnp.sum(elbo(weighted(modalities, log_p_x), kl, beta=beta), axis=0)
    joint = jnp.sum(log_p_x[:, 0], axis=0)
    return loss, BoundTerms(elbo(joint, kl[0]), joint, kl[0])

  return make_multimodal_model(
    modalities,
    posterior_fn,
    loss_fn,
    latent_dim=latent_dim,
    mask_feature=mask_feature,
    axis_name=axis_name,
  )
