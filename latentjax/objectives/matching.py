"""Auto-encoders whose aggregate posterior is matched to the prior by a maximum mean discrepancy."""

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_range
from latentjax.collectives import draw_rows
from latentjax.densities import bernoulli
from latentjax.losses.elbo import infovae_bound, mmd
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

__all__ = ["info_vae", "wae_mmd"]


def info_vae(
  encode_fn: EncodeFn,
  decode_fn: DecodeFn,
  *,
  latent_dim: int,
  likelihood: ModuleType = bernoulli,
  alpha: ArrayLike = 0.0,
  reg_weight: ArrayLike = 1000.0,
  kernel: str = "rbf",
  bandwidths: Sequence[float] | None = None,
  feature: str = "image",
  axis_name: str | None = None,
) -> LatentModel:
  r"""InfoVAE: an ELBO with a stance on mutual information and a penalty on the aggregate posterior.

  .. math::

    -E_q[\log p(x|z)] + (1 - \alpha) KL(q(z|x) \| p(z)) + (\alpha + \lambda - 1) MMD^2(q(z), p(z))

  alpha = 1 is the MMD-VAE; alpha = 0 and lambda = 1 the VAE. The discrepancy is the unbiased
  estimate between one z and one draw from the prior per example.

  Args:
    encode_fn: `(params, x) -> (mean, log_scale)` of q(z|x), each (B, Z).
    decode_fn: `(params, z) -> parameters of p(x|z)`, an array or a tuple of arrays.
    latent_dim: Z.
    likelihood: density family of p(x|z).
    alpha: at most 1.
    reg_weight: lambda.
    kernel: of the discrepancy, "rbf" or "imq".
    bandwidths: of the kernel, squared lengths; 2 Z by default.
    feature: name of the batch's array to model, shape (B, ...), floating point.
    axis_name: mapped device axis over which the batch is split, inside `pmap` or `shard_map`.

  Returns:
    LatentModel; the metrics have mmd besides those of `vae`.

  Example:
    >>> model = info_vae(
    ...   lambda w, x: (x @ w, 0 * x @ w), lambda w, z: z @ w.T, latent_dim=2, reg_weight=1.0
    ... )
    >>> batch = {"image": jnp.ones((4, 3))}
    >>> loss, (_, metrics) = model.objective(jnp.zeros((3, 2)), (), jax.random.key(0), batch)
    >>> bool(loss == -metrics["elbo"])
    True

  References:
    Zhao, Song & Ermon, InfoVAE: Balancing Learning and Inference in Variational Autoencoders, 2019.
      arXiv:1706.02262
  """

  def loss_fn(
    params: Params, model_state: Any, key: jax.Array, draw: Draw
  ) -> tuple[jax.Array, tuple[Any, Metrics]]:
    z = draw.z[0]
    prior = draw_rows(key, jax.random.normal, z.shape, axis_name=axis_name)
    divergence = mmd(z, prior, kernel=kernel, bandwidths=bandwidths, axis_name=axis_name)
    bound = infovae_bound(
      draw.log_likelihood, draw.kl, divergence, alpha=alpha, reg_weight=reg_weight
    )
    return -bound, (model_state, {"mmd": divergence})

  return make_gaussian_vae(
    encode_fn,
    decode_fn,
    loss_fn,
    latent_dim=latent_dim,
    likelihood=likelihood,
    feature=feature,
    axis_name=axis_name,
  )


def wae_mmd(
  encode_fn: EncodeFn,
  decode_fn: DecodeFn,
  *,
  latent_dim: int,
  likelihood: ModuleType = bernoulli,
  reg_weight: ArrayLike = 10.0,
  kernel: str = "imq",
  bandwidths: Sequence[float] | None = None,
  feature: str = "image",
  axis_name: str | None = None,
  block_size: int | None = None,
) -> Autoencoder:
  r"""Wasserstein auto-encoder with a deterministic encoder and a maximum mean discrepancy.

  .. math:: E[c(x, D(E(x)))] + \lambda \, MMD^2(E(x), z), \qquad z \sim N(0, I)

  The cost c is -log p(x|z): with a Gaussian likelihood of fixed scale it is the squared distance, up
  to a factor and a constant.

  Args:
    encode_fn: `(params, x) -> z`, shape (B, Z), or a tuple that begins with z.
    decode_fn: `(params, z) -> parameters of p(x|z)`, an array or a tuple of arrays.
    latent_dim: Z.
    likelihood: density family of p(x|z).
    reg_weight: lambda, at least 0.
    kernel: of the discrepancy, "rbf" or "imq".
    bandwidths: of the kernel, squared lengths; 2 Z by default.
    feature: name of the batch's array to model, shape (B, ...), floating point.
    axis_name: mapped device axis over which the batch is split, inside `pmap` or `shard_map`.
    block_size: rows at a time in the discrepancy, see `mmd`.

  Returns:
    Autoencoder; the metrics are log_likelihood in nats and mmd, means.

  Raises:
    ValueError: if reg_weight is negative.

  Example:
    >>> model = wae_mmd(lambda w, x: x @ w, lambda w, z: z @ w.T, latent_dim=2)
    >>> batch = {"image": jnp.ones((4, 3))}
    >>> loss, (_, metrics) = model.objective(jnp.zeros((3, 2)), (), jax.random.key(0), batch)
    >>> sorted(metrics)
    ['log_likelihood', 'mmd']

  References:
    Tolstikhin et al., Wasserstein Auto-Encoders, 2018, algorithm 2. arXiv:1711.01558
  """
  check_range(low=0.0, reg_weight=reg_weight)

  def penalty_fn(
    params: Params, key: jax.Array, z: jax.Array
  ) -> tuple[jax.Array, dict[str, jax.Array]]:
    prior = draw_rows(key, jax.random.normal, z.shape, axis_name=axis_name)
    run: dict[str, Any] = {"axis_name": axis_name, "block_size": block_size}
    divergence = mmd(z, prior, kernel=kernel, bandwidths=bandwidths, **run)
    return jnp.asarray(reg_weight) * divergence, {"mmd": divergence}

  return make_autoencoder(
    encode_fn,
    decode_fn,
    penalty_fn,
    likelihood=likelihood,
    prior=standard_normal_prior(latent_dim),
    feature=feature,
  )
