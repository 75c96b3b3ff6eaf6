"""JMVAE: a joint encoder, and unimodal encoders that learn to replace it (Suzuki et al., 2016)."""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_range, check_same_shape
from latentjax.losses.elbo import elbo
from latentjax.objectives.latent_model import Params
from latentjax.objectives.multimodal.fitted import Gaussian, make_fitted_model
from latentjax.objectives.multimodal.model import Arrays, Modality, MultimodalModel, Observed

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

  def fuse(params: Params, observed: Observed, product: Gaussian) -> Gaussian:
    if len(observed.xs) < len(modalities):
      return product
    joint = joint_encode_fn(params, observed.xs)
    check_same_shape(mean=joint[0], log_scale=joint[1], expert_mean=product[0])
    complete = jnp.all(observed.mask, axis=0)[:, None]
    mean, log_scale = (jnp.where(complete, *pair) for pair in zip(joint, product))
    return mean, log_scale

  def loss_fn(
    log_likelihood: jax.Array, kl: jax.Array, misfit: jax.Array, count: jax.Array
  ) -> jax.Array:
    misfit = jnp.where(count == len(modalities), misfit, 0.0)
    return jnp.asarray(alpha) * misfit - elbo(log_likelihood, kl, beta=beta)

  return make_fitted_model(
    modalities,
    fuse,
    loss_fn,
    latent_dim=latent_dim,
    num_samples=num_samples,
    mask_feature=mask_feature,
    axis_name=axis_name,
  )
