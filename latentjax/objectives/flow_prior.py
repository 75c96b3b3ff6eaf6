"""An auto-encoder whose codes follow a distribution that a trained flow knows."""

from types import ModuleType

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_range
from latentjax.densities import bernoulli
from latentjax.losses.score import TimeSampler, antithetic_times, flow_alignment_loss
from latentjax.losses.score.denoising import PredictFn
from latentjax.objectives.autoencoder import Autoencoder, CodeFn, make_autoencoder
from latentjax.objectives.latent_model import DecodeFn, Metrics, Params

__all__ = ["flow_prior_autoencoder"]


def flow_prior_autoencoder(
  encode_fn: CodeFn,
  decode_fn: DecodeFn,
  velocity_fn: PredictFn,
  *,
  weight: ArrayLike = 0.01,
  likelihood: ModuleType = bernoulli,
  time_sampler: TimeSampler = antithetic_times,
  feature: str = "image",
  axis_name: str | None = None,
) -> Autoencoder:
  r"""Reconstruction plus `flow_alignment_loss` of the codes, for a flow that stays as it is.

  .. math:: -\log p(x | E(x)) + \lambda \, E_{t, \epsilon} \|\hat v(z_t, t) - (\epsilon - E(x))\|^2

  Args:
    encode_fn: `(params, x) -> z`, shape (B, Z), or a tuple that begins with z.
    decode_fn: `(params, z) -> parameters of p(x|z)`, an array or a tuple of arrays.
    velocity_fn: `(z_t, t) -> velocity` of the trained flow, its parameters constants.
    weight: lambda, not negative. Can be traced.
    likelihood: density family of p(x|z).
    time_sampler: `(key, *, batch_size, axis_name) -> t`.
    feature: name of the batch's array to model, shape (B, ...), floating point.
    axis_name: mapped device axis over which the batch is split, inside `pmap` or `shard_map`; every
      device must have the same key.

  Returns:
    Autoencoder; the metrics are log_likelihood in nats and alignment, means.

  Raises:
    KeyError: if a batch lacks the array.
    ValueError: if weight is negative or a shape does not fit.

  References:
    Li et al., Aligning Latent Spaces with Flow Priors, 2025. arXiv:2506.05240
  """
  check_range(0.0, weight=weight)

  def penalty_fn(params: Params, key: jax.Array, z: jax.Array) -> tuple[jax.Array, Metrics]:
    loss = flow_alignment_loss(key, velocity_fn, z, time_sampler=time_sampler, axis_name=axis_name)
    return jnp.asarray(weight) * loss, {"alignment": jnp.mean(loss)}

  return make_autoencoder(encode_fn, decode_fn, penalty_fn, likelihood=likelihood, feature=feature)
