"""Mean flows: the average velocity between two times, which samples in one step."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_alike, check_batch, check_range, wide_dtype
from latentjax.collectives import draw_rows
from latentjax.diffusion.processes import Process, noised, rectified_flow
from latentjax.diffusion.processes.predictions import draw_noise, expand_time, prediction_of
from latentjax.losses.score.times import TimeSampler, logit_normal_times

__all__ = ["mean_flow_loss"]

MeanVelocityFn = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]


def mean_flow_loss(
  key: jax.Array,
  mean_velocity_fn: MeanVelocityFn,
  x: ArrayLike,
  *,
  process: Process | None = None,
  share_apart: ArrayLike = 0.25,
  power: ArrayLike = 1.0,
  offset: ArrayLike = 1e-3,
  time_sampler: TimeSampler | None = None,
  axis_name: str | None = None,
) -> jax.Array:
  r"""Squared violation of the identity between average and instantaneous velocity.

  .. math::

    \frac{\|\Delta\|^2}{\mathrm{sg}[\|\Delta\|^2 + c]^p}, \qquad
    \Delta = u(z_t, s, t) - \mathrm{sg}\big[v - (t - s) (v \, \partial_z u + \partial_t u)\big], \quad
    v = \dot\alpha_t x + \dot\sigma_t \epsilon

  In the minimum (t - s) u = z_t - z_s on the paths of the probability-flow ODE, so that z_s = z_t - (t - s) u
  is its solution in one step; u(z, t, t) is the instantaneous velocity, and for s = t the loss is flow
  matching. The derivative along the path is one Jacobian-vector product.

  Args:
    key: random key, the same on every device.
    mean_velocity_fn: u, `(z_t, s, t) -> velocity`, z_t (B, ...), s and t (B,), s <= t.
    x: data, shape (B, ...).
    process: alpha and sigma; None: `rectified_flow()`, where v = eps - x.
    share_apart: share of the rows with s < t, in [0, 1]; the others have s = t. Can be traced.
    power: p of the weight; 0: the squared error. Can be traced.
    offset: c, positive. Can be traced.
    time_sampler: `(key, *, batch_size, axis_name) -> t`, drawn twice and sorted; None:
      logit-normal of mean -0.4.
    axis_name: mapped device axis over which the examples are split, inside `pmap` or `shard_map`; times
      and noise do not depend on how.

  Returns:
    Loss per example, summed over its entries, shape (B,), float32 or wider. Gradient flows through
    u(z_t, s, t) alone; the target and the weight are detached.

  Raises:
    TypeError: if an array is not floating point.
    ValueError: if a shape does not fit, share_apart is not in [0, 1] or offset is not positive.

  Example:
    >>> straight = lambda z, s, t: z / t[:, None]  # exact for data that is the point 0
    >>> loss = mean_flow_loss(jax.random.key(0), straight, jnp.zeros((4, 2)))
    >>> bool((loss < 1e-6).all())
    True

  References:
    Geng et al., Mean Flows for One-step Generative Modeling, 2025. arXiv:2505.13447
  """
  check_batch(x=x)
  check_range(0.0, 1.0, share_apart=share_apart)
  check_range(0.0, strict=True, offset=offset)
  x, process = jnp.asarray(x), process or rectified_flow()
  s, t, key_noise = _two_times(key, x, time_sampler, share_apart, axis_name)
  eps = draw_noise(key_noise, x, axis_name)
  velocity = prediction_of(x, eps, t, process=process, prediction="velocity")
  z_t = noised(x, eps, t, process=process)
  tangents = velocity, jnp.zeros_like(s), jnp.ones_like(t)
  u, change = jax.jvp(mean_velocity_fn, (z_t, s, t), tangents)
  check_alike(x.ndim, x=x, mean_velocity=u)
  wide = wide_dtype(x)
  target = velocity.astype(wide) - expand_time(t - s, x) * change.astype(wide)
  error = jnp.square(u.astype(wide) - jax.lax.stop_gradient(target))
  squared = jnp.sum(error, axis=tuple(range(1, x.ndim)))
  return squared / jax.lax.stop_gradient(squared + offset) ** power


def _two_times(
  key: jax.Array,
  x: jax.Array,
  time_sampler: TimeSampler | None,
  share_apart: ArrayLike,
  axis_name: str | None,
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Times s <= t, (B,), and a key for noise."""
  key_first, key_second, key_apart, key_noise = jax.random.split(key, 4)

  def draw(key: jax.Array) -> jax.Array:
    if time_sampler is None:
      return logit_normal_times(key, batch_size=x.shape[0], mean=-0.4, axis_name=axis_name)
    return time_sampler(key, batch_size=x.shape[0], axis_name=axis_name)

  first, second = draw(key_first), draw(key_second)
  apart = draw_rows(key_apart, jax.random.uniform, x.shape[:1], axis_name=axis_name) < share_apart
  t = jnp.maximum(first, second)
  return jnp.where(apart, jnp.minimum(first, second), t), t, key_noise
