"""Context-encoding variational autoencoder, for the detection of anomalies (Zimmerer et al., 2018)."""

from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp

from latentjax.augment import random_squares
from latentjax.checks import check_range
from latentjax.collectives import draw_rows
from latentjax.densities import laplace
from latentjax.losses.elbo import elbo
from latentjax.objectives.gaussian_vae import Draw, make_gaussian_vae
from latentjax.objectives.latent_model import (
  DecodeFn,
  EncodeFn,
  LatentModel,
  Metrics,
  Params,
  log_likelihood,
  posterior,
)

__all__ = ["context_encoding_vae"]


def context_encoding_vae(
  encode_fn: EncodeFn,
  decode_fn: DecodeFn,
  *,
  latent_dim: int,
  context_weight: float = 0.5,
  beta: float = 1.0,
  corrupt_fn: Callable[[jax.Array, jax.Array], jax.Array] | None = None,
  likelihood: ModuleType = laplace,
  feature: str = "image",
  axis_name: str | None = None,
) -> LatentModel:
  r"""Variational autoencoder that also fills in what was painted over, from its posterior mean.

  .. math::

    -(1 - c) \, \big(E_q[\log p(x|z)] - \beta \, KL(q(z|x) \,\|\, p(z))\big)
    - c \, \log p(x \,|\, z = m(x'))

  x' is x with parts covered, m the mean of q(z|x'). The second term has no noise and no divergence;
  with the Laplace likelihood and a constant scale it is the L1 distance. Trained on healthy images
  alone the model learns to put there what should be there: `anomaly_map` is then high on what should
  not.

  Args:
    encode_fn: `(params, x) -> (mean, log_scale)` of q(z|x), each (B, Z).
    decode_fn: `(params, z) -> parameters of p(x|z)`, such as (mean, log_scale).
    latent_dim: Z.
    context_weight: c, in [0, 1]; 0 is the beta-VAE.
    beta: weight of the divergence.
    corrupt_fn: `(key, image) -> image`, unbatched; by default `random_squares` of up to half the
      image's side, whose brightness in [0, 1] is that of images in [0, 1].
    likelihood: density family of p(x|z).
    feature: name of the batch's array to model, shape (B, H, W, C), floating point.
    axis_name: mapped device axis over which the batch is split, inside `pmap` or `shard_map`.

  Returns:
    LatentModel with prior N(0, I). Metrics: elbo (beta = 1), log_likelihood, kl, and
    context_log_likelihood, means in nats.

  Raises:
    ValueError: if context_weight is not in [0, 1] or beta is negative.

  References:
    Zimmerer et al., Context-encoding Variational Autoencoder for Unsupervised Anomaly Detection,
      2018. arXiv:1812.05941
    Chatterjee et al., StRegA: Unsupervised Anomaly Detection in Brain MRIs using a Compact
      Context-encoding Variational Autoencoder, 2022. arXiv:2201.13271
  """
  check_range(0.0, 1.0, context_weight=context_weight)
  check_range(0.0, beta=beta)

  def corrupt(key: jax.Array, x: jax.Array) -> jax.Array:
    change = corrupt_fn or partial(random_squares, max_size=max(1, min(x.shape[1:3]) // 2))
    keys = draw_rows(key, lambda row_key, _: row_key, x.shape[:1], axis_name=axis_name)
    return jax.vmap(change)(keys, x)

  def loss_fn(
    params: Params, model_state: Any, key: jax.Array, draw: Draw
  ) -> tuple[jax.Array, tuple[Any, Metrics]]:
    mean, _ = posterior(encode_fn, params, corrupt(key, draw.x))
    (context,) = log_likelihood(decode_fn, likelihood, params, draw.x, mean[None])
    bound = elbo(draw.log_likelihood, draw.kl, beta=beta)
    loss = -(1 - context_weight) * bound - context_weight * context
    return loss, (model_state, {"context_log_likelihood": jnp.mean(context)})

  return make_gaussian_vae(
    encode_fn,
    decode_fn,
    loss_fn,
    latent_dim=latent_dim,
    likelihood=likelihood,
    feature=feature,
    axis_name=axis_name,
  )
