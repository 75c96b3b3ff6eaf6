"""A diffusion model whose early tokens are aligned with a frozen encoder's features (REPA)."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_alike, check_choice, check_range, wide_dtype
from latentjax.diffusion.processes import PREDICTIONS, Process, convert, noised
from latentjax.diffusion.processes.predictions import draw_noise, prediction_of
from latentjax.losses.distillation import repa_loss
from latentjax.losses.score import TimeSampler, antithetic_times
from latentjax.objectives.diffusion import DiffusionModel, drop_condition
from latentjax.objectives.latent_model import Batch, Metrics, Params, take_feature

__all__ = ["repa"]

AlignedFn = Callable[[Params, jax.Array, jax.Array, Any], tuple[jax.Array, jax.Array]]


def repa(
  predict_fn: AlignedFn,
  encode_fn: Callable[[jax.Array], jax.Array],
  *,
  process: Process,
  prediction: str = "velocity",
  weight: ArrayLike = 0.5,
  time_sampler: TimeSampler = antithetic_times,
  feature: str = "image",
  condition: str | None = None,
  null_condition: ArrayLike | None = None,
  drop_rate: float = 0.1,
  axis_name: str | None = None,
) -> DiffusionModel:
  """Squared error of the prediction, per entry, plus weight times `repa_loss`, meaned over the batch.

  Args:
    predict_fn: `(params, z_t, t, condition) -> (prediction, projected)`: the prediction, of z_t's shape,
      and tokens of an early block after a small network, (B, N, D).
    encode_fn: `(x) -> target`, the frozen encoder's features of clean data, (B, N, D), detached.
    process: alpha, sigma and log_snr; `rectified_flow()` in the paper.
    prediction: what predict_fn predicts: "eps", "x0", "v", "score" or "velocity".
    weight: of the alignment, at least 0. Can be traced.
    time_sampler: `(key, *, batch_size, axis_name) -> t`.
    feature: name of the batch's array to model, shape (B, ...), floating point.
    condition: name of the batch's array to condition on; None: no condition.
    null_condition: what stands for no condition, see `diffusion`.
    drop_rate: share of the rows whose condition is dropped, if there is a null condition.
    axis_name: mapped device axis over which the batch is split, inside `pmap` or `shard_map`; every
      device must have the same key.

  Returns:
    DiffusionModel; the objective's metrics are "denoising" and "alignment", its two losses.

  Raises:
    KeyError: if a batch lacks an array.
    ValueError: if weight or drop_rate is out of range, prediction is unknown, or a shape does not fit.

  References:
    Yu et al., Representation Alignment for Generation: Training Diffusion Transformers Is Easier Than You
      Think, 2024. arXiv:2410.06940
  """
  check_range(0.0, weight=weight)
  check_range(0.0, 1.0, drop_rate=drop_rate)
  check_choice(PREDICTIONS, prediction=prediction)

  def objective(
    params: Params, model_state: Any, key: jax.Array, batch: Batch
  ) -> tuple[jax.Array, tuple[Any, Metrics]]:
    key_drop, key_time, key_noise = jax.random.split(key, 3)
    x = take_feature(batch, feature)
    given = None if condition is None else take_feature(batch, condition)
    if given is not None and null_condition is not None:
      given = drop_condition(key_drop, given, null_condition, rate=drop_rate, axis_name=axis_name)
    t = time_sampler(key_time, batch_size=x.shape[0], axis_name=axis_name)
    eps = draw_noise(key_noise, x, axis_name)
    predicted, projected = predict_fn(params, noised(x, eps, t, process=process), t, given)
    check_alike(x.ndim, x=x, prediction=predicted)
    wanted = prediction_of(x, eps, t, process=process, prediction=prediction)
    error = predicted.astype(wide_dtype(predicted)) - wanted
    denoising = jnp.mean(jnp.square(error))
    alignment = jnp.mean(repa_loss(projected, encode_fn(x)))
    metrics = {"denoising": denoising, "alignment": alignment}
    return denoising + weight * alignment, (model_state, metrics)

  def denoise(params: Params, x_t: jax.Array, t: ArrayLike, given: Any = None) -> jax.Array:
    t = jnp.broadcast_to(t, x_t.shape[:1])
    predicted, _ = predict_fn(params, x_t, t, given)
    return convert(predicted, x_t, t, process=process, source=prediction, target="x0")

  return DiffusionModel(objective, denoise)
