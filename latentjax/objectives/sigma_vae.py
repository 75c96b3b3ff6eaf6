"""VAE whose posterior scale is drawn, not learned, so that the latent space keeps its variance."""

from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_range
from latentjax.collectives import draw_rows
from latentjax.densities import bernoulli
from latentjax.objectives.autoencoder import Autoencoder, CodeFn
from latentjax.objectives.latent_model import (
  Batch,
  DecodeFn,
  Metrics,
  Params,
  as_tuple,
  log_likelihood,
  standard_normal_prior,
  take_feature,
)

__all__ = ["sigma_vae"]


def sigma_vae(
  encode_fn: CodeFn,
  decode_fn: DecodeFn,
  *,
  latent_dim: int,
  likelihood: ModuleType = bernoulli,
  scale: float = 0.5,
  beta: ArrayLike = 0.5,
  feature: str = "image",
  axis_name: str | None = None,
) -> Autoencoder:
  r"""sigma-VAE of LatentLM: noise of a random scale per example, and only the means are penalised.

  .. math:: -E[\log p(x | \mu(x) + \sigma \epsilon)] + \beta \|\mu(x)\|^2, \qquad
     \sigma \sim N(0, C^2), \; \epsilon \sim N(0, I)

  With a fixed scale the divergence from N(0, I) has only the mean left, with weight 1/2: the encoder
  cannot buy reconstruction with a vanishing variance. It is no bound on log p(x).

  Args:
    encode_fn: `(params, x) -> mean`, shape (B, Z), or a tuple that begins with the mean.
    decode_fn: `(params, z) -> parameters of p(x|z)`, an array or a tuple of arrays.
    latent_dim: Z.
    likelihood: density family of p(x|z).
    scale: C, standard deviation of the scales, positive.
    beta: weight of the means' size.
    feature: name of the batch's array to model, shape (B, ...), floating point.
    axis_name: mapped device axis over which the batch is split, inside `pmap` or `shard_map`.

  Returns:
    Autoencoder; the metrics are log_likelihood in nats and size = |mu|^2, means. `sample` decodes
    draws from N(0, I).

  Raises:
    ValueError: if scale is not positive or beta is negative.

  Example:
    >>> model = sigma_vae(lambda w, x: x @ w, lambda w, z: z @ w.T, latent_dim=2)
    >>> batch = {"image": jnp.ones((4, 3))}
    >>> loss, _ = model.objective(jnp.zeros((3, 2)), (), jax.random.key(0), batch)
    >>> float(loss)  # 3 log 2
    2.079441...

  References:
    Sun et al., Multimodal Latent Language Modeling with Next-Token Diffusion, 2024. arXiv:2412.08635
  """
  check_range(low=0.0, strict=True, scale=scale)
  check_range(low=0.0, beta=beta)
  prior = standard_normal_prior(latent_dim)

  def encode(params: Params, x: jax.Array) -> jax.Array:
    return as_tuple(encode_fn(params, x))[0]

  def decode(params: Params, z: jax.Array) -> jax.Array:
    return likelihood.mean(*as_tuple(decode_fn(params, z)))

  def noise(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    key_scale, key_noise = jax.random.split(key)
    return scale * jax.random.normal(key_scale) * jax.random.normal(key_noise, shape)

  def objective(
    params: Params, model_state: Any, key: jax.Array, batch: Batch
  ) -> tuple[jax.Array, tuple[Any, Metrics]]:
    x = take_feature(batch, feature)
    mean = encode(params, x)
    z = mean + draw_rows(key, noise, mean.shape, axis_name=axis_name).astype(mean.dtype)
    (log_p_x,) = log_likelihood(decode_fn, likelihood, params, x, z[None])
    size = jnp.sum(jnp.square(mean), axis=-1)
    metrics = {"log_likelihood": jnp.mean(log_p_x), "size": jnp.mean(size)}
    return jnp.mean(beta * size - log_p_x), (model_state, metrics)

  def sample(params: Params, key: jax.Array, num_samples: int) -> jax.Array:
    return decode(params, prior.sample(params, key, num_samples))

  return Autoencoder(objective, encode, decode, sample)
