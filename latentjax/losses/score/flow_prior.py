"""A trained flow as a prior: latents are moved to where its own training loss is least."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_batch
from latentjax.diffusion.processes.predictions import draw_noise
from latentjax.losses.score.denoising import PredictFn, flow_matching_loss
from latentjax.losses.score.times import TimeSampler, antithetic_times

__all__ = ["flow_alignment_loss"]


def flow_alignment_loss(
  key: jax.Array,
  velocity_fn: PredictFn,
  y: ArrayLike,
  *,
  time_sampler: TimeSampler = antithetic_times,
  axis_name: str | None = None,
) -> jax.Array:
  r"""How badly a flow of a target distribution explains latents; a surrogate of -log p.

  .. math::

    \|\hat v(z_t, t) - (\epsilon - y)\|^2, \qquad z_t = (1 - t) y + t \epsilon, \quad \epsilon \sim N(0, I)

  Flow matching with the latents as the unknowns: up to weights of the times and a constant it bounds
  -log p(y) of the flow from above, without a solution of its ODE or a divergence. (The paper's time runs
  from noise to data.) The caller keeps the flow as it is: parameters that velocity_fn holds should be
  constants, or wrapped in `stop_gradient`.

  Args:
    key: random key, the same on every device.
    velocity_fn: `(z_t, t) -> velocity` of a rectified flow of the target, z_t (B, ...), t (B,).
    y: latents, shape (B, ...).
    time_sampler: `(key, *, batch_size, axis_name) -> t`.
    axis_name: mapped device axis over which the latents are split, inside `pmap` or `shard_map`; times and
      noise do not depend on how.

  Returns:
    Loss per latent, summed over its entries, shape (B,), float32 or wider. Gradient flows to y, through the
    target and through velocity_fn.

  Raises:
    TypeError: if y is not floating point.
    ValueError: if a shape does not fit.

  Example:
    >>> towards_zero = lambda z, t: z / t[:, None]  # the flow of data that is the point 0
    >>> loss = flow_alignment_loss(jax.random.key(0), towards_zero, jnp.array([[0.0], [2.0]]))
    >>> bool(loss[0] < 1e-6), bool(loss[1] > 1.0)
    (True, True)

  References:
    Li et al., Aligning Latent Spaces with Flow Priors, 2025. arXiv:2506.05240
  """
  check_batch(y=y)
  y = jnp.asarray(y)
  key_noise, key_loss = jax.random.split(key)
  eps = draw_noise(key_noise, y, axis_name)
  return flow_matching_loss(
    key_loss, velocity_fn, y, eps, time_sampler=time_sampler, axis_name=axis_name
  )
