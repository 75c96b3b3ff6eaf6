"""CrossFlow: one modality flows into another, without noise or conditioning."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_range
from latentjax.losses.contrastive import clip_loss, l2_normalize
from latentjax.losses.score import TimeSampler, antithetic_times, cross_flow_loss
from latentjax.objectives.latent_model import Batch, Metrics, Objective, Params, take_feature

__all__ = ["CrossFlowModel", "cross_flow"]


class CrossFlowModel(NamedTuple):
  """A training objective and the estimate of the data that it trains.

  Attributes:
    objective: `(params, model_state, key, batch) -> (loss, (model_state, metrics))`.
    denoise: `(params, z_t, t, paired=1) -> x_hat`, the mean of the data given z_t (B, ...) at times (B,)
      or (). Samplers take it, with the process `rectified_flow` and the source's latent as x_init; with
      paired 0 and 1 it is both branches of classifier-free guidance.
  """

  objective: Objective
  denoise: Callable[..., jax.Array]


def cross_flow(
  encode_fn: Callable[[Params, Any], tuple[jax.Array, jax.Array | None]],
  velocity_fn: Callable[[Params, jax.Array, jax.Array, jax.Array], jax.Array],
  *,
  align_fn: Callable[[Params, jax.Array], jax.Array] | None = None,
  kl_weight: ArrayLike = 1e-2,
  align_weight: ArrayLike = 1.0,
  logit_scale: ArrayLike = 10.0,
  drop_rate: float = 0.1,
  time_sampler: TimeSampler = antithetic_times,
  source: str = "text",
  target: str = "image",
  axis_name: str | None = None,
  block_size: int | None = None,
) -> CrossFlowModel:
  """Flow matching from a variational encoder of the source, which is trained with it.

  The loss is the flow's, per entry, plus kl_weight times the divergence, in nats, plus align_weight
  times the contrastive loss between the source's latents as drawn and features of the data, which keeps
  what the source says in the latent in spite of its noise. The flow alone would rather start in a point,
  from which z_t / (1 - t) is the data: only the divergence keeps the source wide.

  Args:
    encode_fn: `(params, y) -> (mean, log_scale)` of q(z | y), each of the shape of the data (B, ...);
      log_scale None: no noise.
    velocity_fn: `(params, z_t, t, c) -> velocity` (B, ...), with c int32 (B,) whether source and data
      belong together.
    align_fn: `(params, x) -> features` of the data, (B, D) with D entries of a latent; None: no
      contrastive loss.
    kl_weight: of the sum over a latent's entries, as in the authors' code; not negative. Can be traced.
    align_weight: not negative. Can be traced.
    logit_scale: of the contrastive loss, positive. Can be traced.
    drop_rate: see `cross_flow_loss`.
    time_sampler: `(key, *, batch_size, axis_name) -> t`.
    source: name of the batch's source y.
    target: name of the batch's data x, floating point, shape (B, ...).
    axis_name: mapped device axis over which the batch is split, inside `pmap` or `shard_map`; every
      device must have the same key.
    block_size: rows at a time in the contrastive loss, see `clip_loss`.

  Returns:
    CrossFlowModel. Metrics: flow, kl and align, the unweighted parts.

  Raises:
    KeyError: if a batch lacks an array.
    ValueError: if a number is out of range or a shape does not fit.

  References:
    Liu et al., Flowing from Words to Pixels: A Noise-Free Framework for Cross-Modality Evolution,
      2024. arXiv:2412.15213
  """
  check_range(0.0, kl_weight=kl_weight, align_weight=align_weight)
  check_range(0.0, 1.0, drop_rate=drop_rate)

  def objective(
    params: Params, model_state: Any, key: jax.Array, batch: Batch
  ) -> tuple[jax.Array, tuple[Any, Metrics]]:
    x = take_feature(batch, target)
    mean, log_scale = encode_fn(params, take_feature(batch, source))
    parts = cross_flow_loss(
      key,
      lambda z_t, t, c: velocity_fn(params, z_t, t, c),
      x,
      mean,
      log_scale=log_scale,
      drop_rate=drop_rate,
      time_sampler=time_sampler,
      axis_name=axis_name,
    )
    metrics = {"flow": jnp.mean(parts.flow) / (x.size / x.shape[0]), "kl": jnp.mean(parts.kl)}
    loss = metrics["flow"] + kl_weight * metrics["kl"]
    if align_fn is not None:
      pair = l2_normalize(align_fn(params, x)), l2_normalize(parts.source.reshape(len(x), -1))
      run: dict[str, Any] = {"axis_name": axis_name, "block_size": block_size}
      metrics["align"] = jnp.mean(clip_loss(*pair, logit_scale=logit_scale, **run))
      loss += align_weight * metrics["align"]
    return loss, (model_state, metrics)

  def denoise(params: Params, z_t: jax.Array, t: ArrayLike, paired: ArrayLike = 1) -> jax.Array:
    t = jnp.broadcast_to(t, z_t.shape[:1])
    velocity = velocity_fn(params, z_t, t, jnp.broadcast_to(paired, t.shape))
    return z_t - t.reshape(-1, *(1,) * (z_t.ndim - 1)) * velocity

  return CrossFlowModel(objective, denoise)
