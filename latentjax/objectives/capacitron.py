"""Autoencoders that carry a requested amount of information (Battenberg et al., 2019)."""

from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from latentjax.checks import check_range
from latentjax.densities import bernoulli, gaussian
from latentjax.losses.elbo import constrained_kl_loss, elbo
from latentjax.objectives.gaussian_vae import Draw, make_gaussian_vae
from latentjax.objectives.latent_model import (
  Batch,
  BoundTerms,
  DecodeFn,
  EncodeFn,
  LatentModel,
  Metrics,
  Params,
  log_likelihood,
  make_latent_model,
  mean_metrics,
  posterior,
  take_feature,
)

__all__ = ["capacitron", "hierarchical_capacitron"]


def capacitron(
  encode_fn: EncodeFn,
  decode_fn: DecodeFn,
  multiplier_fn: Callable[[Params], jax.Array],
  *,
  capacity: float,
  latent_dim: int,
  likelihood: ModuleType = bernoulli,
  num_samples: int = 1,
  feature: str = "image",
  axis_name: str | None = None,
) -> LatentModel:
  r"""Variational autoencoder whose divergence a Lagrange multiplier holds at a capacity.

  .. math:: \min_\theta \max_{\beta \ge 0} \; \frac1B \sum_b -E_q[\log p(x_b|z)]
     + \beta \, (KL(q(z|x_b) \,\|\, p(z)) - C), \qquad \beta = \log(1 + e^{b})

  C bounds the information between x and z. One optimiser descends the loss: the gradient of b is
  reversed. With `conditional` around it the posterior sees text and speaker, as in the paper.

  Args:
    encode_fn: `(params, x) -> (mean, log_scale)` of q(z|x), each (B, Z).
    decode_fn: `(params, z) -> parameters of p(x|z)`.
    multiplier_fn: `(params) -> b`, a scalar among the trained parameters, such as `lambda params:
      params["multiplier"]`. b = 0 is beta = log 2.
    capacity: C in nats, at least 0.
    latent_dim: Z.
    likelihood: density family of p(x|z), a module such as `latentjax.densities.bernoulli`.
    num_samples: K, samples of z per example.
    feature: name of the batch's array to model, shape (B, ...), floating point.
    axis_name: mapped device axis over which the batch is split, inside `pmap` or `shard_map`.

  Returns:
    LatentModel with prior N(0, I). Its metrics are elbo (beta = 1), log_likelihood and kl, means in
    nats, and the multiplier beta.

  Raises:
    ValueError: if the capacity is negative.

  Example:
    >>> encode, decode = (lambda p, x: (x @ p["w"], 0 * x @ p["w"])), lambda p, z: z @ p["w"].T
    >>> model = capacitron(encode, decode, lambda p: p["b"], capacity=5.0, latent_dim=2)
    >>> params = {"w": jnp.zeros((3, 2)), "b": jnp.zeros(())}
    >>> loss, _ = model.objective(params, (), jax.random.key(0), {"image": jnp.ones((4, 3))})
    >>> float(loss)  # 3 log 2 + log 2 (0 - 5)
    -1.386294...

  References:
    Battenberg et al., Effective Use of Variational Embedding Capacity in Expressive End-to-End
      Speech Synthesis, 2019. arXiv:1906.03402
  """
  check_range(low=0.0, capacity=capacity)

  def loss_fn(
    params: Params, model_state: Any, key: jax.Array, draw: Draw
  ) -> tuple[jax.Array, tuple[Any, Metrics]]:
    logit = multiplier_fn(params)
    loss = constrained_kl_loss(draw.kl, logit, capacity=capacity) - draw.log_likelihood
    return loss, (model_state, {"multiplier": jax.nn.softplus(logit)})

  return make_gaussian_vae(
    encode_fn,
    decode_fn,
    loss_fn,
    latent_dim=latent_dim,
    likelihood=likelihood,
    num_samples=num_samples,
    feature=feature,
    axis_name=axis_name,
  )


class _Draw(NamedTuple):
  """One pass through both levels, all of shape (B,): log-likelihood, divergence of either level, and
  log q(z_H|z_L) - log p(z_H) at the sample, whose mean kl_high is."""

  log_likelihood: jax.Array
  kl_low: jax.Array
  kl_high: jax.Array
  log_ratio_high: jax.Array


def hierarchical_capacitron(
  encode_fn: EncodeFn,
  encode_high_fn: EncodeFn,
  prior_fn: EncodeFn,
  decode_fn: DecodeFn,
  multipliers_fn: Callable[[Params], tuple[jax.Array, jax.Array]],
  *,
  capacity: float,
  capacity_high: float,
  latent_dim: int,
  latent_dim_high: int,
  likelihood: ModuleType = bernoulli,
  feature: str = "image",
  axis_name: str | None = None,
) -> LatentModel:
  r"""Two levels of latents: z_H carries at most C_H nats about x, both together at most C.

  .. math::

    -E_q[\log p(x|z_L)] + \beta_H (R_H - C_H) + \beta_L (R_L - (C - C_H)), \qquad
    R_H = E \, KL(q(z_H|z_L) \| N(0, I)), \quad R_L = E[\log q(z_L|x) - \log p(z_L|z_H)]

  x sees z_L alone and z_H sees x through z_L, so R_H + R_L is the divergence of the joint posterior
  from the joint prior and bounds what z_L carries. Each level has its own multiplier: were R_H + R_L
  held at C instead, little would be gained by z_H, which is then hardly used. After training, z_H of
  an example can be kept and z_L drawn anew from p(z_L|z_H): what C_H had room for stays, the
  remaining C - C_H nats vary.

  Args:
    encode_fn: `(params, x) -> (mean, log_scale)` of q(z_L|x), each (B, Z).
    encode_high_fn: `(params, z_L) -> (mean, log_scale)` of q(z_H|z_L), each (B, Z_H).
    prior_fn: `(params, z_H) -> (mean, log_scale)` of p(z_L|z_H), each (B, Z).
    decode_fn: `(params, z_L) -> parameters of p(x|z_L)`.
    multipliers_fn: `(params) -> (b_L, b_H)`, two scalars among the trained parameters; each beta is
      log(1 + exp(b)).
    capacity: C in nats, for both levels together.
    capacity_high: C_H in nats, at most C.
    latent_dim: Z.
    latent_dim_high: Z_H.
    likelihood: density family of p(x|z_L).
    feature: name of the batch's array to model, shape (B, ...), floating point.
    axis_name: mapped device axis over which the batch is split, inside `pmap` or `shard_map`.

  Returns:
    LatentModel of z_L: `encode` and `decode` are those of the lower level, `bound`, `sample` and
    `log_weights` go through both. Metrics: elbo, log_likelihood, kl (both levels), kl_high, and the
    two multipliers.

  Raises:
    ValueError: if a capacity is negative or capacity_high exceeds capacity.

  References:
    Battenberg et al., Effective Use of Variational Embedding Capacity in Expressive End-to-End
      Speech Synthesis, 2019. arXiv:1906.03402
  """
  check_range(0.0, capacity=capacity)
  check_range(0.0, capacity, capacity_high=capacity_high)

  def draw(params: Params, key: jax.Array, x: jax.Array, axis_name: str | None) -> _Draw:
    key_low, key_high = jax.random.split(key)
    mean, log_scale = posterior(encode_fn, params, x)
    low = gaussian.sample(key_low, mean, log_scale, axis_name=axis_name)
    mean_high, log_scale_high = posterior(encode_high_fn, params, low)
    high = gaussian.sample(key_high, mean_high, log_scale_high, axis_name=axis_name)
    # At the sample that z_H was inferred from: with a fresh z_L, as in a closed form, the two levels
    # would no longer add up to the divergence of the joint posterior.
    log_q = gaussian.log_prob(low, mean, log_scale)
    kl_low = log_q - gaussian.log_prob(low, *prior_fn(params, high))
    kl_high = gaussian.kl_standard(mean_high, log_scale_high)
    log_ratio_high = gaussian.log_prob(high, mean_high, log_scale_high)
    log_ratio_high -= gaussian.standard_log_prob(high)
    (log_p_x,) = log_likelihood(decode_fn, likelihood, params, x, low[None])
    return _Draw(log_p_x, kl_low, kl_high, log_ratio_high)

  def terms(drawn: _Draw) -> BoundTerms:
    kl = drawn.kl_low + drawn.kl_high
    return BoundTerms(elbo(drawn.log_likelihood, kl), drawn.log_likelihood, kl)

  def objective(
    params: Params, model_state: Any, key: jax.Array, batch: Batch
  ) -> tuple[jax.Array, tuple[Any, Metrics]]:
    drawn = draw(params, key, take_feature(batch, feature), axis_name)
    logit, logit_high = multipliers_fn(params)
    loss = constrained_kl_loss(drawn.kl_low, logit, capacity=capacity - capacity_high)
    loss += constrained_kl_loss(drawn.kl_high, logit_high, capacity=capacity_high)
    metrics = mean_metrics(terms(drawn)) | {
      "kl_high": jnp.mean(drawn.kl_high).astype(jnp.float32),
      "multiplier": jax.nn.softplus(logit),
      "multiplier_high": jax.nn.softplus(logit_high),
    }
    return jnp.mean(loss - drawn.log_likelihood), (model_state, metrics)

  def bound(params: Params, key: jax.Array, x: jax.Array) -> BoundTerms:
    return terms(draw(params, key, x, None))

  def sample(params: Params, key: jax.Array, num_samples: int) -> jax.Array:
    key_high, key_low = jax.random.split(key)
    high = jax.random.normal(key_high, (num_samples, latent_dim_high))
    return model.decode(params, gaussian.sample(key_low, *prior_fn(params, high)))

  def log_weights(params: Params, key: jax.Array, x: jax.Array, *, num_samples: int) -> jax.Array:
    drawn = jax.vmap(lambda key: draw(params, key, x, None))(jax.random.split(key, num_samples))
    return drawn.log_likelihood - drawn.kl_low - drawn.log_ratio_high

  model = make_latent_model(
    objective, bound, encode_fn, decode_fn, likelihood=likelihood, latent_dim=latent_dim
  )
  return model._replace(sample=sample, log_weights=log_weights)
