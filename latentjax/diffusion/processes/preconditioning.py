"""EDM's preconditioning, and that of consistency models, for any process."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_range, check_same_shape, wide_dtype
from latentjax.diffusion.processes.predictions import expand_time
from latentjax.diffusion.processes.schedules import Process, TimeFn, as_time

__all__ = ["Preconditioning", "precondition", "preconditioning"]


class Preconditioning(NamedTuple):
  """x0_hat = c_skip z_t + c_out F(c_in z_t, c_noise), each of the shape of the times.

  Attributes:
    c_skip: share of the noised data that passes the network F.
    c_out: scale of the network's output.
    c_in: scale of its input, to variance 1.
    c_noise: what tells it the noise level, log(sigma / alpha) / 4.
  """

  c_skip: jax.Array
  c_out: jax.Array
  c_in: jax.Array
  c_noise: jax.Array


def preconditioning(
  t: ArrayLike, *, process: Process, data_scale: ArrayLike = 0.5, t_min: float | None = None
) -> Preconditioning:
  r"""Coefficients at which a network's input and target have variance 1 (EDM).

  .. math::

    c_{skip} = \frac{\alpha s^2}{\alpha^2 s^2 + \sigma^2}, \quad
    c_{out} = \frac{\sigma s}{\sqrt{\alpha^2 s^2 + \sigma^2}}, \quad
    c_{in} = \frac{1}{\sqrt{\alpha^2 s^2 + \sigma^2}}, \quad
    c_{noise} = \tfrac14 \log \frac\sigma\alpha

  EDM's for alpha = 1; for other processes the same function of z / alpha and sigma / alpha, finite at both
  ends of time but for c_noise. With t_min, the sigma of c_skip and of c_out's numerator is
  sigma - alpha sigma_min / alpha_min: the function is then the identity, z / alpha, at that time, as
  consistency models need.

  Args:
    t: times in [0, 1], any shape.
    process: alpha, sigma and log_snr.
    data_scale: s, standard deviation of the data, positive. Can be traced.
    t_min: time at which a consistency model is the identity; None: where there is no noise.

  Returns:
    Coefficients, each the shape of t, float32 or wider; c_noise is infinite where there is no noise.

  Raises:
    ValueError: if data_scale is not positive or t_min is not in [0, 1].

  Example:
    >>> from latentjax.diffusion.processes import edm
    >>> c = preconditioning(0.0, process=edm(), t_min=0.0)
    >>> float(c.c_skip), float(c.c_out)
    (1.0, 0.0)

  References:
    Karras et al., Elucidating the Design Space of Diffusion-Based Generative Models, 2022, table 1.
      arXiv:2206.00364
    Song et al., Consistency Models, 2023 (the boundary). arXiv:2303.01469
  """
  check_range(0.0, strict=True, data_scale=data_scale)
  t = as_time(t)
  alpha, sigma = process.alpha(t), process.sigma(t)
  own = jnp.square(data_scale * alpha)
  excess = sigma
  if t_min is not None:
    check_range(0.0, 1.0, t_min=t_min)
    excess = sigma - alpha * (process.sigma(t_min) / process.alpha(t_min))
  c_in = jax.lax.rsqrt(own + jnp.square(sigma))
  return Preconditioning(
    c_skip=alpha * jnp.square(data_scale) / (own + jnp.square(excess)),
    c_out=excess * data_scale * c_in,
    c_in=c_in,
    c_noise=-process.log_snr(t) / 8,
  )


def precondition(
  network_fn: Callable[[jax.Array, jax.Array], jax.Array],
  *,
  process: Process,
  data_scale: ArrayLike = 0.5,
  t_min: float | None = None,
  noise_input: TimeFn | None = None,
) -> Callable[[jax.Array, ArrayLike], jax.Array]:
  r"""A denoiser, or a consistency function, of a raw network.

  .. math:: f(z_t, t) = c_{skip} z_t + c_{out} F(c_{in} z_t, c_{noise})

  with the coefficients of `preconditioning`. An ideal F has outputs of variance 1 at all times, and the
  denoiser's loss, weighted by 1 / c_out^2 (`edm_weight`), is the error of F.

  Args:
    network_fn: F, `(x, noise) -> array`, x (B, ...), noise the shape of t.
    process: alpha, sigma and log_snr.
    data_scale: standard deviation of the data, positive. Can be traced.
    t_min: time at which f is the identity, for consistency models; None for a denoiser.
    noise_input: `t -> noise`, what F is told; None: c_noise, not finite where alpha or sigma is 0.

  Returns:
    `(z_t, t) -> x0_hat`, z_t (B, ...), t (B,) or (), an array of the shape and dtype of z_t.

  Raises:
    ValueError: if data_scale is not positive or t_min is not in [0, 1]; of the result: if shapes do not fit.

  Example:
    >>> from latentjax.diffusion.processes import edm
    >>> denoise = precondition(lambda x, noise: jnp.zeros_like(x), process=edm(), data_scale=1.0)
    >>> denoise(jnp.ones((2, 3)), 0.0).round(4).tolist()[0]  # hardly any noise
    [1.0, 1.0, 1.0]

  References:
    Karras et al., Elucidating the Design Space of Diffusion-Based Generative Models, 2022, eq. 7.
      arXiv:2206.00364
    Song et al., Consistency Models, 2023. arXiv:2303.01469
  """
  check_range(0.0, strict=True, data_scale=data_scale)

  def denoise(z_t: jax.Array, t: ArrayLike) -> jax.Array:
    time = expand_time(t, z_t)
    c = preconditioning(time, process=process, data_scale=data_scale, t_min=t_min)
    noise = c.c_noise.reshape(jnp.shape(t)) if noise_input is None else noise_input(as_time(t))
    output = network_fn((c.c_in * z_t).astype(z_t.dtype), noise)
    check_same_shape(z_t=z_t, output=output)
    wide = wide_dtype(z_t)
    return (c.c_skip * z_t.astype(wide) + c.c_out * output.astype(wide)).astype(z_t.dtype)

  return denoise
