"""Diffusion models that are given what a network makes of the data: a code, or a first reconstruction."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_range, check_same_shape, wide_dtype
from latentjax.collectives import draw_rows
from latentjax.densities import gaussian
from latentjax.diffusion.processes import Process
from latentjax.losses.elbo import infovae_bound, mmd
from latentjax.losses.score import TimeSampler, WeightFn, antithetic_times
from latentjax.objectives.diffusion import ConditionedFn, DiffusionModel, diffusion
from latentjax.objectives.latent_model import (
  Batch,
  EncodeFn,
  Metrics,
  Params,
  posterior,
  take_feature,
)

__all__ = ["diffusion_autoencoder", "info_diffusion", "swycc"]

ConditionFn = Callable[
  [Params, jax.Array, jax.Array], tuple[jax.Array, ArrayLike, Mapping[str, jax.Array]]
]

CONDITION = "condition made of the data"


def diffusion_autoencoder(
  condition_fn: ConditionFn,
  predict_fn: ConditionedFn,
  *,
  process: Process,
  prediction: str = "v",
  weighting: WeightFn | None = None,
  time_sampler: TimeSampler = antithetic_times,
  feature: str = "image",
  drop_rate: float = 0.0,
  axis_name: str | None = None,
) -> DiffusionModel:
  r"""A denoiser that knows something of the clean data, and the network that tells it, trained together.

  .. math:: E[w \, \|p - \hat p(z_t, t, c)\|^2] / D + R, \qquad (c, R) = f(x)

  for data of D entries; the gradient of the denoising error reaches f through c. With a code c of low
  dimension and no penalty R it is a diffusion autoencoder.

  Args:
    condition_fn: `(params, key, x) -> (c, R, metrics)`: what the denoiser gets, shape (B, ...), a penalty
      per example (B,) or a number for the batch, and more metrics.
    predict_fn: `(params, z_t, t, c) -> prediction`, as `diffusion` takes it.
    process: alpha, sigma and log_snr.
    prediction: what predict_fn predicts: "eps", "x0", "v", "score" or "velocity".
    weighting: see `denoising_loss`; None: the error of the prediction itself.
    time_sampler: `(key, *, batch_size, axis_name) -> t`.
    feature: name of the batch's array to model, shape (B, ...), floating point.
    drop_rate: share of the rows that are denoised with zeros in the place of c, the other branch of
      classifier-free guidance.
    axis_name: mapped device axis over which the batch is split, inside `pmap` or `shard_map`; every
      device must have the same key.

  Returns:
    DiffusionModel, whose denoise takes c as its condition. Metrics: denoising and those of condition_fn,
    means over the batch.

  Raises:
    KeyError: if a batch lacks the feature.
    ValueError: if drop_rate is out of [0, 1], prediction is unknown, or a shape does not fit.

  References:
    Preechakul et al., Diffusion Autoencoders: Toward a Meaningful and Decodable Representation, 2022.
      arXiv:2111.15640
  """
  model = diffusion(
    predict_fn,
    process=process,
    prediction=prediction,
    weighting=weighting,
    time_sampler=time_sampler,
    feature=feature,
    condition=CONDITION,
    null_condition=0.0 if drop_rate else None,
    drop_rate=drop_rate,
    axis_name=axis_name,
  )

  def objective(
    params: Params, model_state: Any, key: jax.Array, batch: Batch
  ) -> tuple[jax.Array, tuple[Any, Metrics]]:
    key_condition, key_denoising = jax.random.split(key)
    x = take_feature(batch, feature)
    condition, penalty, metrics = condition_fn(params, key_condition, x)
    given = {feature: x, CONDITION: condition}
    denoising, (model_state, _) = model.objective(params, model_state, key_denoising, given)
    return denoising + jnp.mean(jnp.asarray(penalty)), (
      model_state,
      {"denoising": denoising} | {name: jnp.mean(value) for name, value in metrics.items()},
    )

  return model._replace(objective=objective)


def info_diffusion(
  encode_fn: EncodeFn,
  predict_fn: ConditionedFn,
  *,
  process: Process,
  zeta: ArrayLike = 1.0,
  reg_weight: ArrayLike = 0.1,
  kernel: str = "rbf",
  bandwidths: tuple[float, ...] | None = None,
  prediction: str = "v",
  weighting: WeightFn | None = None,
  time_sampler: TimeSampler = antithetic_times,
  feature: str = "image",
  drop_rate: float = 0.0,
  axis_name: str | None = None,
) -> DiffusionModel:
  r"""InfoDiffusion: a denoiser given a code z, with a stance on how much the code says of the data.

  .. math::

    E[w \, \|p - \hat p(z_t, t, z)\|^2] / D + (1 - \zeta) KL(q(z|x) \| p(z))
    + (\lambda + \zeta - 1) MMD^2(q(z), p(z)), \qquad z \sim q(z|x), \quad p(z) = N(0, I)

  the InfoVAE's weights, with a diffusion model in the place of the decoder. zeta = 0, lambda = 1 is the
  variational bound but for the weighting, in which a strong denoiser can do without z; zeta adds zeta I(x; z)
  to what is maximised. The denoising error is a mean over entries and the discrepancy the unbiased estimate
  between one z and one draw from the prior per example; the defaults are those of the authors' code.

  Args:
    encode_fn: `(params, x) -> (mean, log_scale)` of q(z|x), each (B, Z).
    predict_fn: `(params, z_t, t, z) -> prediction`.
    process: alpha, sigma and log_snr.
    zeta: at most 1. Can be traced.
    reg_weight: lambda, at least 0. Can be traced.
    kernel: of the discrepancy, "rbf" or "imq".
    bandwidths: of the kernel, squared lengths; 2 Z by default.
    prediction: see `diffusion_autoencoder`.
    weighting: see `diffusion_autoencoder`.
    time_sampler: see `diffusion_autoencoder`.
    feature: see `diffusion_autoencoder`.
    drop_rate: see `diffusion_autoencoder`.
    axis_name: see `diffusion_autoencoder`.

  Returns:
    DiffusionModel. Metrics: denoising, kl in nats and mmd, means over the batch.

  Raises:
    KeyError: if a batch lacks the feature.
    ValueError: if a number is out of range, a name is unknown, or a shape does not fit.

  References:
    Wang et al., InfoDiffusion: Representation Learning Using Information Maximizing Diffusion Models,
      2023. arXiv:2306.08757
  """
  check_range(high=1.0, zeta=zeta)
  check_range(low=0.0, reg_weight=reg_weight)

  def condition_fn(
    params: Params, key: jax.Array, x: jax.Array
  ) -> tuple[jax.Array, jax.Array, Metrics]:
    key_z, key_prior = jax.random.split(key)
    mean, log_scale = posterior(encode_fn, params, x)
    z = gaussian.sample(key_z, mean, log_scale, axis_name=axis_name)
    prior = draw_rows(key_prior, jax.random.normal, z.shape, axis_name=axis_name)
    kl = gaussian.kl_standard(mean, log_scale)
    divergence = mmd(z, prior, kernel=kernel, bandwidths=bandwidths, axis_name=axis_name)
    nothing = jnp.zeros_like(kl)  # in the place of log p(x|z), which the denoiser stands for
    bound = infovae_bound(nothing, kl, divergence, alpha=zeta, reg_weight=reg_weight)
    return z, -bound, {"kl": kl, "mmd": divergence}

  return diffusion_autoencoder(
    condition_fn,
    predict_fn,
    process=process,
    prediction=prediction,
    weighting=weighting,
    time_sampler=time_sampler,
    feature=feature,
    drop_rate=drop_rate,
    axis_name=axis_name,
  )


def swycc(
  encode_fn: Callable[[Params, jax.Array], jax.Array],
  decode_fn: Callable[[Params, jax.Array], jax.Array],
  predict_fn: ConditionedFn,
  *,
  process: Process,
  init_weight: ArrayLike = 1.0,
  distortion_fn: Callable[[jax.Array, jax.Array], jax.Array] | None = None,
  prediction: str = "v",
  weighting: WeightFn | None = None,
  time_sampler: TimeSampler = antithetic_times,
  feature: str = "image",
  drop_rate: float = 0.1,
  axis_name: str | None = None,
) -> DiffusionModel:
  r"""Sample what you can't compress: an autoencoder whose decoder draws what the code leaves open.

  .. math::

    E[w \, \|p - \hat p(z_t, t, \hat x)\|^2] / D + \lambda \, d(x, \hat x), \qquad \hat x = D_I(E(x))

  A first decoder gives the mean of what the code allows, a diffusion model given that draws from it; all
  networks are trained together, the encoder by both terms. To decode, sample with the condition
  decode_fn(params, z). (The paper's distortion has a perceptual term besides the squared error.)

  Args:
    encode_fn: `(params, x) -> z`, shape (B, ...).
    decode_fn: `(params, z) -> x_hat`, the shape of x.
    predict_fn: `(params, z_t, t, x_hat) -> prediction`.
    process: alpha, sigma and log_snr.
    init_weight: lambda, at least 0. Can be traced.
    distortion_fn: `(x, x_hat) -> d` per example, shape (B,); None: the mean squared error.
    prediction: see `diffusion_autoencoder`.
    weighting: see `diffusion_autoencoder`.
    time_sampler: see `diffusion_autoencoder`.
    feature: see `diffusion_autoencoder`.
    drop_rate: share of the rows that are denoised without x_hat, for classifier-free guidance.
    axis_name: see `diffusion_autoencoder`.

  Returns:
    DiffusionModel. Metrics: denoising and distortion, means over the batch.

  Raises:
    KeyError: if a batch lacks the feature.
    ValueError: if a number is out of range, prediction is unknown, or a shape does not fit.

  References:
    Birodkar et al., Sample what you cant compress, 2024. arXiv:2409.02529
  """
  check_range(low=0.0, init_weight=init_weight)

  def condition_fn(
    params: Params, key: jax.Array, x: jax.Array
  ) -> tuple[jax.Array, jax.Array, Metrics]:
    x_hat = decode_fn(params, encode_fn(params, x))
    check_same_shape(x=x, x_hat=x_hat)
    if distortion_fn is None:
      error = (x - x_hat).astype(wide_dtype(x, x_hat))
      distortion = jnp.mean(jnp.square(error), axis=tuple(range(1, x.ndim)))
    else:
      distortion = distortion_fn(x, x_hat)
    return x_hat, jnp.asarray(init_weight) * distortion, {"distortion": distortion}

  return diffusion_autoencoder(
    condition_fn,
    predict_fn,
    process=process,
    prediction=prediction,
    weighting=weighting,
    time_sampler=time_sampler,
    feature=feature,
    drop_rate=drop_rate,
    axis_name=axis_name,
  )
