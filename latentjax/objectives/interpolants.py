"""Flows between distributions: two, with any coupling, or the corners of a simplex."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_choice
from latentjax.diffusion.processes.predictions import draw_noise
from latentjax.losses.score import (
  Interpolant,
  TimeSampler,
  antithetic_times,
  interpolant_loss,
  linear_interpolant,
  multimarginal_loss,
)
from latentjax.objectives.latent_model import Batch, Metrics, Objective, Params, take_feature
from latentjax.transport import entropic_partners, optimal_partners

__all__ = ["interpolant_flow", "multimarginal_flow"]

FieldFn = Callable[[Params, jax.Array, jax.Array], jax.Array]


def interpolant_flow(
  velocity_fn: FieldFn,
  *,
  eps_fn: FieldFn | None = None,
  interpolant: Interpolant | None = None,
  coupling: str = "independent",
  epsilon: ArrayLike = 0.05,
  time_sampler: TimeSampler = antithetic_times,
  start: str = "x_0",
  end: str | None = None,
  axis_name: str | None = None,
) -> Objective:
  """Mean over the batch of `interpolant_loss`, of the velocity and of the noise if that is learned too.

  Flow matching with matched pairs has the defaults and `coupling="optimal"`; the Schroedinger bridge of
  scale s has `linear_interpolant(scale=s)`, `coupling="entropic"` and `epsilon=2 * s**2`, with `eps_fn`.

  Args:
    velocity_fn: `(params, z_t, t) -> velocity`, z_t (B, ...), t (B,).
    eps_fn: `(params, z_t, t) -> eps_hat`, for the SDE's drift (`interpolant_drift`); None: not learned.
    interpolant: alpha, beta and gamma; None: straight lines without noise.
    coupling: "independent", "optimal" (`optimal_partners`) or "entropic" (`entropic_partners`), of a batch.
    epsilon: of the entropic coupling.
    time_sampler: `(key, *, batch_size, axis_name) -> t`.
    start: name of the batch's array at t = 0, shape (B, ...), floating point.
    end: name of that at t = 1, the same shape; None: standard normal noise.
    axis_name: mapped device axis over which the batch is split, inside `pmap` or `shard_map`; every
      device must have the same key. Partners are those of all devices' rows.

  Returns:
    Objective; its metrics are velocity, and eps if that is learned, means.

  Raises:
    KeyError: if a batch lacks an array.
    ValueError: if coupling is unknown or a shape does not fit.

  References:
    Tong et al., Improving and Generalizing Flow-Based Generative Models with Minibatch Optimal
      Transport, 2023. arXiv:2302.00482
    Albergo et al., Stochastic Interpolants: A Unifying Framework for Flows and Diffusions, 2023.
      arXiv:2303.08797
    Tong et al., Simulation-free Schroedinger bridges via score and flow matching, 2023. arXiv:2307.03672
  """
  check_choice(("independent", "optimal", "entropic"), coupling=coupling)
  path = linear_interpolant(scale=0.0) if interpolant is None else interpolant
  fields = {"velocity": velocity_fn} | ({} if eps_fn is None else {"eps": eps_fn})

  def partners(key: jax.Array, x_0: jax.Array, x_1: jax.Array) -> jax.Array:
    if coupling == "optimal":
      return optimal_partners(x_0, x_1, axis_name=axis_name)
    if coupling == "entropic":
      return entropic_partners(key, x_0, x_1, epsilon=epsilon, axis_name=axis_name)
    return x_1

  def objective(
    params: Params, model_state: Any, key: jax.Array, batch: Batch
  ) -> tuple[jax.Array, tuple[Any, Metrics]]:
    key_noise, key_pairs, key_loss = jax.random.split(key, 3)
    x_0 = take_feature(batch, start)
    x_1 = draw_noise(key_noise, x_0, axis_name) if end is None else take_feature(batch, end)
    x_1 = partners(key_pairs, x_0, x_1)
    losses = {
      name: jnp.mean(
        interpolant_loss(
          key_loss,
          partial(field, params),
          x_0,
          x_1,
          interpolant=path,
          prediction=name,
          time_sampler=time_sampler,
          axis_name=axis_name,
        )
      )
      for name, field in fields.items()
    }
    return jnp.sum(jnp.stack(list(losses.values()))), (model_state, losses)

  return objective


def multimarginal_flow(
  marginals_fn: FieldFn, *, feature: str = "xs", axis_name: str | None = None
) -> Objective:
  """Mean over the batch of `multimarginal_loss`, at uniform points of the simplex.

  Args:
    marginals_fn: `(params, x, alpha) -> (B, K, ...)`, x (B, ...), alpha (B, K).
    feature: name of the batch's array of a point of each distribution, shape (B, K, ...); which points
      share a row is the coupling.
    axis_name: mapped device axis over which the batch is split, inside `pmap` or `shard_map`; every
      device must have the same key.

  Returns:
    Objective, without metrics.

  Raises:
    KeyError: if a batch lacks the array.
    ValueError: if a shape does not fit.

  References:
    Albergo et al., Multimarginal generative modeling with stochastic interpolants, 2023. arXiv:2310.03695
  """

  def objective(
    params: Params, model_state: Any, key: jax.Array, batch: Batch
  ) -> tuple[jax.Array, tuple[Any, Metrics]]:
    loss = multimarginal_loss(
      key,
      lambda x, alpha: marginals_fn(params, x, alpha),
      take_feature(batch, feature),
      axis_name=axis_name,
    )
    return jnp.mean(loss), (model_state, {})

  return objective
