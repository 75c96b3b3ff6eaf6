"""Flows from one modality to another: the source is what an encoder makes of the other, not noise."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_alike, check_range, check_same_shape
from latentjax.collectives import draw_rows
from latentjax.densities import gaussian
from latentjax.losses.score.denoising import flow_matching_loss
from latentjax.losses.score.times import TimeSampler, antithetic_times

__all__ = ["CrossFlowLoss", "cross_flow_loss"]


class CrossFlowLoss(NamedTuple):
  """The parts of the loss, and where the flow started.

  Attributes:
    flow: squared error of the velocity, summed over its entries, shape (B,).
    kl: KL(q(z | y) || N(0, I)) in nats, shape (B,); 0 for an encoder without noise.
    source: z, which a contrastive loss takes, the shape of the data.
  """

  flow: jax.Array
  kl: jax.Array
  source: jax.Array


def cross_flow_loss(
  key: jax.Array,
  velocity_fn: Callable[[jax.Array, jax.Array, jax.Array], jax.Array],
  x: ArrayLike,
  mean: ArrayLike,
  *,
  log_scale: ArrayLike | None = None,
  drop_rate: float = 0.1,
  time_sampler: TimeSampler = antithetic_times,
  axis_name: str | None = None,
) -> CrossFlowLoss:
  r"""Flow matching from a latent of another modality, of the shape of the data, to the data.

  .. math::

    \|\hat v(z_t, t, c) - (z - x_c)\|^2, \quad \mathrm{KL}(q(z | y) \,\|\, N(0, I)), \qquad
    z_t = (1 - t) x_c + t z, \quad z \sim q(z | y) = N(\mu, \sigma^2 I)

  There is neither noise nor a condition: what the data is to be is where the flow starts, at t = 1. For
  classifier-free guidance the network is told by c whether the two belong together: with c = 1, x_1 is
  the example's own, with c = 0, at the drop rate, that of the row before in the batch. Guided,

  .. math:: \hat v = w \, \hat v(z_t, t, 1) + (1 - w) \, \hat v(z_t, t, 0)

  The paper's time runs the other way, and its velocity with it.

  Args:
    key: random key, the same on every device.
    velocity_fn: `(z_t, t, c) -> velocity`, z_t (B, ...), t (B,), c int32 (B,).
    x: data, shape (B, ...).
    mean: mu of their source, the same shape.
    log_scale: log sigma, the same shape; None: no noise, which the paper finds to be worse.
    drop_rate: share of the rows with c = 0, in [0, 1].
    time_sampler: `(key, *, batch_size, axis_name) -> t`.
    axis_name: mapped device axis over which the examples are split, inside `pmap` or `shard_map`;
      neither the noise nor the row before depends on how.

  Returns:
    CrossFlowLoss, its parts float32 or wider. Gradient flows to what velocity_fn holds, to x, mean and
    log_scale.

  Raises:
    TypeError: if an array is not floating point.
    ValueError: if the shapes differ or drop_rate is out of range.

  Example:
    >>> x, mean = jnp.zeros((4, 2)), jnp.ones((4, 2))
    >>> still = lambda z, t, c: jnp.zeros_like(z)
    >>> loss = cross_flow_loss(jax.random.key(0), still, x, mean)
    >>> loss.flow.tolist(), loss.kl.tolist()
    ([2.0, 2.0, 2.0, 2.0], [0.0, 0.0, 0.0, 0.0])

  References:
    Liu et al., Flowing from Words to Pixels: A Noise-Free Framework for Cross-Modality Evolution,
      2024. arXiv:2412.15213
  """
  check_range(0.0, 1.0, drop_rate=drop_rate)
  check_alike(jnp.ndim(x), x=x, mean=mean)
  x, z = jnp.asarray(x), jnp.asarray(mean)
  key_source, key_drop, key_flow = jax.random.split(key, 3)
  if log_scale is not None:
    check_same_shape(mean=mean, log_scale=log_scale)
    z = gaussian.sample(key_source, mean, log_scale, axis_name=axis_name)
  draws = draw_rows(key_drop, jax.random.uniform, x.shape[:1], axis_name=axis_name)
  paired = draws >= drop_rate
  partner = jnp.where(paired.reshape(-1, *(1,) * (x.ndim - 1)), x, _row_before(x, axis_name))
  flow = flow_matching_loss(
    key_flow,
    lambda z_t, t: velocity_fn(z_t, t, paired.astype(jnp.int32)),
    partner,
    z,
    time_sampler=time_sampler,
    axis_name=axis_name,
  )
  if log_scale is None:
    return CrossFlowLoss(flow, jnp.zeros_like(flow), z)
  return CrossFlowLoss(flow, gaussian.kl_standard(mean, log_scale, event_ndim=x.ndim - 1), z)


def _row_before(x: jax.Array, axis_name: str | None) -> jax.Array:
  """The row before every row in the global batch, the last before the first."""
  if axis_name is None:
    return jnp.roll(x, 1, axis=0)
  size = jax.lax.axis_size(axis_name)
  last = jax.lax.ppermute(x[-1:], axis_name, [(i, (i + 1) % size) for i in range(size)])
  return jnp.concatenate([last, x[:-1]])
