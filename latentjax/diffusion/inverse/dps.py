"""Diffusion posterior sampling: the likelihood of a noisy point is that of its denoised estimate."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_float, check_range, wide_dtype
from latentjax.diffusion.inverse._misfit import MeasureFn, misfit, row_dot
from latentjax.diffusion.processes import Process
from latentjax.diffusion.processes.predictions import expand_time
from latentjax.diffusion.samplers import ddim
from latentjax.diffusion.samplers._steps import DenoiseFn, check_times

__all__ = ["dps", "posterior_denoiser"]


def dps(
  key: jax.Array,
  denoise_fn: DenoiseFn,
  measure_fn: MeasureFn,
  x_init: ArrayLike,
  measurement: ArrayLike,
  *,
  process: Process,
  times: ArrayLike,
  step_size: ArrayLike = 1.0,
  eta: ArrayLike = 1.0,
  axis_name: str | None = None,
) -> jax.Array:
  r"""Ancestral sampling with a step towards the measurement after every step (DPS).

  .. math:: z_s = z'_s - \zeta \, \nabla_{z_t} \|y - A(\hat x(z_t, t))\|

  where z'_s is the step of `ddim` with this eta, of `ddpm` for eta = 1. The gradient passes through the
  denoiser. A step of fixed length, whatever the noise of the measurement, makes a good picture but no
  sample of the posterior; `posterior_denoiser` has the noise in it. In the paper the squared norm is
  stepped down with zeta' over the norm, which is twice this gradient.

  Args:
    key: random key.
    denoise_fn: `(x_t, t) -> x0_hat`, row by row; t of shape ().
    measure_fn: A, `(x) -> y`, row by row, (B, ...) to (B, ...), differentiable.
    x_init: z at times[0], shape (B, ...).
    measurement: y, shape (B, ...).
    process: alpha, sigma and log_snr.
    times: falling, shape (N + 1,).
    step_size: zeta, not negative. Can be traced.
    eta: in [0, 1], see `ddim`.
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`.

  Returns:
    z at times[-1], the shape and dtype of x_init. Gradient flows through all steps.

  Raises:
    TypeError: if an array is not floating point.
    ValueError: if times are not of shape (N + 1,) or do not fall, the measurement has another shape than
      what measure_fn returns, or a number is out of range.

  Example:
    >>> from latentjax.diffusion.processes import vp_cosine
    >>> denoise = lambda x, t: vp_cosine().alpha(t) * x  # standard normal data
    >>> times, key = jnp.linspace(1.0, 0.0, 101), jax.random.key(0)
    >>> first = lambda x: x[:, :1]
    >>> x = dps(
    ...   key, denoise, first, jnp.zeros((2, 3)), jnp.full((2, 1), 4.0), process=vp_cosine(), times=times
    ... )
    >>> bool(jnp.all(jnp.abs(x[:, 0] - 4.0) < 1.0))
    True

  References:
    Chung et al., Diffusion Posterior Sampling for General Noisy Inverse Problems, 2022, algorithm 1.
      arXiv:2209.14687
  """
  check_range(0.0, step_size=step_size)
  x_init, times = jnp.asarray(x_init), check_times(times, x_init)
  zeta = jnp.asarray(step_size, times.dtype)

  def advance(x: jax.Array, inputs: tuple) -> tuple[jax.Array, None]:
    now_and_next, key = inputs
    x0, gradient = _towards(denoise_fn, measure_fn, measurement, x, now_and_next[0], jnp.sqrt)
    step = {"process": process, "times": now_and_next, "eta": eta, "axis_name": axis_name}
    return ddim(key, lambda x, t: x0, x, **step) - (zeta * gradient).astype(x.dtype), None

  inputs = jnp.stack([times[:-1], times[1:]], axis=1), jax.random.split(key, times.shape[0] - 1)
  return jax.lax.scan(advance, x_init, inputs)[0]


def posterior_denoiser(
  denoise_fn: DenoiseFn,
  measure_fn: MeasureFn,
  measurement: ArrayLike,
  *,
  process: Process,
  noise_scale: ArrayLike | Callable[[jax.Array], ArrayLike],
) -> DenoiseFn:
  r"""A denoiser given the measurement, for any sampler, with the approximation of DPS.

  .. math::

    E[x | z_t, y] \approx \hat x + \frac{\sigma_t^2}{\alpha_t} \nabla_{z_t} \log p(y | z_t), \qquad
    p(y | z_t) \approx N(y; A(\hat x(z_t, t)), s_t^2 I)

  The first is exact (Tweedie, for the posterior). The second is exact where x is certain given z_t: in
  truth the covariance is s^2 I + A Cov(x | z_t) A^T, and with s alone (a number, as in DPS) the
  measurement counts for too much while there is noise, and samples vary too little. A function of time
  can hold the rest: s_t^2 = s^2 + v_t is exact for data with Cov(x | z_t) = v_t I and A with orthonormal
  rows.

  Args:
    denoise_fn: `(x_t, t) -> x0_hat`, row by row; t of shape ().
    measure_fn: A, `(x) -> y`, row by row, (B, ...) to (B, ...), differentiable.
    measurement: y, shape (B, ...).
    process: alpha and sigma.
    noise_scale: s, standard deviation of the measurement's noise, positive; or s_t, a function of t.

  Returns:
    `(x_t, t) -> x0_hat` given the measurement; not finite where alpha is 0. Steps that resolve less than
    s^2 would ask for are unstable, as of any explicit method: more steps, or a larger s.

  Raises:
    TypeError: if an array is not floating point (when called).
    ValueError: if noise_scale is not positive, or the measurement has another shape than what measure_fn
      returns (when called).

  Example:
    >>> from latentjax.diffusion.processes import rectified_flow
    >>> certain = lambda x, t: x  # a denoiser
    >>> given = posterior_denoiser(
    ...   certain, lambda x: x, jnp.ones((1, 1)), process=rectified_flow(), noise_scale=1.0
    ... )
    >>> given(jnp.zeros((1, 1)), jnp.array(0.5)).tolist()
    [[0.5]]

  References:
    Chung et al., Diffusion Posterior Sampling for General Noisy Inverse Problems, 2022.
      arXiv:2209.14687
    Song et al., Pseudoinverse-Guided Diffusion Models for Inverse Problems, 2023 (s_t of time).
  """
  if not callable(noise_scale):
    check_range(0.0, strict=True, noise_scale=noise_scale)

  def denoise(x_t: jax.Array, t: jax.Array) -> jax.Array:
    check_float(x_t=x_t)
    x0, gradient = _towards(
      denoise_fn, measure_fn, measurement, x_t, t, lambda square: 0.5 * square
    )
    time = expand_time(t, x_t)
    scale = expand_time(noise_scale(t) if callable(noise_scale) else noise_scale, x_t)
    gain = jnp.square(process.sigma(time) / scale) / process.alpha(time)
    return (x0 - gain * gradient).astype(x_t.dtype)

  return denoise


def _towards(
  denoise_fn: DenoiseFn,
  measure_fn: MeasureFn,
  measurement: ArrayLike,
  x_t: jax.Array,
  t: jax.Array,
  size_of: Callable[[jax.Array], jax.Array],
) -> tuple[jax.Array, jax.Array]:
  """x0_hat, and the gradient by x_t of a function of every row's squared misfit."""

  def size(x_t: jax.Array) -> tuple[jax.Array, jax.Array]:
    x0 = denoise_fn(x_t, t)
    error = misfit(measure_fn, x0, jnp.asarray(measurement))
    square = row_dot(error, error)
    safe = jnp.where(square > 0, square, 1)  # the norm has no slope at 0
    return jnp.sum(jnp.where(square > 0, size_of(safe), 0)), x0

  gradient, x0 = jax.grad(size, has_aux=True)(x_t)
  return x0, gradient.astype(wide_dtype(x_t))
