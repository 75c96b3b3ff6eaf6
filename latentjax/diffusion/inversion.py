"""From data back to the noise that a sampler would have started at."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_float, check_range, wide_dtype
from latentjax.diffusion.processes import Process
from latentjax.diffusion.samplers import ddim
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

__all__ = ["ddim_invert", "dire"]


def ddim_invert(
  key: jax.Array,
  denoise_fn: DenoiseFn,
  x: ArrayLike,
  *,
  process: Process,
  times: ArrayLike,
  num_iterations: int = 0,
) -> jax.Array:
  r"""The latent from which deterministic DDIM would have come to x: its steps, backwards.

  .. math::

    \bar z_t = \bar z_s + (u_t - u_s) \, h, \qquad \bar z = \frac{z}{\alpha + \sigma}, \quad
    u = \frac{\sigma}{\alpha + \sigma}, \quad h = \hat\epsilon - \hat x

  With h at (z_s, s), where the step starts, it is z_t = alpha_t x_hat + sigma_t eps_hat, and sampling
  from the latent comes back to x up to the length of the steps. Data without noise tells nothing of eps,
  which counts as 0 there: the first step from sigma = 0 is z_t = alpha_t x, if x_hat = x. What DDIM does
  from z_t to z_s has h at (z_t, t): that equation is solved by iterating, each time with one evaluation
  more per step; where the steps are short enough for the iteration to converge, the way back is exact.

  Args:
    key: random key; not used, as all samplers take one.
    denoise_fn: `(x_t, t) -> x0_hat`, the mean of the data given x_t; t of shape ().
    x: z at times[-1], shape (B, ...).
    process: alpha, sigma and log_snr.
    times: falling, shape (N + 1,), those that the sampler gets.
    num_iterations: fixed-point iterations after the first guess; 0: inversion as usual.

  Returns:
    z at times[0], the shape and dtype of x. Gradient flows through all steps.

  Raises:
    TypeError: if an array is not floating point.
    ValueError: if times are not of shape (N + 1,) or do not fall, or num_iterations is negative.

  Example:
    >>> from latentjax.diffusion.processes import rectified_flow
    >>> denoise = lambda x, t: jnp.ones_like(x)
    >>> times, process = jnp.linspace(1.0, 0.5, 5), rectified_flow()
    >>> ddim_invert(jax.random.key(0), denoise, jnp.array([[2.0]]), process=process, times=times).tolist()
    [[3.0]]

  References:
    Song et al., Denoising Diffusion Implicit Models, 2021. arXiv:2010.02502
    Pan et al., Effective Real Image Editing with Accelerated Iterative Diffusion Inversion, 2023 (the
      iteration). arXiv:2309.04907
  """
  check_range(0, num_iterations=num_iterations)
  check_float(x=x)
  x, times = jnp.asarray(x), check_times(times, x)
  denoise = wide(denoise_fn, x.dtype)

  def slope(z: jax.Array, at: Levels) -> jax.Array:
    x0 = denoise(z, at.t)
    return noise_of(z, x0, at) - x0

  def retreat(z: jax.Array, step: Step) -> tuple[jax.Array, None]:
    (size_s, u_s), (size_t, u_t) = map(_straight, (step.next, step.now))
    reach = lambda h: size_t * (z / size_s + (u_t - u_s) * h)
    guess = reach(slope(z, step.next))
    iterate = lambda guess, _: (reach(slope(guess, step.now)), None)
    return jax.lax.scan(iterate, guess, length=num_iterations)[0], None

  steps = pairs(levels(process, times))
  z, _ = jax.lax.scan(retreat, x.astype(wide_dtype(x)), steps, reverse=True)
  return z.astype(x.dtype)


def dire(
  key: jax.Array,
  denoise_fn: DenoiseFn,
  x: ArrayLike,
  *,
  process: Process,
  times: ArrayLike,
) -> jax.Array:
  r"""What is lost of x on the way to noise and back: DIRE, by which images of diffusion models are known.

  .. math:: |x - R(I(x))|

  with I of `ddim_invert` and R of `ddim`, both by the same model and at the same few times. A model's own
  images, and those of models like it, come back with less error than others.

  Args:
    key: random key; not used.
    denoise_fn: `(x_t, t) -> x0_hat`, the mean of the data given x_t; t of shape ().
    x: z at times[-1], shape (B, ...).
    process: alpha, sigma and log_snr.
    times: falling, shape (N + 1,).

  Returns:
    Error of every entry, the shape and dtype of x. Gradient flows through all steps.

  Raises:
    TypeError: if an array is not floating point.
    ValueError: if times are not of shape (N + 1,) or do not fall.

  Example:
    >>> from latentjax.diffusion.processes import rectified_flow
    >>> denoise = lambda x, t: jnp.ones_like(x)  # a model of one image
    >>> given = {"process": rectified_flow(), "times": jnp.linspace(1.0, 0.0, 5)}
    >>> dire(jax.random.key(0), denoise, jnp.array([[1.0], [4.0]]), **given).tolist()
    [[0.0], [3.0]]

  References:
    Wang et al., DIRE for Diffusion-Generated Image Detection, 2023. arXiv:2303.09295
  """
  latent = ddim_invert(key, denoise_fn, x, process=process, times=times)
  back = ddim(key, denoise_fn, latent, process=process, times=times)
  return jnp.abs(jnp.asarray(x) - back)


def _straight(at: Levels) -> tuple[jax.Array, jax.Array]:
  """alpha + sigma, and the share of sigma in it."""
  size = at.alpha + at.sigma
  return size, at.sigma / size
