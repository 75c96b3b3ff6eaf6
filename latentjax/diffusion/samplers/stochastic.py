"""The reverse SDE: Euler-Maruyama, and predictors with Langevin steps that correct them."""

from functools import partial

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_choice, check_range, wide_dtype
from latentjax.collectives import device_mean
from latentjax.diffusion.processes import Process, drift_and_diffusion
from latentjax.diffusion.processes.coefficients import check_log_snr
from latentjax.diffusion.processes.predictions import draw_noise
from latentjax.diffusion.samplers._steps import (
  DenoiseFn,
  Levels,
  Step,
  check_times,
  ddim_step,
  levels,
  noise_of,
  pairs,
  share_resolved,
  wide,
)

__all__ = ["euler_maruyama", "predictor_corrector"]


def euler_maruyama(
  key: jax.Array,
  denoise_fn: DenoiseFn,
  x_init: ArrayLike,
  *,
  process: Process,
  times: ArrayLike,
  axis_name: str | None = None,
) -> jax.Array:
  r"""Reverse SDE by the Euler-Maruyama method, of weak order 1.

  .. math::

    z_s = z_t - (t - s) \big(f_t z_t - g_t^2 \nabla \log p_t(z_t)\big) + \sqrt{t - s} \; g_t \epsilon, \qquad
    \nabla \log p_t(z_t) = \frac{\alpha_t \hat x - z_t}{\sigma_t^2}

  with f and g those of `drift_and_diffusion`. Unlike the other samplers it has the process's slopes in it,
  so it needs finite ones: no time but the last may have alpha = 0 or sigma = 0.

  Args:
    key: random key.
    denoise_fn: `(x_t, t) -> x0_hat`, the mean of the data given x_t; t of shape ().
    x_init: z at times[0], shape (B, ...).
    process: alpha, sigma and log_snr.
    times: falling, shape (N + 1,).
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`; a row's
      noise does not depend on how.

  Returns:
    z at times[-1], the shape and dtype of x_init. Gradient flows through all steps.

  Raises:
    TypeError: if an array is not floating point.
    ValueError: if times are not of shape (N + 1,) or do not fall, or alpha is 0 at the first.

  Example:
    >>> from latentjax.diffusion.processes import vp_linear
    >>> given = {"process": vp_linear(), "times": jnp.linspace(1.0, 0.0, 101)}
    >>> euler_maruyama(jax.random.key(0), lambda x, t: 0.0 * x, jnp.ones((4, 2)), **given).shape
    (4, 2)

  References:
    Song et al., Score-Based Generative Modeling through Stochastic Differential Equations, 2021.
      arXiv:2011.13456
  """
  x_init, times = jnp.asarray(x_init), check_times(times, x_init)
  check_log_snr(process, **{"times[0]": times[0]})
  denoise = wide(denoise_fn, x_init.dtype)
  steps = pairs(levels(process, times))
  f, g_squared = drift_and_diffusion(steps.now.t, process=process)
  length = steps.now.t - steps.next.t

  def advance(x: jax.Array, inputs: tuple) -> tuple[jax.Array, None]:
    now, length, f, g_squared, key = inputs
    drift = f * x - g_squared * _score(x, denoise(x, now.t), now)
    return x - length * drift + jnp.sqrt(length * g_squared) * draw_noise(key, x, axis_name), None

  inputs = steps.now, length, f, g_squared, jax.random.split(key, length.shape[0])
  x, _ = jax.lax.scan(advance, x_init.astype(wide_dtype(x_init)), inputs)
  return x.astype(x_init.dtype)


def predictor_corrector(
  key: jax.Array,
  denoise_fn: DenoiseFn,
  x_init: ArrayLike,
  *,
  process: Process,
  times: ArrayLike,
  predictor: str = "reverse_diffusion",
  num_corrections: int = 1,
  signal_to_noise: ArrayLike = 0.16,
  axis_name: str | None = None,
) -> jax.Array:
  r"""Every step to a new time is followed by steps of Langevin dynamics at that time.

  Predictors: "ancestral", a step of `ddpm`, and "reverse_diffusion", the reverse of the chain
  z_t = a z_s + g eps with its own coefficients,

  .. math::

    z_s = (2 - a) z_t + g^2 \nabla \log p_t(z_t) + g \epsilon, \qquad a = \frac{\alpha_t}{\alpha_s}, \quad
    g^2 = \sigma_t^2 - a^2 \sigma_s^2

  Corrector, with a step that holds the ratio r of signal to noise:

  .. math::

    z_s \leftarrow z_s + \eta \nabla \log p_s(z_s) + \sqrt{2 \eta} \, \epsilon, \qquad
    \eta = 2 \Big(r \frac{\overline{\|\epsilon\|}}{\overline{\|\nabla \log p_s(z_s)\|}}\Big)^2

  Norms are means over the batch, as in the authors' code, whose step for variance-preserving processes has
  another factor a^2 that tends to 1 with the number of steps; it is left out. At sigma = 0 nothing is
  corrected, and the step there draws no noise.

  Args:
    key: random key, the same on every device.
    denoise_fn: `(x_t, t) -> x0_hat`, the mean of the data given x_t; t of shape ().
    x_init: z at times[0], shape (B, ...).
    process: alpha, sigma and log_snr.
    times: falling, shape (N + 1,).
    predictor: "reverse_diffusion" or "ancestral".
    num_corrections: Langevin steps after every predictor's step; 0: none.
    signal_to_noise: r, positive; 0.16 is the paper's for images of 32 x 32 under `ve`. Can be traced.
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`; a row's
      noise does not depend on how.

  Returns:
    z at times[-1], the shape and dtype of x_init. Gradient flows through all steps.

  Raises:
    TypeError: if an array is not floating point.
    ValueError: if times are not of shape (N + 1,) or do not fall, predictor is unknown, or a number is out
      of range.

  Example:
    >>> from latentjax.diffusion.processes import vp_cosine
    >>> denoise = lambda x, t: jnp.full_like(x, 3.0)
    >>> given = {"process": vp_cosine(), "times": jnp.linspace(1, 0, 9), "predictor": "ancestral"}
    >>> predictor_corrector(jax.random.key(0), denoise, jnp.zeros((1, 1)), **given).tolist()
    [[3.0]]

  References:
    Song et al., Score-Based Generative Modeling through Stochastic Differential Equations, 2021.
      arXiv:2011.13456
  """
  check_choice(("reverse_diffusion", "ancestral"), predictor=predictor)
  check_range(0, num_corrections=num_corrections)
  check_range(0.0, strict=True, signal_to_noise=signal_to_noise)
  x_init, times = jnp.asarray(x_init), check_times(times, x_init)
  denoise = wide(denoise_fn, x_init.dtype)
  predict = partial(ddim_step, eta=1.0) if predictor == "ancestral" else _reverse_diffusion

  def correct(x: jax.Array, at: Levels, key: jax.Array) -> jax.Array:
    score = _score(x, denoise(x, at.t), at)
    noise = draw_noise(key, x, axis_name)
    size = 2 * jnp.square(signal_to_noise * _norm(noise, axis_name) / _norm(score, axis_name))
    return jnp.where(at.sigma > 0, x + size * score + jnp.sqrt(2 * size) * noise, x)

  def advance(x: jax.Array, inputs: tuple) -> tuple[jax.Array, None]:
    step, key_predict, key_correct = inputs
    mean, deviation = predict(x, denoise(x, step.now.t), step)
    # The last step, to data without noise, is to the mean.
    deviation = jnp.where(step.next.sigma > 0, deviation, 0)
    x = mean + deviation * draw_noise(key_predict, x, axis_name)
    if num_corrections:
      keys = jax.random.split(key_correct, num_corrections)
      x, _ = jax.lax.scan(lambda x, key: (correct(x, step.next, key), None), x, keys)
    return x, None

  num_steps = times.shape[0] - 1
  steps, of_corrections = pairs(levels(process, times)), jax.random.fold_in(key, num_steps)
  inputs = steps, *(jax.random.split(k, num_steps) for k in (key, of_corrections))
  x, _ = jax.lax.scan(advance, x_init.astype(wide_dtype(x_init)), inputs)
  return x.astype(x_init.dtype)


def _reverse_diffusion(x: jax.Array, x0: jax.Array, step: Step) -> tuple[jax.Array, jax.Array]:
  """Mean and deviation of z_s by the coefficients of the forward chain."""
  ratio = step.now.alpha / step.next.alpha
  variance = share_resolved(step) * jnp.square(step.now.sigma)
  return (2 - ratio) * x + variance * _score(x, x0, step.now), jnp.sqrt(variance)


def _score(x: jax.Array, x0: jax.Array, at: Levels) -> jax.Array:
  """Score of z_t; where there is no noise, zero."""
  return -noise_of(x, x0, at) / jnp.where(at.sigma > 0, at.sigma, 1)


def _norm(x: jax.Array, axis_name: str | None) -> jax.Array:
  """Mean of the rows' Euclidean norms."""
  squares = jnp.sum(jnp.square(x), axis=tuple(range(1, x.ndim)))
  safe = jnp.where(squares > 0, squares, 1)
  norms = jnp.where(squares > 0, jnp.sqrt(safe), 0)
  return device_mean(jnp.mean(norms), axis_name)
