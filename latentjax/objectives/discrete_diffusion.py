"""Diffusion models of tokens or bits (D3PM, VQ-Diffusion, binary latent diffusion, masked diffusion)."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_range
from latentjax.diffusion.discrete import DiscreteProcess
from latentjax.losses.score import TimeSampler, antithetic_times, discrete_loss
from latentjax.objectives.latent_model import Batch, Metrics, Objective, Params, take_feature

__all__ = ["discrete_diffusion"]


def discrete_diffusion(
  predict_fn: Callable[[Params, jax.Array, jax.Array, Any], jax.Array],
  *,
  process: DiscreteProcess,
  num_steps: int | None = None,
  bound_weight: ArrayLike = 1.0,
  auxiliary_weight: ArrayLike = 0.0,
  time_sampler: TimeSampler = antithetic_times,
  feature: str = "tokens",
  condition: str | None = None,
  axis_name: str | None = None,
) -> Objective:
  """Mean over the batch of the variational bound and the auxiliary cross entropy, per token.

  - D3PM and VQ-Diffusion: the bound of a chain of num_steps, and a small auxiliary weight.
  - Masked diffusion (MDLM, MD4): `absorbing`, num_steps None, the bound alone.
  - Binary latent diffusion: `bernoulli`, auxiliary weight 1, and a small weight of one step's divergence,
    which is the bound's over num_steps; predict_fn makes its logits with `logits_from_flips`.

  `diffusion.discrete.ancestral` samples.

  Args:
    predict_fn: `(params, x_t, t, condition) -> logits` of p(x_0 | x_t), for int32 x_t (B, ...) and t (B,),
      shape (B, ..., K); condition is the batch's, or None.
    process: the discrete process.
    num_steps: of the chain; None: continuous time.
    bound_weight: not negative. Can be traced.
    auxiliary_weight: of -log p(x_0 | x_t) at all places, not negative. Can be traced.
    time_sampler: `(key, *, batch_size, axis_name) -> t`, uniform.
    feature: name of the batch's tokens, integers (B, ...).
    condition: name of the batch's array to condition on; None: no condition.
    axis_name: mapped device axis over which the batch is split, inside `pmap` or `shard_map`; every
      device must have the same key.

  Returns:
    `objective(params, model_state, key, batch) -> (loss, (model_state, metrics))`, the loss in nats per
    token. The metrics bound and cross_entropy are its unweighted parts.

  Raises:
    KeyError: if a batch lacks an array.
    TypeError: if an array has the wrong dtype.
    ValueError: if a shape does not fit or a weight is negative.

  References:
    Austin et al., Structured Denoising Diffusion Models in Discrete State-Spaces, 2021.
      arXiv:2107.03006
    Gu et al., Vector Quantized Diffusion Model for Text-to-Image Synthesis, 2022. arXiv:2111.14822
    Wang et al., Binary Latent Diffusion, 2023. arXiv:2304.04820
  """
  check_range(0.0, bound_weight=bound_weight, auxiliary_weight=auxiliary_weight)

  def objective(
    params: Params, model_state: Any, key: jax.Array, batch: Batch
  ) -> tuple[jax.Array, tuple[Any, Metrics]]:
    x = take_feature(batch, feature)
    given = None if condition is None else take_feature(batch, condition)
    parts = discrete_loss(
      key,
      lambda x_t, t: predict_fn(params, x_t, t, given),
      x,
      process=process,
      num_steps=num_steps,
      time_sampler=time_sampler,
      axis_name=axis_name,
    )
    size = x.size / x.shape[0]
    metrics: Metrics = {name: jnp.mean(part) / size for name, part in parts._asdict().items()}
    loss = jnp.add(bound_weight * metrics["bound"], auxiliary_weight * metrics["cross_entropy"])
    return loss, (model_state, metrics)

  return objective
