"""A diffusion model whose estimates vary evenly with the noise (Smooth Diffusion)."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_range
from latentjax.diffusion.processes import Process
from latentjax.diffusion.processes.predictions import draw_noise
from latentjax.losses.score import (
  TimeSampler,
  WeightFn,
  antithetic_times,
  denoising_loss,
  step_variation,
  variation_penalty,
)
from latentjax.objectives.diffusion import ConditionedFn, DiffusionModel, diffusion
from latentjax.objectives.latent_model import Batch, Metrics, Params, take_feature

__all__ = ["smooth_diffusion"]


def smooth_diffusion(
  predict_fn: ConditionedFn,
  *,
  process: Process,
  prediction: str = "eps",
  weight: ArrayLike = 1.0,
  rate: float = 0.01,
  weighting: WeightFn | None = None,
  time_sampler: TimeSampler = antithetic_times,
  feature: str = "image",
  axis_name: str | None = None,
) -> DiffusionModel:
  """Mean over the batch of `denoising_loss`, per entry, plus weight times `variation_penalty`.

  Both at the same noised data, with one evaluation of the network. The model state is the moving average
  of the variations, an array of shape (), 0 at first.

  Args:
    predict_fn: `(params, z_t, t, condition) -> prediction`, z_t (B, ...), t (B,); condition is None.
    process: alpha, sigma and log_snr.
    prediction: what predict_fn predicts: "eps", "x0", "v", "score" or "velocity".
    weight: of the penalty, not negative; the paper's is 1. Can be traced.
    rate: of the moving average.
    weighting: see `denoising_loss`; None: the error of the prediction itself.
    time_sampler: `(key, *, batch_size, axis_name) -> t`.
    feature: name of the batch's array to model, shape (B, ...), floating point.
    axis_name: mapped device axis over which the batch is split, inside `pmap` or `shard_map`; every
      device must have the same key.

  Returns:
    DiffusionModel.

  Raises:
    KeyError: if a batch lacks the array.
    ValueError: if a number is out of range or prediction is unknown.

  References:
    Guo et al., Smooth Diffusion: Crafting Smooth Latent Spaces in Diffusion Models, 2023.
      arXiv:2312.04410
  """
  check_range(0.0, weight=weight)
  common: dict[str, Any] = {"process": process, "prediction": prediction}
  denoise = diffusion(predict_fn, **common).denoise

  def objective(
    params: Params, mean: jax.Array, key: jax.Array, batch: Batch
  ) -> tuple[jax.Array, tuple[Any, Metrics]]:
    key_loss, key_direction = jax.random.split(key)
    x = take_feature(batch, feature)
    direction = draw_noise(key_direction, x, axis_name)
    seen = []

    def predict(z_t: jax.Array, t: jax.Array) -> jax.Array:
      fn = lambda z, t: predict_fn(params, z, t, None)
      found = step_variation(fn, z_t, t, direction, **common)
      seen.append(found.variation)
      return found.prediction

    error = denoising_loss(
      key_loss,
      predict,
      x,
      weighting=weighting,
      time_sampler=time_sampler,
      axis_name=axis_name,
      **common,
    )
    denoising = jnp.mean(error) / (x.size / x.shape[0])
    penalty, mean = variation_penalty(seen[0], mean, rate=rate, axis_name=axis_name)
    penalty = jnp.mean(penalty)
    metrics = {"denoising": denoising, "penalty": penalty}
    return denoising + weight * penalty, (mean, metrics)

  return DiffusionModel(objective, denoise)
