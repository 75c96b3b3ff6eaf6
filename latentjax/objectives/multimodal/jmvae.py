"""JMVAE: a joint encoder, and unimodal encoders that learn to replace it (Suzuki et al., 2016)."""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_positive_int, check_range, check_same_shape
from latentjax.densities import gaussian
from latentjax.densities.product_of_experts import combine
from latentjax.losses.elbo import elbo
from latentjax.objectives.latent_model import BoundTerms, Params
from latentjax.objectives.multimodal.model import (
  Arrays,
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

__all__ = ["jmvae"]


def jmvae(
  joint_encode_fn: Callable[[Params, Arrays], tuple[jax.Array, jax.Array]],
  modalities: Mapping[str, Modality],
  *,
  latent_dim: int,
  alpha: ArrayLike = 0.1,
  beta: ArrayLike = 1.0,
  num_samples: int = 1,
  mask_feature: str = "mask",
  axis_name: str | None = None,
) -> MultimodalModel:
  r"""JMVAE-kl: a joint posterior to which the posteriors of the single modalities are fitted.

  .. math::

    E_{q(z|X)}\Big[\sum_m \lambda_m \log p(x_m|z)\Big] - \beta KL(q(z|X) \| p(z))
    - \alpha \sum_m KL(q(z|X) \| q_m(z|x_m))

  The loss is minus the formula. An example in which something is missing has no joint posterior: its
  posterior is q_m itself if one modality is present and the product of the experts if several are, and
  its loss is the negative bound of what is present, without the term in alpha. The paper trains on
  complete examples only.

  Args:
    joint_encode_fn: `(params, xs) -> (mean, log_scale)` of q(z|X), each (B, Z), from a dict of all
      modalities.
    modalities: networks, likelihood and weight lambda of every modality, M of them.
    latent_dim: Z.
    alpha: weight of the fit; the larger, the closer the joint posterior to what one modality tells.
    beta: weight of the divergence in the loss.
    num_samples: K, samples of z per example.
    mask_feature: name of the mask in a batch, see `MultimodalModel`.
    axis_name: mapped device axis over which the batch is split, inside `pmap` or `shard_map`.

  Returns:
    MultimodalModel whose posterior has one component. The metrics are elbo, log_likelihood and kl,
    means in nats.

  Raises:
    TypeError: if a size is not an integer.
    ValueError: if there is no modality, a weight is negative or a size is below 1.

  Example:
    >>> encode_fn = lambda w, x: (x @ w, 0 * x @ w)
    >>> modality = Modality(encode_fn, lambda w, z: z @ w.T)
    >>> joint_encode_fn = lambda w, xs: encode_fn(w, xs["a"] + xs["b"])
    >>> model = jmvae(joint_encode_fn, {"a": modality, "b": modality}, latent_dim=2)
    >>> model.encode(jnp.ones((3, 2)), {"a": jnp.ones((1, 3)), "b": jnp.ones((1, 3))}).mean.tolist()
    [[[6.0, 6.0]]]
    >>> model.encode(jnp.ones((3, 2)), {"a": jnp.ones((1, 3))}).mean.tolist()
    [[[3.0, 3.0]]]

  References:
    Suzuki, Nakayama & Matsuo, Joint Multimodal Learning with Deep Generative Models, 2016, section
      3.3. arXiv:1611.01891
  """
  check_range(low=0.0, alpha=alpha, beta=beta)
  check_positive_int(num_samples=num_samples)

  def fuse(params: Params, observed: Observed) -> tuple[Posterior, jax.Array, jax.Array]:
    """The posterior, and the experts it is held against, (M, B, Z)."""
    expert_mean, expert_log_scale = encode_experts(modalities, params, observed, latent_dim)
    mean, log_scale = combine(expert_mean, expert_log_scale, observed.mask, prior_expert=False)
    if len(observed.xs) == len(modalities):
      joint = joint_encode_fn(params, observed.xs)
      check_same_shape(mean=joint[0], log_scale=joint[1], expert_mean=mean)
      complete = jnp.all(observed.mask, axis=0)[:, None]
      mean, log_scale = (jnp.where(complete, *p) for p in zip(joint, (mean, log_scale)))
    some = jnp.any(observed.mask, axis=0)
    return as_posterior(mean[None], log_scale[None], some[None]), expert_mean, expert_log_scale

  def loss_fn(
    params: Params, key: jax.Array, observed: Observed, axis_name: str | None
  ) -> tuple[jax.Array, BoundTerms]:
    q, expert_mean, expert_log_scale = fuse(params, observed)
    mean, log_scale = q.mean[:, 0], q.log_scale[:, 0]
    (z,) = jnp.swapaxes(sample_components(key, q, num_samples, axis_name), 0, 1)
    log_p_x = jnp.mean(log_likelihoods(modalities, params, observed, z), axis=1)  # (M, B)
    kl = gaussian.kl_standard(mean, log_scale)
    misfit = jnp.sum(gaussian.kl(mean, log_scale, expert_mean, expert_log_scale), axis=0)
    misfit = jnp.where(jnp.all(observed.mask, axis=0), misfit, 0.0)
    loss = jnp.asarray(alpha) * misfit - elbo(weighted(modalities, log_p_x), kl, beta=beta)
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
