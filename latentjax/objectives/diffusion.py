"""Diffusion and flow models of data, with or without a condition, for any process and prediction."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_choice, check_range
from latentjax.collectives import draw_rows
from latentjax.diffusion.processes import PREDICTIONS, Process, convert
from latentjax.losses.score import TimeSampler, WeightFn, antithetic_times, denoising_loss
from latentjax.objectives.latent_model import Batch, Metrics, Objective, Params, take_feature

__all__ = ["DiffusionModel", "diffusion", "drop_condition"]

ConditionedFn = Callable[[Params, jax.Array, jax.Array, Any], jax.Array]


class DiffusionModel(NamedTuple):
  """A training objective and the denoiser that it trains.

  Attributes:
    objective: `(params, model_state, key, batch) -> (loss, (model_state, metrics))`.
    denoise: `(params, x_t, t, condition=None) -> x0_hat`, the mean of the data given x_t (B, ...) at
      times (B,) or (). `lambda x, t: denoise(params, x, t, condition)` is what samplers take.
  """

  objective: Objective
  denoise: Callable[..., jax.Array]


def diffusion(
  predict_fn: ConditionedFn,
  *,
  process: Process,
  prediction: str = "v",
  weighting: WeightFn | None = None,
  time_sampler: TimeSampler = antithetic_times,
  feature: str = "image",
  condition: str | None = None,
  null_condition: ArrayLike | None = None,
  drop_rate: float = 0.1,
  axis_name: str | None = None,
) -> DiffusionModel:
  """Mean over the batch of `denoising_loss`, per entry of an example.

  With a null condition a share of the rows is trained without its own, so that one network is both
  branches of classifier-free guidance.

  Args:
    predict_fn: `(params, z_t, t, condition) -> prediction`, z_t (B, ...), t (B,), an array of the shape
      of z_t; condition is the batch's (B, ...), or None.
    process: alpha, sigma and log_snr.
    prediction: what predict_fn predicts: "eps", "x0", "v", "score" or "velocity".
    weighting: see `denoising_loss`; None: the error of the prediction itself.
    time_sampler: `(key, *, batch_size, axis_name) -> t`.
    feature: name of the batch's array to model, shape (B, ...), floating point.
    condition: name of the batch's array to condition on, such as "label"; None: no condition.
    null_condition: what stands for no condition, of a row's shape and dtype (the number of classes, for
      labels); None: every row keeps its own.
    drop_rate: share of the rows whose condition is dropped, if there is a null condition.
    axis_name: mapped device axis over which the batch is split, inside `pmap` or `shard_map`; every
      device must have the same key.

  Returns:
    DiffusionModel.

  Raises:
    KeyError: if a batch lacks an array.
    ValueError: if drop_rate is out of [0, 1], prediction is unknown, or a shape does not fit.

  References:
    Ho et al., Denoising Diffusion Probabilistic Models, 2020. arXiv:2006.11239
    Ho and Salimans, Classifier-Free Diffusion Guidance, 2022. arXiv:2207.12598
  """
  check_range(0.0, 1.0, drop_rate=drop_rate)
  check_choice(PREDICTIONS, prediction=prediction)

  def objective(
    params: Params, model_state: Any, key: jax.Array, batch: Batch
  ) -> tuple[jax.Array, tuple[Any, Metrics]]:
    key_drop, key_loss = jax.random.split(key)
    x = take_feature(batch, feature)
    given = None if condition is None else take_feature(batch, condition)
    if given is not None and null_condition is not None:
      given = drop_condition(key_drop, given, null_condition, rate=drop_rate, axis_name=axis_name)
    loss = denoising_loss(
      key_loss,
      lambda z, t: predict_fn(params, z, t, given),
      x,
      process=process,
      prediction=prediction,
      weighting=weighting,
      time_sampler=time_sampler,
      axis_name=axis_name,
    )
    return jnp.mean(loss) / (x.size / x.shape[0]), (model_state, {})

  def denoise(params: Params, x_t: jax.Array, t: ArrayLike, given: Any = None) -> jax.Array:
    t = jnp.broadcast_to(t, x_t.shape[:1])
    predicted = predict_fn(params, x_t, t, given)
    return convert(predicted, x_t, t, process=process, source=prediction, target="x0")

  return DiffusionModel(objective, denoise)


def drop_condition(
  key: jax.Array,
  condition: ArrayLike,
  null_condition: ArrayLike,
  *,
  rate: float,
  axis_name: str | None = None,
) -> jax.Array:
  """The null condition in the place of a share of the rows, drawn at random.

  Args:
    key: random key, the same on every device.
    condition: shape (B, ...).
    null_condition: of a row's shape.
    rate: share of the rows, in [0, 1].
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`.

  Returns:
    Conditions, the shape and dtype of condition.

  Raises:
    ValueError: if rate is out of range.

  Example:
    >>> drop_condition(jax.random.key(0), jnp.arange(3), 3, rate=1.0).tolist()
    [3, 3, 3]

  References:
    Ho and Salimans, Classifier-Free Diffusion Guidance, 2022. arXiv:2207.12598
  """
  check_range(0.0, 1.0, rate=rate)
  condition = jnp.asarray(condition)
  draws = draw_rows(key, jax.random.uniform, condition.shape[:1], axis_name=axis_name)
  dropped = (draws < rate).reshape(-1, *(1,) * (condition.ndim - 1))
  return jnp.where(dropped, jnp.asarray(null_condition, condition.dtype), condition)
