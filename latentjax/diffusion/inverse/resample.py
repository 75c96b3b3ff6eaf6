"""ReSample: hard data consistency at some steps, and a way back to the noisy points from there."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from latentjax.checks import check_float, check_range, check_rank, check_same_shape, wide_dtype
from latentjax.diffusion.processes import Process
from latentjax.diffusion.processes.predictions import draw_noise
from latentjax.diffusion.samplers import ddim
from latentjax.diffusion.samplers._steps import (
  DenoiseFn,
  check_times,
  levels,
  pairs,
  share_resolved,
)

__all__ = ["resample", "stochastic_resample"]


def stochastic_resample(
  key: jax.Array,
  x0: ArrayLike,
  x_t: ArrayLike,
  t: ArrayLike,
  *,
  process: Process,
  scale: ArrayLike,
  axis_name: str | None = None,
) -> jax.Array:
  r"""A noisy point of clean data that stays near a given one: a product of two normal densities.

  .. math::

    z_t \sim N(z; \alpha_t x_0, \sigma_t^2 I) \, N(z; z'_t, v I) =
    N\Big(\frac{v \, \alpha_t x_0 + \sigma_t^2 z'_t}{v + \sigma_t^2}, \;
    \frac{v \, \sigma_t^2}{v + \sigma_t^2} I\Big)

  Its variance is below that of new noise, sigma_t^2, for every v = scale^2; v to infinity is new noise.

  Args:
    key: random key.
    x0: data that agrees with a measurement, shape (B, ...).
    x_t: z' at time t, from an unconditional step, the same shape.
    t: time in [0, 1], shape ().
    process: alpha and sigma.
    scale: standard deviation around x_t, not negative. Can be traced.
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`.

  Returns:
    z_t, the shape and dtype of x_t; alpha_t x_0 where there is no noise. Gradient flows to both points and
    the scale.

  Raises:
    TypeError: if an array is not floating point.
    ValueError: if the shapes differ or scale is negative.

  Example:
    >>> from latentjax.diffusion.processes import rectified_flow
    >>> x0, x_t = jnp.full((1, 2), 4.0), jnp.ones((1, 2))
    >>> stochastic_resample(
    ...   jax.random.key(0), x0, x_t, 0.0, process=rectified_flow(), scale=1.0
    ... ).tolist()
    [[4.0, 4.0]]

  References:
    Song et al., Solving Inverse Problems with Latent Diffusion Models via Hard Data Consistency, 2023.
      arXiv:2307.08123
  """
  check_float(x0=x0, x_t=x_t)
  check_same_shape(x0=x0, x_t=x_t)
  check_rank(0, t=t)
  check_range(0.0, scale=scale)
  x_t = jnp.asarray(x_t)
  wide = wide_dtype(x_t)
  t = jnp.asarray(t, wide)
  alpha, noise, near = process.alpha(t), jnp.square(process.sigma(t)), jnp.square(scale)
  total = noise + near
  trust = jnp.where(noise > 0, near / jnp.where(noise > 0, total, 1), 1)
  mean = trust * alpha * jnp.asarray(x0, wide) + (1 - trust) * x_t
  variance = trust * noise
  spread = jnp.where(variance > 0, jnp.sqrt(jnp.where(variance > 0, variance, 1)), 0)
  return (mean + spread * draw_noise(key, x_t.astype(wide), axis_name)).astype(x_t.dtype)


def resample(
  key: jax.Array,
  denoise_fn: DenoiseFn,
  consistent_fn: Callable[[jax.Array, jax.Array], jax.Array],
  x_init: ArrayLike,
  *,
  process: Process,
  times: ArrayLike,
  where: ArrayLike | None = None,
  gamma: ArrayLike = 40.0,
  eta: ArrayLike = 0.0,
  axis_name: str | None = None,
) -> jax.Array:
  r"""DDIM that at some steps replaces the estimate of the data by one that agrees with the measurement.

  .. math::

    z_s \sim N(z; \alpha_s \hat x(y), \sigma_s^2 I) \, N(z; z'_s, v_s I), \qquad
    v_s = \gamma \, \sigma_s^2 \Big(1 - \frac{\mathrm{SNR}_t}{\mathrm{SNR}_s}\Big)

  with z'_s the unconditional step and x_hat(y) of the estimate at z_t, see `stochastic_resample`; gamma is
  in units of the variance of an ancestral step. The formula of v is that of the authors' code, for
  variance-preserving processes, where it also takes steps of DPS in between and goes through the last
  steps before again; neither is here, as in the paper's algorithm.

  Args:
    key: random key.
    denoise_fn: `(x_t, t) -> x0_hat`, the mean of the data given x_t; t of shape ().
    consistent_fn: `(x0_hat, t) -> x0(y)`, such as `hard_data_consistency` of a decoder and a measurement;
      early steps may do it in the decoder's outputs and encode again, which the paper does to save time.
    x_init: z at times[0], shape (B, ...).
    process: alpha, sigma and log_snr.
    times: falling, shape (N + 1,).
    where: which steps end so, booleans, shape (N,); None: every tenth of the last two thirds, counted from
      the last one, which is one of them.
    gamma: positive. Can be traced.
    eta: of the unconditional steps, in [0, 1], see `ddim`.
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`.

  Returns:
    z at times[-1], the shape and dtype of x_init; if that is without noise and the last step is one of
    those, what consistent_fn returns. Gradient flows through all steps.

  Raises:
    TypeError: if an array is not floating point.
    ValueError: if times are not of shape (N + 1,) or do not fall, where is not of shape (N,), or a number
      is out of range.

  Example:
    >>> from latentjax.diffusion.inverse import hard_data_consistency
    >>> from latentjax.diffusion.processes import vp_cosine
    >>> denoise = lambda x, t: vp_cosine().alpha(t) * x  # standard normal data
    >>> fit = lambda x0, t: hard_data_consistency(lambda x: x[:, :1], x0, jnp.array([[3.0]]))
    >>> times = jnp.linspace(1.0, 0.0, 31)
    >>> x = resample(jax.random.key(0), denoise, fit, jnp.ones((1, 2)), process=vp_cosine(), times=times)
    >>> round(float(x[0, 0]), 4)
    3.0

  References:
    Song et al., Solving Inverse Problems with Latent Diffusion Models via Hard Data Consistency, 2023.
      arXiv:2307.08123
  """
  check_range(0.0, strict=True, gamma=gamma)
  x_init, times = jnp.asarray(x_init), check_times(times, x_init)
  num_steps = times.shape[0] - 1
  if where is None:
    index = np.arange(num_steps)
    where = (index >= num_steps // 3) & ((num_steps - 1 - index) % 10 == 0)
  if jnp.shape(where) != (num_steps,):
    raise ValueError(
      f"where must have shape {(num_steps,)}, one for each step, got {jnp.shape(where)}"
    )
  steps = pairs(levels(process, times))
  spread = jnp.sqrt(jnp.asarray(gamma, times.dtype) * share_resolved(steps)) * steps.next.sigma

  def advance(x: jax.Array, inputs: tuple) -> tuple[jax.Array, None]:
    now_and_next, key, chosen, spread = inputs
    key_step, key_back = jax.random.split(key)
    x0 = denoise_fn(x, now_and_next[0])
    step: dict[str, Any] = {"process": process, "axis_name": axis_name}
    x = ddim(key_step, lambda x, t: x0, x, times=now_and_next, eta=eta, **step)

    def back(x: jax.Array) -> jax.Array:
      fitted = consistent_fn(x0, now_and_next[0]).astype(x.dtype)
      return stochastic_resample(key_back, fitted, x, now_and_next[1], scale=spread, **step)

    return jax.lax.cond(chosen, back, lambda x: x, x), None

  times_of_steps = jnp.stack([times[:-1], times[1:]], axis=1)
  inputs = times_of_steps, jax.random.split(key, num_steps), jnp.asarray(where, bool), spread
  return jax.lax.scan(advance, x_init, inputs)[0]
