"""The probability-flow ODE by Euler's and Heun's method."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_choice, wide_dtype
from latentjax.diffusion.processes import Process
from latentjax.diffusion.processes.coefficients import check_log_snr
from latentjax.diffusion.samplers._steps import (
  DenoiseFn,
  Levels,
  Step,
  check_times,
  levels,
  noise_of,
  pairs,
  wide,
)
from latentjax.diffusion.samplers.ancestral import ddim

__all__ = ["euler", "heun"]


def euler(
  key: jax.Array,
  denoise_fn: DenoiseFn,
  x_init: ArrayLike,
  *,
  process: Process,
  times: ArrayLike,
) -> jax.Array:
  r"""Probability-flow ODE by Euler's method, of order 1.

  .. math::

    z_s = z_t + (\sigma_s - \sigma_t) \, \hat\epsilon + (\alpha_s - \alpha_t) \, \hat x =
    \alpha_s \hat x + \sigma_s \hat\epsilon

  that is Euler's step for z / alpha over sigma / alpha (Karras et al.), and for z over t if the process
  is `rectified_flow`; it is `ddim` with eta = 0, exact if the data is one point. It has no singularity
  at either end.

  Args:
    key: random key; not used, as all samplers take one.
    denoise_fn: `(x_t, t) -> x0_hat`, the mean of the data given x_t; t of shape ().
    x_init: z at times[0], shape (B, ...).
    process: alpha, sigma and log_snr.
    times: falling, shape (N + 1,).

  Returns:
    z at times[-1], the shape and dtype of x_init. Gradient flows through all steps.

  Raises:
    TypeError: if an array is not floating point.
    ValueError: if times are not of shape (N + 1,) or do not fall.

  Example:
    >>> from latentjax.diffusion.processes import rectified_flow
    >>> denoise = lambda x, t: jnp.ones_like(x)
    >>> times, process = jnp.linspace(1.0, 0.5, 5), rectified_flow()
    >>> euler(jax.random.key(0), denoise, jnp.array([[3.0]]), process=process, times=times).tolist()
    [[2.0]]

  References:
    Song et al., Score-Based Generative Modeling through Stochastic Differential Equations, 2021.
      arXiv:2011.13456
    Karras et al., Elucidating the Design Space of Diffusion-Based Generative Models, 2022.
      arXiv:2206.00364
  """
  return ddim(key, denoise_fn, x_init, process=process, times=times)


def heun(
  key: jax.Array,
  denoise_fn: DenoiseFn,
  x_init: ArrayLike,
  *,
  process: Process,
  times: ArrayLike,
  coordinates: str = "flow",
) -> jax.Array:
  r"""Probability-flow ODE by Heun's method, of order 2 with two evaluations a step.

  .. math::

    \bar z_s = \bar z_t + \frac{u_s - u_t}2 \Big( \frac{d \bar z}{du}\Big|_{z_t, t} +
    \frac{d \bar z}{du}\Big|_{z'_s, s} \Big), \qquad z'_s = \alpha_s \hat x + \sigma_s \hat\epsilon

  in coordinates that make straight lines of the paths to a point: "flow", z / (alpha + sigma) over
  u = sigma / (alpha + sigma), with slope eps - x, finite at both ends, the ODE's own if the process is
  `rectified_flow`; or "sigma", z / alpha over u = sigma / alpha, with slope eps, as Karras et al., which
  needs alpha(times[0]) > 0. A step to sigma = 0 is Euler's, with one evaluation.

  Args:
    key: random key; not used, as all samplers take one.
    denoise_fn: `(x_t, t) -> x0_hat`, the mean of the data given x_t; t of shape ().
    x_init: z at times[0], shape (B, ...).
    process: alpha, sigma and log_snr.
    times: falling, shape (N + 1,).
    coordinates: "flow" or "sigma".

  Returns:
    z at times[-1], the shape and dtype of x_init. Gradient flows through all steps.

  Raises:
    TypeError: if an array is not floating point.
    ValueError: if times are not of shape (N + 1,) or do not fall, or coordinates are unknown, or "sigma"
      where alpha is 0.

  Example:
    >>> from latentjax.diffusion.processes import rectified_flow
    >>> denoise = lambda x, t: jnp.ones_like(x)
    >>> times, process = jnp.linspace(1.0, 0.5, 5), rectified_flow()
    >>> heun(jax.random.key(0), denoise, jnp.array([[3.0]]), process=process, times=times).tolist()
    [[2.0]]

  References:
    Karras et al., Elucidating the Design Space of Diffusion-Based Generative Models, 2022.
      arXiv:2206.00364
  """
  check_choice(("flow", "sigma"), coordinates=coordinates)
  x_init, times = jnp.asarray(x_init), check_times(times, x_init)
  if coordinates == "sigma":
    check_log_snr(process, **{"times[0]": times[0]})
  denoise = wide(denoise_fn, x_init.dtype)
  straight = (lambda at: at.alpha + at.sigma) if coordinates == "flow" else lambda at: at.alpha

  def estimate(x: jax.Array, at: Levels) -> tuple[jax.Array, jax.Array]:
    x0 = denoise(x, at.t)
    return x0, noise_of(x, x0, at)

  def advance(x: jax.Array, step: Step) -> tuple[jax.Array, None]:
    x0, eps = estimate(x, step.now)
    predicted = step.next.alpha * x0 + step.next.sigma * eps
    x0_next, eps_next = jax.lax.cond(
      step.next.sigma > 0, lambda: estimate(predicted, step.next), lambda: (x0, eps)
    )
    # Euler's step and half of what the slope has changed, times alpha + sigma or alpha at s.
    u_now, u_next = (at.sigma / straight(at) for at in (step.now, step.next))
    change = eps_next - eps
    if coordinates == "flow":
      change -= x0_next - x0
    return predicted + straight(step.next) * (u_next - u_now) / 2 * change, None

  x, _ = jax.lax.scan(advance, x_init.astype(wide_dtype(x_init)), pairs(levels(process, times)))
  return x.astype(x_init.dtype)
