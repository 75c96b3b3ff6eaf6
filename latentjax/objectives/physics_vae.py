"""Autoencoder with incomplete physics in its decoder (Takeishi & Kalousis, 2021)."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from latentjax.checks import check_positive_int, check_range
from latentjax.densities import gaussian
from latentjax.losses.elbo import elbo, least_action_loss, self_supervision_loss
from latentjax.objectives.latent_model import (
  Batch,
  BoundTerms,
  DecodeFn,
  EncodeFn,
  LatentModel,
  Metrics,
  Params,
  make_latent_model,
  mean_metrics,
  posterior,
  take_feature,
)

__all__ = ["physics_vae"]

ArrayFn = Callable[[Params, jax.Array], jax.Array]


def physics_vae(
  encode_fn: EncodeFn,
  decode_fn: DecodeFn,
  reduced_fn: ArrayFn,
  clean_fn: ArrayFn,
  encode_physics_fn: ArrayFn,
  *,
  latent_dim: int,
  physics_dim: int,
  least_action_weight: float = 0.01,
  cleaning_weight: float = 1.0,
  augmentation_weight: float = 1.0,
  feature: str = "x",
  axis_name: str | None = None,
) -> LatentModel:
  r"""Variational autoencoder whose latent is (z_P, z_A): parameters of known physics, and the rest.

  .. math::

    -\mathrm{ELBO} + \alpha R_{PPC} + \gamma \|c(x) - \mathrm{sg}[m_r(z_P)]\|^2
    + \beta \, E_{z^* \sim N(0, I)} \| e_P(\mathrm{sg}[m_r(z^*)]) - z^* \|^2

  R_PPC is `least_action_loss`: the trained part of the decoder does only what physics cannot. The
  other two keep the meaning of z_P: the encoder first cleans x of what is not physics, by c, and its
  second half e_P must find the parameters of data simulated by physics alone.

  Args:
    encode_fn: `(params, x) -> (mean, log_scale)` of q(z|x), each (B, Z), the physical latents first.
      Its mean of z_P is meant to be e_P(c(x)).
    decode_fn: `(params, z) -> (mean, log_scale)` of the Gaussian p(x|z), from physics and the
      trained part together.
    reduced_fn: `(params, z_P) -> mean` m_r of physics alone, shape (B, ...).
    clean_fn: `(params, x) -> c(x)`, the shape of x.
    encode_physics_fn: `(params, x) -> e_P(x)`, shape (B, P).
    latent_dim: Z.
    physics_dim: P, the number of physical latents, at most Z. The prior of all latents is N(0, I):
      the decoder scales them to physical units.
    least_action_weight: alpha, on a divergence in nats.
    cleaning_weight: gamma, in nats per squared unit of x.
    augmentation_weight: beta, in nats per squared unit of z_P.
    feature: name of the batch's array to model, shape (B, ...), floating point.
    axis_name: mapped device axis over which the batch is split, inside `pmap` or `shard_map`.

  Returns:
    LatentModel. Its metrics are elbo, log_likelihood, kl, least_action, cleaning and augmentation,
    means over the batch, unweighted. With all weights 0 it is `vae` with a Gaussian likelihood.

  Raises:
    TypeError: if a size is not an integer.
    ValueError: if a weight is negative or physics_dim is not between 1 and latent_dim.

  References:
    Takeishi & Kalousis, Physics-Integrated Variational Autoencoders for Robust and Interpretable
      Generative Modeling, 2021. arXiv:2102.13156
  """
  check_positive_int(latent_dim=latent_dim, physics_dim=physics_dim)
  check_range(1, latent_dim, physics_dim=physics_dim)
  check_range(0.0, least_action_weight=least_action_weight, cleaning_weight=cleaning_weight)
  check_range(0.0, augmentation_weight=augmentation_weight)

  def augmentation(params: Params, key: jax.Array, num_rows: int) -> jax.Array:
    zeros = jnp.zeros((num_rows, physics_dim))
    z = gaussian.sample(key, zeros, zeros, axis_name=axis_name)
    simulated = jax.lax.stop_gradient(reduced_fn(params, z))
    return self_supervision_loss(encode_physics_fn(params, simulated), z)

  def objective(
    params: Params, model_state: Any, key: jax.Array, batch: Batch
  ) -> tuple[jax.Array, tuple[Any, Metrics]]:
    x = take_feature(batch, feature)
    key_latent, key_physics = jax.random.split(key)
    z, mean, log_scale, x_params, bound_terms = draw(params, key_latent, x, axis_name)
    reduced = reduced_fn(params, z[:, :physics_dim])
    kl_auxiliary = gaussian.kl_standard(mean[:, physics_dim:], log_scale[:, physics_dim:])
    action = least_action_loss(x_params[0], reduced, x_params[1], kl_auxiliary)
    cleaning = self_supervision_loss(clean_fn(params, x), reduced)
    found = augmentation(params, key_physics, x.shape[0])
    penalty = (
      least_action_weight * action + cleaning_weight * cleaning + augmentation_weight * found
    )
    extra = {"least_action": action, "cleaning": cleaning, "augmentation": found}
    metrics = {name: jnp.mean(term).astype(jnp.float32) for name, term in extra.items()}
    loss = jnp.mean(penalty - bound_terms.elbo)
    return loss, (model_state, mean_metrics(bound_terms) | metrics)

  def draw(params: Params, key: jax.Array, x: jax.Array, axis_name: str | None) -> tuple:
    mean, log_scale = posterior(encode_fn, params, x)
    z = gaussian.sample(key, mean, log_scale, axis_name=axis_name)
    x_params = decode_fn(params, z)
    log_p_x = gaussian.log_prob(x, *x_params, event_ndim=x.ndim - 1)
    kl = gaussian.kl_standard(mean, log_scale)
    return z, mean, log_scale, x_params, BoundTerms(elbo(log_p_x, kl), log_p_x, kl)

  def bound(params: Params, key: jax.Array, x: jax.Array) -> BoundTerms:
    return draw(params, key, x, None)[-1]

  return make_latent_model(
    objective, bound, encode_fn, decode_fn, likelihood=gaussian, latent_dim=latent_dim
  )
