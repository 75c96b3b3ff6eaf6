"""Consistency models trained from data alone, with the schedules of iCT and the means of sLCT."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_range
from latentjax.diffusion.processes import Process, precondition
from latentjax.diffusion.processes.predictions import draw_noise
from latentjax.losses.score import consistency_steps, consistency_training_loss, pseudo_huber_loss
from latentjax.losses.score.consistency import Metric, PairWeight
from latentjax.objectives.latent_model import Batch, Metrics, Objective, Params, take_feature
from latentjax.transport import optimal_partners

__all__ = ["ConsistencyModel", "ConsistencyState", "consistency_model"]


class ConsistencyState(NamedTuple):
  """Training steps done, which the discretisation follows.

  Attributes:
    step: int32, shape ().
  """

  step: jax.Array


class ConsistencyModel(NamedTuple):
  """A training objective and the consistency function that it trains.

  Attributes:
    objective: `(params, model_state, key, batch) -> (loss, (model_state, metrics))`; the metrics are
      num_steps, of the discretisation.
    consistency: `(params, z_t, t) -> x_hat`, z_t (B, ...), t (B,) or ().
      `lambda x, t: consistency(params, x, t)` is what `samplers.consistency` takes.
    init_state: the model_state that training starts with.
  """

  objective: Objective
  consistency: Callable[..., jax.Array]
  init_state: ConsistencyState


def consistency_model(
  network_fn: Callable[[Params, jax.Array, jax.Array], jax.Array],
  *,
  process: Process,
  total_steps: int,
  data_scale: float = 0.5,
  initial: int = 10,
  final: int = 1280,
  metric_fn: Callable[[jax.Array], Metric] = lambda num_steps: pseudo_huber_loss,
  matched_noise: bool = False,
  match_size: int | None = None,
  denoising_weight: ArrayLike | PairWeight = 0.0,
  denoising_until: ArrayLike = 0.25,
  noise_input: Callable[[ArrayLike], jax.Array] | None = None,
  feature: str = "image",
  axis_name: str | None = None,
) -> ConsistencyModel:
  """Mean over the batch of `consistency_training_loss`, while the discretisation becomes finer.

  As it stands it is iCT. sLCT has
  `metric_fn=lambda num_steps: partial(cauchy_loss, c=cauchy_scale(num_steps, dim=dim))`, dim being the
  entries of one example, `matched_noise=True`, a denoising weight, and a network whose layer norms do not
  scale.

  Args:
    network_fn: `(params, x, noise) -> array`, x (B, ...), scaled to variance 1, noise (B,) or ().
    process: alpha, sigma and log_snr, such as `edm()`; the function is the identity at t = 0.
    total_steps: training steps, over which the doublings are spread.
    data_scale: standard deviation of the data, positive.
    initial: discretisation steps at first, see `consistency_steps`.
    final: at last.
    metric_fn: `num_steps -> (x, y) -> (B,)`, the distance, which may follow the discretisation.
    matched_noise: whether the noise of a batch is matched to its data by optimal transport.
    match_size: rows that are matched with one another, see `optimal_partners`; None: the whole batch.
    denoising_weight: see `consistency_training_loss`.
    denoising_until: see `consistency_training_loss`.
    noise_input: `t -> noise`, see `precondition`.
    feature: name of the batch's array to model, shape (B, ...), floating point.
    axis_name: mapped device axis over which the batch is split, inside `pmap` or `shard_map`; every
      device must have the same key. Without match_size, noise is matched to all devices' rows.

  Returns:
    ConsistencyModel.

  Raises:
    KeyError: if a batch lacks the array.
    ValueError: if a number is out of range.

  References:
    Song and Dhariwal, Improved Techniques for Training Consistency Models, 2023. arXiv:2310.14189
    Dao et al., Improved Training Technique for Latent Consistency Models, 2025. arXiv:2502.01441
  """
  check_range(0.0, strict=True, data_scale=data_scale)
  schedule = partial(consistency_steps, total_steps=total_steps, initial=initial, final=final)
  schedule(0)

  def consistency(params: Params, z_t: jax.Array, t: ArrayLike) -> jax.Array:
    function = precondition(
      lambda x, noise: network_fn(params, x, noise),
      process=process,
      data_scale=data_scale,
      t_min=0.0,
      noise_input=noise_input,
    )
    return function(z_t, t)

  def objective(
    params: Params, model_state: ConsistencyState, key: jax.Array, batch: Batch
  ) -> tuple[jax.Array, tuple[Any, Metrics]]:
    key_noise, key_loss = jax.random.split(key)
    x = take_feature(batch, feature)
    num_steps = schedule(model_state.step)
    noise = draw_noise(key_noise, x, axis_name)
    if matched_noise:
      noise = optimal_partners(x, noise, group_size=match_size, axis_name=axis_name)
    loss = consistency_training_loss(
      key_loss,
      partial(consistency, params),
      x,
      process=process,
      num_steps=num_steps,
      noise=noise,
      metric=metric_fn(num_steps),
      denoising_weight=denoising_weight,
      denoising_until=denoising_until,
      axis_name=axis_name,
    )
    metrics = {"num_steps": num_steps.astype(jnp.float32)}
    return jnp.mean(loss), (ConsistencyState(model_state.step + 1), metrics)

  return ConsistencyModel(objective, consistency, ConsistencyState(jnp.zeros((), jnp.int32)))
