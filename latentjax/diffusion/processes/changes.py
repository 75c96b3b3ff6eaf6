"""Processes made of other processes: no signal left at the end, more noise for larger images."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_choice, check_range
from latentjax.diffusion.processes.schedules import Process, _log, _sqrt, as_time

__all__ = ["shifted", "zero_terminal_snr"]


def shifted(process: Process, *, factor: ArrayLike, preserve: str = "variance") -> Process:
  r"""The process with another amount of noise at all times, for images of another size.

  .. math:: \frac{\sigma'_t}{\alpha'_t} = s \, \frac{\sigma_t}{\alpha_t}, \qquad
    \lambda'_t = \lambda_t - 2 \log s

  What is preserved at every t: alpha^2 + sigma^2 ("variance"), as of variance-preserving processes;
  alpha + sigma ("sum"), as of `rectified_flow`, whose time it turns to s t / (1 + (s - 1) t); or alpha
  ("alpha"), as of `ve`.

  Args:
    process: alpha, sigma and log_snr.
    factor: s, positive; the side of the images over that of those which the process was made for. Can be
      traced.
    preserve: "variance", "sum" or "alpha".

  Returns:
    The process.

  Raises:
    ValueError: if factor is not positive or preserve is unknown.

  Example:
    >>> from latentjax.diffusion.processes import rectified_flow
    >>> process = shifted(rectified_flow(), factor=3.0, preserve="sum")
    >>> float(process.sigma(0.5))
    0.75

  References:
    Hoogeboom et al., simple diffusion: End-to-end Diffusion for High Resolution Images, 2023.
      arXiv:2301.11093
    Esser et al., Scaling Rectified Flow Transformers for High-Resolution Image Synthesis, 2024.
      arXiv:2403.03206
  """
  check_range(0.0, strict=True, factor=factor)
  check_choice(("variance", "sum", "alpha"), preserve=preserve)
  size = jnp.hypot if preserve == "variance" else jnp.add

  def parts(t: ArrayLike) -> tuple[jax.Array, jax.Array]:
    alpha, sigma = process.alpha(t), process.sigma(t)
    noise = jnp.asarray(factor, sigma.dtype) * sigma
    if preserve == "alpha":
      return alpha, noise
    scale = size(alpha, sigma) / size(alpha, noise)
    return scale * alpha, scale * noise

  return Process(
    lambda t: parts(t)[0],
    lambda t: parts(t)[1],
    lambda t: process.log_snr(t) - 2 * jnp.log(factor),
  )


def zero_terminal_snr(process: Process) -> Process:
  r"""A variance-preserving process changed so that no signal is left at t = 1.

  .. math:: \alpha'_t = \alpha_0 \frac{\alpha_t - \alpha_1}{\alpha_0 - \alpha_1}, \qquad
    \sigma'^2_t = 1 - \alpha'^2_t

  Samples then start from noise that a network has seen; it must predict v or x there, since eps does not
  determine x at alpha = 0.

  Args:
    process: variance-preserving; only its alpha and sigma are used.

  Returns:
    The process; alpha(0) is unchanged and alpha(1) = 0.

  Raises:
    ValueError: if alpha^2 + sigma^2 is not 1.

  Example:
    >>> from latentjax.diffusion.processes import vp_linear
    >>> process = zero_terminal_snr(vp_linear())
    >>> float(process.alpha(0.0)), float(process.alpha(1.0)), float(process.sigma(1.0))
    (1.0, 0.0, 1.0)

  References:
    Lin et al., Common Diffusion Noise Schedules and Sample Steps are Flawed, 2023, algorithm 1.
      arXiv:2305.08891
  """
  total = jnp.square(process.alpha(0.5)) + jnp.square(process.sigma(0.5))
  if not isinstance(total, jax.core.Tracer) and abs(float(total) - 1) > 1e-4:
    raise ValueError(f"process must preserve variance, got alpha^2 + sigma^2 = {float(total)}")

  def short(t: ArrayLike) -> jax.Array:
    """1 - alpha of the given process, without cancellation."""
    return jnp.square(process.sigma(t)) / (1 + process.alpha(t))

  def alpha(t: ArrayLike) -> jax.Array:
    t = as_time(t)
    first, last = process.alpha(0.0), process.alpha(1.0)
    above = process.alpha(t) - last
    # Exactly 0 at t = 1, whatever the rounding, and with the slope that it has there.
    above = jnp.where(t < 1, jnp.maximum(above, 0), above - jax.lax.stop_gradient(above))
    return first * above / (first - last)

  def sigma(t: ArrayLike) -> jax.Array:
    t = as_time(t)
    first, last = process.alpha(0.0), process.alpha(1.0)
    left = short(0.0) + first * (short(t) - short(0.0)) / (first - last)  # 1 - alpha'
    return _sqrt(jnp.where(t < 1, left * (2 - left), 1))

  return Process(alpha, sigma, lambda t: 2 * (_log(alpha(t)) - _log(sigma(t))))
