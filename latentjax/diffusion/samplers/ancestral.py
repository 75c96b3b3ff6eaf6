"""DDPM's ancestral sampling and DDIM, which are one family of steps."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from latentjax.checks import check_choice, check_range, wide_dtype
from latentjax.diffusion.processes import Process
from latentjax.diffusion.processes.predictions import draw_noise
from latentjax.diffusion.samplers._steps import (
  DenoiseFn,
  Step,
  check_times,
  levels,
  pairs,
  share_resolved,
  wide,
)

__all__ = ["ddim", "ddpm"]


def ddpm(
  key: jax.Array,
  denoise_fn: DenoiseFn,
  x_init: ArrayLike,
  *,
  process: Process,
  times: ArrayLike,
  variance: str = "small",
  axis_name: str | None = None,
) -> jax.Array:
  r"""Ancestral sampling: every step draws from the posterior of the step before, given x0's estimate.

  .. math::

    z_s \sim N\Big(\frac{\alpha_t \sigma_s^2}{\alpha_s \sigma_t^2} z_t + \alpha_s r \hat x(z_t, t), \;
    r \, \sigma_s^2 I\Big), \qquad r = 1 - \frac{\mathrm{SNR}_t}{\mathrm{SNR}_s}

  with the variance of q(z_s | z_t, x) ("small"), right if the data is a point, or r sigma_t^2, that of
  q(z_t | z_s) ("large"), right if it is standard normal. The step to sigma = 0 has none.

  Args:
    key: random key.
    denoise_fn: `(x_t, t) -> x0_hat`, the mean of the data given x_t; t of shape ().
    x_init: z at times[0], shape (B, ...).
    process: alpha, sigma and log_snr.
    times: falling, shape (N + 1,).
    variance: "small" or "large".
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`; a row's
      noise does not depend on how.

  Returns:
    z at times[-1], the shape and dtype of x_init. Gradient flows through all steps.

  Raises:
    TypeError: if an array is not floating point.
    ValueError: if times are not of shape (N + 1,) or do not fall, or variance is unknown.

  Example:
    >>> from latentjax.diffusion.processes import vp_cosine
    >>> denoise = lambda x, t: jnp.full_like(x, 3.0)  # data that is one point
    >>> x = ddpm(
    ...   jax.random.key(0), denoise, jnp.zeros((2, 1)), process=vp_cosine(), times=jnp.linspace(1, 0, 9)
    ... )
    >>> x.tolist()
    [[3.0], [3.0]]

  References:
    Ho et al., Denoising Diffusion Probabilistic Models, 2020. arXiv:2006.11239
    Kingma et al., Variational Diffusion Models, 2021 (in terms of the SNR). arXiv:2107.00630
  """
  check_choice(("small", "large"), variance=variance)
  x, times = jnp.asarray(x_init), check_times(times, x_init)
  step = pairs(levels(process, times))
  sigma = step.next.sigma if variance == "small" else step.now.sigma
  # The last step, to data without noise, is to the mean.
  deviation = jnp.where(step.next.sigma > 0, jnp.sqrt(share_resolved(step)) * sigma, 0)
  return _sample(key, denoise_fn, x, step, jnp.ones_like(sigma), deviation, axis_name)


def ddim(
  key: jax.Array,
  denoise_fn: DenoiseFn,
  x_init: ArrayLike,
  *,
  process: Process,
  times: ArrayLike,
  eta: ArrayLike = 0.0,
  axis_name: str | None = None,
) -> jax.Array:
  r"""DDIM: from deterministic, the probability-flow ODE's own steps, to ancestral.

  .. math::

    z_s = \alpha_s \hat x + \sqrt{1 - \eta^2 r} \; \sigma_s \hat \epsilon + \eta \sqrt r \, \sigma_s
    \epsilon', \qquad r = 1 - \frac{\mathrm{SNR}_t}{\mathrm{SNR}_s}, \quad
    \hat\epsilon = \frac{z_t - \alpha_t \hat x}{\sigma_t}

  eta = 1 is `ddpm`; eta = 0 draws nothing and is `euler`.

  Args:
    key: random key; without a use for eta = 0.
    denoise_fn: `(x_t, t) -> x0_hat`, the mean of the data given x_t; t of shape ().
    x_init: z at times[0], shape (B, ...).
    process: alpha, sigma and log_snr.
    times: falling, shape (N + 1,).
    eta: in [0, 1]. Can be traced.
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`; a row's
      noise does not depend on how.

  Returns:
    z at times[-1], the shape and dtype of x_init. Gradient flows through all steps.

  Raises:
    TypeError: if an array is not floating point.
    ValueError: if times are not of shape (N + 1,) or do not fall, or eta is not in [0, 1].

  Example:
    >>> from latentjax.diffusion.processes import rectified_flow
    >>> denoise = lambda x, t: jnp.ones_like(x)
    >>> times, process = jnp.linspace(1.0, 0.5, 5), rectified_flow()
    >>> ddim(jax.random.key(0), denoise, jnp.array([[3.0]]), process=process, times=times).tolist()
    [[2.0]]

  References:
    Song et al., Denoising Diffusion Implicit Models, 2021. arXiv:2010.02502
  """
  check_range(0.0, 1.0, eta=eta)
  x, times = jnp.asarray(x_init), check_times(times, x_init)
  # Asked before `asarray`, which under jit makes a tracer of any number.
  draws = isinstance(eta, jax.core.Tracer) or bool(np.asarray(eta) > 0)
  eta = jnp.asarray(eta, times.dtype)
  step = pairs(levels(process, times))
  deviation = eta * jnp.sqrt(share_resolved(step)) * step.next.sigma
  return _sample(key, denoise_fn, x, step, eta, deviation if draws else None, axis_name)


def _sample(
  key: jax.Array,
  denoise_fn: DenoiseFn,
  x_init: jax.Array,
  step: Step,
  eta: jax.Array,
  deviation: jax.Array | None,
  axis_name: str | None,
) -> jax.Array:
  """All numbers of the steps (N,) are computed before the loop, which is left three of them each."""
  denoise = wide(denoise_fn, x_init.dtype)
  h = (step.next.log_snr - step.now.log_snr) / 2
  # log sqrt(1 - eta^2 r); z_s = kept z_t + gained x0 in a form that no small or infinite step spoils.
  log_kept = jnp.log1p(-jnp.square(eta) * share_resolved(step)) / 2
  kept = step.next.sigma / step.now.sigma * jnp.exp(log_kept)
  gained = -step.next.alpha * jnp.expm1(log_kept - h)
  keys = None if deviation is None else jax.random.split(key, h.shape[0])

  def advance(x: jax.Array, inputs: tuple) -> tuple[jax.Array, None]:
    t, kept, gained, deviation, key = inputs
    x = kept * x + gained * denoise(x, t)
    if deviation is not None:
      x += deviation * draw_noise(key, x, axis_name)
    return x, None

  x = x_init.astype(wide_dtype(x_init))
  x, _ = jax.lax.scan(advance, x, (step.now.t, kept, gained, deviation, keys))
  return x.astype(x_init.dtype)
