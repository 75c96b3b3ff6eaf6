"""Frames between two others, by a consecutive Brownian bridge."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_range
from latentjax.diffusion import bridges
from latentjax.objectives.latent_model import Batch, Metrics, Objective, Params, take_feature

__all__ = ["FrameInterpolation", "frame_interpolation"]

PredictFn = Callable[[Params, jax.Array, jax.Array, jax.Array, jax.Array, jax.Array], jax.Array]


class FrameInterpolation(NamedTuple):
  """A training objective and the function that interpolates.

  Attributes:
    objective: `(params, model_state, key, batch) -> (loss, (model_state, metrics))`.
    interpolate: `(params, key, before, after, *, times) -> (middle, middle)`, frames (B, ...) by the bridge
      from the frame before and by that from the one after.
  """

  objective: Objective
  interpolate: Callable[..., tuple[jax.Array, jax.Array]]


def frame_interpolation(
  predict_fn: PredictFn,
  *,
  scale: ArrayLike = 2**0.5,
  max_weight: ArrayLike = 5.0,
  axis_name: str | None = None,
) -> FrameInterpolation:
  """Consecutive Brownian bridge diffusion: the mean of its loss over the batch.

  Frames may be latents of an auto-encoder, as in the paper. The batch has "before", "middle" and
  "after", floating point arrays (B, ...).

  Args:
    predict_fn: `(params, x_t, other, before, after, time) -> x_t - middle`; time (B,) in [-1, 1] is
      positive on the bridge to the frame after, see `consecutive_bridge_loss`.
    scale: of the bridges, see `bridged`. Can be traced.
    max_weight: largest weight of an example. Can be traced.
    axis_name: mapped device axis over which the batch is split, inside `pmap` or `shard_map`.

  Returns:
    FrameInterpolation. There are no metrics besides the loss.

  Raises:
    KeyError: if a batch lacks a frame.
    ValueError: if a number is out of range or shapes do not fit.

  References:
    Lyu et al., Frame Interpolation with Consecutive Brownian Bridge Diffusion, 2024. arXiv:2405.05953
  """
  check_range(0.0, scale=scale)
  check_range(0.0, strict=True, max_weight=max_weight)

  def given(params: Params, y: jax.Array, z: jax.Array) -> Callable[..., jax.Array]:
    return lambda x_t, other, time: predict_fn(params, x_t, other, y, z, time)

  def objective(
    params: Params, model_state: Any, key: jax.Array, batch: Batch
  ) -> tuple[jax.Array, tuple[Any, Metrics]]:
    y, x, z = (take_feature(batch, name) for name in ("before", "middle", "after"))
    loss = bridges.consecutive_bridge_loss(
      key, given(params, y, z), x, y, z, scale=scale, max_weight=max_weight, axis_name=axis_name
    )
    return jnp.mean(loss), (model_state, {})

  def interpolate(
    params: Params, key: jax.Array, before: jax.Array, after: jax.Array, *, times: ArrayLike
  ) -> tuple[jax.Array, jax.Array]:
    fn = given(params, before, after)
    run: dict[str, Any] = {"times": times, "scale": scale, "axis_name": axis_name}
    return bridges.consecutive_bridge(key, fn, before, after, **run)

  return FrameInterpolation(objective, interpolate)
