"""RED-diff: the posterior's best point by stochastic gradients, with a denoiser as regulariser."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_float, check_range, check_rank, wide_dtype
from latentjax.diffusion.inverse._misfit import MeasureFn, misfit, row_dot
from latentjax.diffusion.processes import Process, noised
from latentjax.diffusion.processes.predictions import draw_noise
from latentjax.diffusion.samplers._steps import DenoiseFn

__all__ = ["red_diff", "red_diff_loss"]

WeightFn = Callable[[jax.Array], jax.Array]


def red_diff_loss(
  key: jax.Array,
  denoise_fn: DenoiseFn,
  measure_fn: MeasureFn,
  mu: ArrayLike,
  measurement: ArrayLike,
  t: ArrayLike,
  *,
  process: Process,
  strength: ArrayLike = 0.25,
  noise_scale: ArrayLike = 1.0,
  weighting: WeightFn | None = None,
  axis_name: str | None = None,
) -> jax.Array:
  r"""Misfit to the measurement, and a term whose gradient is that of the divergence from the prior.

  .. math::

    \frac{\|y - A(\mu)\|^2}{2 s^2} + \lambda w_t \, \mathrm{sg}(\hat\epsilon(z_t, t) - \epsilon)^\top
    \mu, \qquad z_t = \alpha_t \mu + \sigma_t \epsilon, \quad w_t = \frac{\sigma_t}{\alpha_t}

  With this weight, the inverse of the (amplitude's) signal-to-noise ratio, the second term is
  lambda sg(mu - x_hat)^T mu: every time's denoiser pulls alike. For normal data N(m, C) and linear A the
  gradient vanishes on average where

  .. math:: \frac{A^\top (y - A \mu)}{s^2} = \lambda \, E_t \Big[ \frac{w_t \alpha_t}{\sigma_t} \sigma_t^2
    (\alpha_t^2 C + \sigma_t^2 I)^{-1} \Big] (\mu - m)

  which in general is not the posterior's mean, for any lambda, unless C is a multiple of I: the divergence is
  weighted over time. The paper's q(x) is a point here, its width 0, as in the authors' experiments. They
  average over entries where this sums.

  Args:
    key: random key, the same on every device.
    denoise_fn: `(x_t, t) -> x0_hat`, row by row; t as given.
    measure_fn: A, `(x) -> y`, row by row, (B, ...) to (B, ...), differentiable.
    mu: estimates of the data, shape (B, ...).
    measurement: y, shape (B, ...).
    t: time in (0, 1], shape ().
    process: alpha, sigma and log_snr.
    strength: lambda, not negative. Can be traced.
    noise_scale: s, standard deviation of the measurement's noise, positive. Can be traced.
    weighting: w of the log signal-to-noise ratio; None: sigma / alpha.
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`.

  Returns:
    Loss per row, shape (B,), float32 or wider. Gradient flows to mu, past the denoiser, and to the
    measurement; its value has no meaning.

  Raises:
    TypeError: if an array is not floating point.
    ValueError: if the measurement has another shape than what measure_fn returns, or a number is out of
      range.

  Example:
    >>> from latentjax.diffusion.processes import vp_cosine
    >>> denoise = lambda x, t: jnp.zeros_like(x)  # data that is one point
    >>> mu, y = jnp.array([[2.0]]), jnp.array([[3.0]])
    >>> red_diff_loss(
    ...   jax.random.key(0), denoise, lambda x: x, mu, y, jnp.array(0.5), process=vp_cosine()
    ... ).tolist()
    [1.5]

  References:
    Mardani et al., A Variational Perspective on Solving Inverse Problems with Diffusion Models, 2023.
      arXiv:2305.04391
  """
  check_float(mu=mu)
  check_range(0.0, strength=strength)
  check_range(0.0, strict=True, noise_scale=noise_scale)
  mu = jnp.asarray(mu)
  wide = wide_dtype(mu)
  fixed = jax.lax.stop_gradient(mu)
  x_t = noised(fixed, draw_noise(key, fixed, axis_name), t, process=process)
  x0 = jax.lax.stop_gradient(denoise_fn(x_t, jnp.asarray(t)))
  # w (eps_hat - eps) = w (alpha / sigma) (mu - x0_hat), without the ratio where w is its inverse.
  ratio = process.log_snr(jnp.asarray(t, wide))
  pull = 1.0 if weighting is None else weighting(ratio) * jnp.exp(0.5 * ratio)
  prior = pull * row_dot((fixed - x0).astype(wide), mu.astype(wide))
  error = misfit(measure_fn, mu, jnp.asarray(measurement)) / jnp.asarray(noise_scale, wide)
  return 0.5 * row_dot(error, error) + jnp.asarray(strength, wide) * prior


def red_diff(
  key: jax.Array,
  denoise_fn: DenoiseFn,
  measure_fn: MeasureFn,
  x_init: ArrayLike,
  measurement: ArrayLike,
  *,
  process: Process,
  times: ArrayLike,
  learning_rate: ArrayLike = 0.1,
  strength: ArrayLike = 0.25,
  noise_scale: ArrayLike = 1.0,
  weighting: WeightFn | None = None,
  axis_name: str | None = None,
) -> jax.Array:
  r"""Steps of Adam down `red_diff_loss`, one for every time.

  .. math:: \mu \leftarrow \mu - \mathrm{Adam}(\nabla_\mu \ell_t(\mu)), \qquad t = t_1, t_2, \dots, t_N

  One evaluation of the denoiser a step and no gradient through it. Falling times, from noise to data, are
  the authors' choice and give global structure first; Adam's decay rates are theirs, 0.9 and 0.99.

  Args:
    key: random key.
    denoise_fn: `(x_t, t) -> x0_hat`, row by row; t of shape ().
    measure_fn: A, `(x) -> y`, row by row, (B, ...) to (B, ...), differentiable.
    x_init: first estimate of the data, such as the pseudo-inverse of the measurement, shape (B, ...).
    measurement: y, shape (B, ...).
    process: alpha, sigma and log_snr.
    times: in (0, 1], shape (N,), in any order.
    learning_rate: of Adam, positive. Can be traced.
    strength: lambda, not negative. Can be traced.
    noise_scale: s, standard deviation of the measurement's noise, positive. Can be traced.
    weighting: w of the log signal-to-noise ratio; None: sigma / alpha.
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`.

  Returns:
    The last estimate, the shape and dtype of x_init. Nothing of it is differentiable by the denoiser.

  Raises:
    TypeError: if an array is not floating point.
    ValueError: if times are not of rank 1, the measurement has another shape than what measure_fn
      returns, or a number is out of range.

  Example:
    >>> from latentjax.diffusion.processes import vp_cosine
    >>> denoise = lambda x, t: jnp.zeros_like(x)  # data that is one point
    >>> x, times = jnp.zeros((1, 1)), jnp.linspace(1.0, 0.01, 300)
    >>> y = jnp.array([[3.0]])
    >>> x = red_diff(jax.random.key(0), denoise, lambda x: x, x, y, process=vp_cosine(), times=times)
    >>> round(float(x[0, 0]), 2)  # 3 / (1 + lambda)
    2.4

  References:
    Mardani et al., A Variational Perspective on Solving Inverse Problems with Diffusion Models, 2023.
      arXiv:2305.04391
  """
  check_float(x_init=x_init, times=times)
  check_rank(1, times=times)
  check_range(0.0, strict=True, learning_rate=learning_rate)
  x_init = jnp.asarray(x_init)
  wide = wide_dtype(x_init, times)
  rate = jnp.asarray(learning_rate, wide)

  def loss(mu: jax.Array, key: jax.Array, t: jax.Array) -> jax.Array:
    each = red_diff_loss(
      key,
      denoise_fn,
      measure_fn,
      mu.astype(x_init.dtype),
      measurement,
      t,
      process=process,
      strength=strength,
      noise_scale=noise_scale,
      weighting=weighting,
      axis_name=axis_name,
    )
    return jnp.sum(each)  # rows do not meet

  def step(carry: tuple, inputs: tuple) -> tuple[tuple, None]:
    mu, mean, square = carry
    key, t, count = inputs
    gradient = jax.grad(loss)(mu, key, t)
    mean = 0.9 * mean + 0.1 * gradient
    square = 0.99 * square + 0.01 * jnp.square(gradient)
    scale = jnp.sqrt(square / (1 - 0.99**count)) + 1e-8
    return (mu - rate * mean / (1 - 0.9**count) / scale, mean, square), None

  num_steps = jnp.shape(times)[0]
  inputs = jax.random.split(key, num_steps), jnp.asarray(times, wide), 1.0 + jnp.arange(num_steps)
  start = x_init.astype(wide)
  zero = jnp.zeros_like(start)
  (mu, _, _), _ = jax.lax.scan(step, (start, zero, zero), inputs)
  return mu.astype(x_init.dtype)
