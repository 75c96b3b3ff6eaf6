"""Auto-encoders regularised by a discriminator on the latent space, both trained in one step.

The discriminator's parameters lie in the same tree as the others. Its loss sees detached codes, and the
auto-encoder's loss detached parameters of the discriminator, so one gradient serves both players. To
give them optimisers of their own, partition the tree with `optax.multi_transform`.
"""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_range
from latentjax.collectives import draw_rows
from latentjax.densities import bernoulli
from latentjax.losses.elbo import (
  elbo,
  permute_dims,
  tc_density_ratio,
  tc_discriminator_loss,
)
from latentjax.objectives.autoencoder import Autoencoder, make_autoencoder
from latentjax.objectives.gaussian_vae import Draw, make_gaussian_vae
from latentjax.objectives.latent_model import (
  DecodeFn,
  EncodeFn,
  LatentModel,
  Metrics,
  Params,
  standard_normal_prior,
)

__all__ = ["aae", "factor_vae"]

DiscriminatorFn = Callable[[Params, jax.Array], jax.Array]


def factor_vae(
  encode_fn: EncodeFn,
  decode_fn: DecodeFn,
  discriminator_fn: DiscriminatorFn,
  *,
  latent_dim: int,
  likelihood: ModuleType = bernoulli,
  gamma: ArrayLike = 10.0,
  feature: str = "image",
  axis_name: str | None = None,
) -> LatentModel:
  r"""FactorVAE: a discriminator between z and z with shuffled dimensions measures total correlation.

  .. math:: -ELBO + \gamma \, E_{q(z)} \Big[ \log \frac{D(z)}{1 - D(z)} \Big]

  Deviation: the shuffled codes come from the same batch, those of the paper from another one.

  Args:
    encode_fn: `(params, x) -> (mean, log_scale)` of q(z|x), each (B, Z).
    decode_fn: `(params, z) -> parameters of p(x|z)`, an array or a tuple of arrays.
    discriminator_fn: `(params, z) -> logits` for (from q(z), shuffled), shape (B, 2).
    latent_dim: Z.
    likelihood: density family of p(x|z).
    gamma: weight of the total correlation.
    feature: name of the batch's array to model, shape (B, ...), floating point.
    axis_name: mapped device axis over which the batch is split, inside `pmap` or `shard_map`.

  Returns:
    LatentModel; the metrics have total_correlation and discriminator_loss besides those of `vae`. The
    loss is the sum of both players'.

  Raises:
    ValueError: if gamma is negative.

  Example:
    >>> model = factor_vae(
    ...   lambda w, x: (x @ w, 0 * x @ w), lambda w, z: z @ w.T, lambda w, z: z @ w[:2], latent_dim=2
    ... )
    >>> batch = {"image": jnp.ones((4, 3))}
    >>> _, (_, metrics) = model.objective(jnp.zeros((3, 2)), (), jax.random.key(0), batch)
    >>> float(metrics["discriminator_loss"])  # it knows nothing: log 2
    0.693147...

  References:
    Kim & Mnih, Disentangling by Factorising, 2018, algorithm 2. arXiv:1802.05983
  """
  check_range(low=0.0, gamma=gamma)

  def loss_fn(
    params: Params, model_state: Any, key: jax.Array, draw: Draw
  ) -> tuple[jax.Array, tuple[Any, Metrics]]:
    z = draw.z[0]
    total_correlation = tc_density_ratio(discriminator_fn(jax.lax.stop_gradient(params), z))
    z = jax.lax.stop_gradient(z)
    shuffled = permute_dims(key, z, axis_name=axis_name)
    discriminator_loss = tc_discriminator_loss(
      discriminator_fn(params, z), discriminator_fn(params, shuffled)
    )
    penalty = jnp.asarray(gamma) * total_correlation
    loss = penalty - elbo(draw.log_likelihood, draw.kl) + discriminator_loss
    metrics = {
      "total_correlation": jnp.mean(total_correlation),
      "discriminator_loss": jnp.mean(discriminator_loss),
    }
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


def aae(
  encode_fn: Callable[[Params, jax.Array], Any],
  decode_fn: DecodeFn,
  discriminator_fn: DiscriminatorFn,
  *,
  latent_dim: int,
  likelihood: ModuleType = bernoulli,
  reg_weight: ArrayLike = 1.0,
  feature: str = "image",
  axis_name: str | None = None,
) -> Autoencoder:
  r"""Adversarial auto-encoder: the codes are made indistinguishable from draws of N(0, I).

  .. math:: -\log p(x|E(x)) - \lambda \log D(E(x)), \qquad
     L_D = -\log D(z) - \log(1 - D(E(x))), \quad z \sim N(0, I)

  Args:
    encode_fn: `(params, x) -> z`, shape (B, Z), or a tuple that begins with z.
    decode_fn: `(params, z) -> parameters of p(x|z)`, an array or a tuple of arrays.
    discriminator_fn: `(params, z) -> logit` of D(z), that z is from the prior, shape (B,).
    latent_dim: Z.
    likelihood: density family of p(x|z).
    reg_weight: lambda, weight of the encoder's adversarial loss.
    feature: name of the batch's array to model, shape (B, ...), floating point.
    axis_name: mapped device axis over which the batch is split, inside `pmap` or `shard_map`.

  Returns:
    Autoencoder; the metrics are log_likelihood, encoder_loss and discriminator_loss, means in nats.
    The loss is the sum of both players'.

  Raises:
    ValueError: if reg_weight is negative, or the discriminator's logits are not of shape (B,).

  Example:
    >>> model = aae(
    ...   lambda w, x: x @ w, lambda w, z: z @ w.T, lambda w, z: z @ w[0], latent_dim=2
    ... )
    >>> batch = {"image": jnp.ones((4, 3))}
    >>> _, (_, metrics) = model.objective(jnp.zeros((3, 2)), (), jax.random.key(0), batch)
    >>> float(metrics["discriminator_loss"])  # it knows nothing: 2 log 2
    1.386294...

  References:
    Makhzani et al., Adversarial Autoencoders, 2015. arXiv:1511.05644
    Goodfellow et al., Generative Adversarial Nets, 2014 (the generator's loss that does not
      saturate). arXiv:1406.2661
  """
  check_range(low=0.0, reg_weight=reg_weight)

  def logit(params: Params, z: jax.Array) -> jax.Array:
    out = discriminator_fn(params, z)
    if out.shape != z.shape[:1]:
      raise ValueError(f"discriminator_fn must return shape {z.shape[:1]}, got {out.shape}")
    return out

  def penalty_fn(params: Params, key: jax.Array, z: jax.Array) -> tuple[jax.Array, Metrics]:
    encoder_loss = jax.nn.softplus(-logit(jax.lax.stop_gradient(params), z))
    prior = draw_rows(key, jax.random.normal, z.shape, axis_name=axis_name)
    real = jax.nn.softplus(-logit(params, prior))
    fake = jax.nn.softplus(logit(params, jax.lax.stop_gradient(z)))
    metrics = {
      "encoder_loss": jnp.mean(encoder_loss),
      "discriminator_loss": jnp.mean(real + fake),
    }
    return jnp.asarray(reg_weight) * encoder_loss + real + fake, metrics

  return make_autoencoder(
    encode_fn,
    decode_fn,
    penalty_fn,
    likelihood=likelihood,
    prior=standard_normal_prior(latent_dim),
    feature=feature,
  )
