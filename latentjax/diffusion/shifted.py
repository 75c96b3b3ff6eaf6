"""A process around a known point instead of the origin, such as a reconstruction of the data."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_alike, wide_dtype
from latentjax.diffusion.processes import Process, noised
from latentjax.diffusion.processes.predictions import expand_time

__all__ = ["shifted_noised", "shifted_posterior", "shifted_sampler"]

Sampler = Callable[..., jax.Array]


def shifted_noised(
  x: ArrayLike, shift: ArrayLike, eps: ArrayLike, t: ArrayLike, *, process: Process
) -> jax.Array:
  r"""The process at time t whose noise is around a point that is known, such as a reconstruction.

  .. math:: z_t = \alpha_t x + \hat x + \sigma_t \epsilon

  It ends at N(x_hat, sigma_1^2 I) where alpha_1 = 0, and starts at x + x_hat: the shift is the same at
  all times, so z_t - x_hat is the process without it.

  Args:
    x: data, shape (B, ...).
    shift: x_hat, the same shape.
    eps: standard normal noise, the same shape.
    t: times in [0, 1], shape (B,) or ().
    process: alpha and sigma.

  Returns:
    z_t, the shape and dtype of x. Gradient flows to all arguments.

  Raises:
    TypeError: if an array is not floating point.
    ValueError: if the shapes do not fit.

  Example:
    >>> from latentjax.diffusion.processes import rectified_flow
    >>> x, shift, eps = jnp.ones((1, 1)), jnp.full((1, 1), 5.0), jnp.zeros((1, 1))
    >>> shifted_noised(x, shift, eps, 0.25, process=rectified_flow()).tolist()
    [[5.75]]

  References:
    Pandey et al., DiffuseVAE: Efficient, Controllable and High-Fidelity Generation from
      Low-Dimensional Latents, 2022 (formulation 2). arXiv:2201.00308
  """
  check_alike(jnp.ndim(x), x=x, shift=shift)
  z = noised(x, eps, t, process=process)
  return z + jnp.asarray(shift, z.dtype)


def shifted_posterior(
  x_t: ArrayLike,
  x: ArrayLike,
  shift: ArrayLike,
  t: ArrayLike,
  s: ArrayLike,
  *,
  process: Process,
) -> tuple[jax.Array, jax.Array]:
  r"""Where the shifted process was at an earlier time s, given data and z_t: a normal distribution.

  .. math::

    q(z_s | z_t, x, \hat x) = N\Big(c z_t + \alpha_s r x + (1 - c) \hat x, \; r \sigma_s^2 I\Big), \quad
    c = \frac{\alpha_t \sigma_s^2}{\alpha_s \sigma_t^2}, \quad
    r = 1 - \frac{\mathrm{SNR}_t}{\mathrm{SNR}_s}

  Args:
    x_t: z_t, shape (B, ...).
    x: data, the same shape.
    shift: x_hat, the same shape.
    t: times in (0, 1], shape (B,) or ().
    s: earlier times, shape (B,) or ().
    process: alpha, sigma and log_snr.

  Returns:
    Its mean, the shape and dtype of x_t, and its standard deviation, which broadcasts to it, float32 or
    wider. Gradient flows to x_t, x and shift.

  Raises:
    TypeError: if an array is not floating point.
    ValueError: if the shapes do not fit.

  Example:
    >>> from latentjax.diffusion.processes import rectified_flow
    >>> x_t, x, shift = jnp.full((1, 1), 7.0), jnp.ones((1, 1)), jnp.full((1, 1), 5.0)
    >>> mean, scale = shifted_posterior(x_t, x, shift, 0.5, 0.0, process=rectified_flow())
    >>> mean.tolist(), float(scale)  # without noise: the data and the shift
    ([[6.0]], 0.0)

  References:
    Pandey et al., DiffuseVAE: Efficient, Controllable and High-Fidelity Generation from
      Low-Dimensional Latents, 2022 (formulation 2). arXiv:2201.00308
  """
  check_alike(jnp.ndim(x_t), x_t=x_t, x=x, shift=shift)
  x_t = jnp.asarray(x_t)
  x, shift = (jnp.asarray(array, wide_dtype(x_t)) for array in (x, shift))
  t, s = expand_time(t, x_t), expand_time(s, x_t)
  alpha_t, alpha_s, sigma_t, sigma_s = (
    fn(time) for fn in (process.alpha, process.sigma) for time in (t, s)
  )
  resolved = -jnp.expm1(process.log_snr(t) - process.log_snr(s))
  kept = alpha_t * jnp.square(sigma_s) / (alpha_s * jnp.square(sigma_t))
  mean = kept * x_t + alpha_s * resolved * x + (1 - kept) * shift
  return mean.astype(x_t.dtype), jnp.sqrt(resolved) * sigma_s


def shifted_sampler(sampler: Sampler, shift: ArrayLike) -> Sampler:
  r"""Any sampler for the shifted process.

  .. math:: z_t = \hat x + y_t, \qquad \hat x(z_t, t) = \hat x(\hat x + y_t, t)

  It samples y, whose process has no shift, with a denoiser that sees z. What it returns is y: at t = 0 the
  data, without x_hat (the authors' code takes it off at the end, too).

  Args:
    sampler: such as `samplers.ddim`.
    shift: x_hat, shape (B, ...).

  Returns:
    A sampler `(key, denoise_fn, x_init, *, process, times, ...) -> x`, with the options of the one given;
    x_init and what denoise_fn gets are z, x_init drawn from N(x_hat, I) where alpha(times[0]) = 0.

  Raises:
    ValueError: if x_init has another shape than shift, once it is called.

  Example:
    >>> from latentjax.diffusion import samplers
    >>> from latentjax.diffusion.processes import rectified_flow
    >>> sampler = shifted_sampler(samplers.ddim, jnp.full((2, 1), 5.0))
    >>> run = {"process": rectified_flow(), "times": jnp.linspace(1.0, 0.0, 5)}
    >>> sampler(jax.random.key(0), lambda z, t: jnp.ones_like(z), jnp.zeros((2, 1)), **run).tolist()
    [[1.0], [1.0]]

  References:
    Pandey et al., DiffuseVAE: Efficient, Controllable and High-Fidelity Generation from
      Low-Dimensional Latents, 2022 (formulation 2). arXiv:2201.00308
  """

  def sample(
    key: jax.Array,
    denoise_fn: Callable[[jax.Array, jax.Array], jax.Array],
    x_init: ArrayLike,
    **options: Any,
  ) -> jax.Array:
    check_alike(jnp.ndim(x_init), x_init=x_init, shift=shift)
    start = jnp.asarray(x_init)
    centre = jnp.asarray(shift, start.dtype)
    return sampler(key, lambda y, t: denoise_fn(y + centre, t), start - centre, **options)

  return sample
