"""What follows from a process: the coefficients of its SDE, and times by their signal-to-noise ratio."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from latentjax.checks import check_range
from latentjax.diffusion.processes.schedules import Process, TimeFn, as_time

__all__ = ["drift_and_diffusion", "time_at_log_snr"]


def drift_and_diffusion(t: ArrayLike, *, process: Process) -> tuple[jax.Array, jax.Array]:
  r"""Coefficients of the stochastic differential equation with these marginals.

  .. math::

    dz = f_t z \, dt + g_t \, dw, \qquad f_t = \frac{d \log \alpha_t}{dt}, \qquad
    g_t^2 = \frac{d \sigma_t^2}{dt} - 2 f_t \sigma_t^2 = -\sigma_t^2 \frac{d \lambda_t}{dt}

  Args:
    t: times in [0, 1], any shape.
    process: alpha, sigma and log_snr.

  Returns:
    f and g^2, the shape of t; not finite at t = 1 where alpha is 0. Where sigma is 0, g^2 is its limit.

  Raises:
    Nothing.

  Example:
    >>> from latentjax.diffusion.processes import vp_linear
    >>> f, g_squared = drift_and_diffusion(0.5, process=vp_linear())
    >>> round(-2 * float(f), 3), round(float(g_squared), 3)  # beta_t
    (10.05, 10.05)

  References:
    Song et al., Score-Based Generative Modeling through Stochastic Differential Equations, 2021.
      arXiv:2011.13456
    Kingma et al., Variational Diffusion Models, 2021. arXiv:2107.00630
  """
  t = as_time(t)
  alpha, alpha_slope = with_slope(process.alpha, t)
  # Without noise sigma may have an infinite slope, its square has not: a little later both are finite.
  sigma, sigma_slope = with_slope(process.sigma, jnp.where(process.sigma(t) > 0, t, t + 1e-12))
  f = alpha_slope / alpha
  return f, 2 * sigma * (sigma_slope - f * sigma)


def time_at_log_snr(log_snr: ArrayLike, *, process: Process, num_steps: int = 40) -> jax.Array:
  r"""The time at which the process has a log signal-to-noise ratio, by bisection.

  .. math:: \lambda_t = \lambda

  Args:
    log_snr: lambda, any shape.
    process: its log_snr falls.
    num_steps: halvings; 40 exhaust float32.

  Returns:
    Times in [0, 1], within 2^-num_steps; the nearer end for what the process does not reach. Detached.

  Raises:
    Nothing.

  Example:
    >>> from latentjax.diffusion.processes import rectified_flow
    >>> round(float(time_at_log_snr(0.0, process=rectified_flow())), 6)
    0.5

  References:
    Lu et al., DPM-Solver: A Fast ODE Solver for Diffusion Probabilistic Model Sampling in Around 10
      Steps, 2022 (times by their half log-SNR). arXiv:2206.00927
  """
  wanted = jax.lax.stop_gradient(as_time(log_snr))

  def halve(_: int, ends: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
    low, high = ends
    middle = (low + high) / 2
    early = process.log_snr(middle) > wanted
    return jnp.where(early, middle, low), jnp.where(early, high, middle)

  low, high = jax.lax.fori_loop(
    0, num_steps, halve, (jnp.zeros_like(wanted), jnp.ones_like(wanted))
  )
  return jax.lax.stop_gradient((low + high) / 2)


def with_slope(fn: TimeFn, t: jax.Array) -> tuple[jax.Array, jax.Array]:
  """A function of time and its derivative."""
  return jax.jvp(fn, (t,), (jnp.ones_like(t),))


def check_interval(start: float, end: float) -> None:
  """Refuses times outside [0, 1], or a first one that is not above the last."""
  check_range(0.0, 1.0, start=start, end=end)
  if start <= end:
    raise ValueError(f"start must be above end, got {start} and {end}")


def check_log_snr(process: Process, **times: ArrayLike) -> None:
  """Refuses times at which the process has no data or no noise; while tracing it cannot know."""
  for name, t in times.items():
    ratio = process.log_snr(t)
    if not isinstance(ratio, jax.core.Tracer) and not np.isfinite(ratio):
      raise ValueError(f"{name} must have a finite log signal-to-noise ratio, {t} has {ratio}")
