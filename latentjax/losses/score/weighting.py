r"""Weights of the denoising loss: functions of the log signal-to-noise ratio, on the error of eps.

One loss, :math:`E_{t, \epsilon} [w(\lambda_t) \|\epsilon - \hat\epsilon\|^2]`, is behind all of them: what
papers put before the error of x, v or the score is a weight of the error of eps, since one is a multiple of
the other at every time.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_range, wide_dtype
from latentjax.diffusion.processes import Process, time_at_log_snr
from latentjax.diffusion.processes.coefficients import with_slope

__all__ = [
  "WeightFn",
  "edm_weight",
  "likelihood_weight",
  "min_snr_weight",
  "p2_weight",
  "sigmoid_weight",
  "uniform_weight",
]

WeightFn = Callable[[jax.Array], jax.Array]


def uniform_weight(log_snr: ArrayLike) -> jax.Array:
  r"""The same weight for the error of eps at all times, DDPM's simple loss.

  .. math:: w = 1

  Args:
    log_snr: lambda, any shape.

  Returns:
    Ones, the shape of log_snr, float32 or wider.

  Raises:
    Nothing.

  Example:
    >>> uniform_weight(jnp.array([-3.0, 5.0])).tolist()
    [1.0, 1.0]

  References:
    Ho et al., Denoising Diffusion Probabilistic Models, 2020. arXiv:2006.11239
  """
  return jnp.ones_like(_wide(log_snr))


def min_snr_weight(log_snr: ArrayLike, *, gamma: ArrayLike = 5.0) -> jax.Array:
  r"""A weight of the error of x that is the signal-to-noise ratio up to a limit.

  .. math:: w = \min(\mathrm{SNR}, \gamma) / \mathrm{SNR} = \min(1, \gamma e^{-\lambda})

  Args:
    log_snr: lambda, any shape.
    gamma: the limit, positive. Can be traced.

  Returns:
    Weights in (0, 1], the shape of log_snr, float32 or wider.

  Raises:
    ValueError: if gamma is not positive.

  Example:
    >>> min_snr_weight(jnp.log(jnp.array([0.5, 10.0]))).round(4).tolist()
    [1.0, 0.5]

  References:
    Hang et al., Efficient Diffusion Training via Min-SNR Weighting Strategy, 2023. arXiv:2303.09556
  """
  check_range(0.0, strict=True, gamma=gamma)
  log_snr = _wide(log_snr)
  return jnp.exp(jnp.minimum(jnp.log(jnp.asarray(gamma, log_snr.dtype)) - log_snr, 0))


def p2_weight(log_snr: ArrayLike, *, gamma: ArrayLike = 1.0, k: ArrayLike = 1.0) -> jax.Array:
  r"""Less weight where little noise is left to see (perception prioritized).

  .. math:: w = (k + \mathrm{SNR})^{-\gamma}

  Args:
    log_snr: lambda, any shape.
    gamma: strength, not negative. Can be traced.
    k: positive. Can be traced.

  Returns:
    Weights, the shape of log_snr, float32 or wider.

  Raises:
    ValueError: if a number is out of range.

  Example:
    >>> p2_weight(jnp.log(jnp.array([1.0, 3.0]))).round(4).tolist()
    [0.5, 0.25]

  References:
    Choi et al., Perception Prioritized Training of Diffusion Models, 2022. arXiv:2204.00227
  """
  check_range(0.0, gamma=gamma)
  check_range(0.0, strict=True, k=k)
  log_snr = _wide(log_snr)
  log_k = jnp.log(jnp.asarray(k, log_snr.dtype))
  return jnp.exp(-jnp.asarray(gamma, log_snr.dtype) * jnp.logaddexp(log_k, log_snr))


def sigmoid_weight(log_snr: ArrayLike, *, bias: ArrayLike = 2.0) -> jax.Array:
  r"""A weight that falls smoothly where the data is nearly clean.

  .. math:: w = \mathrm{sigmoid}(b - \lambda)

  Args:
    log_snr: lambda, any shape.
    bias: b, the log signal-to-noise ratio at which the weight is one half. Can be traced.

  Returns:
    Weights in (0, 1), the shape of log_snr, float32 or wider.

  Raises:
    Nothing.

  Example:
    >>> sigmoid_weight(jnp.array([2.0])).tolist()
    [0.5]

  References:
    Kingma and Gao, Understanding Diffusion Objectives as the ELBO with Simple Data Augmentation,
      2023. arXiv:2303.00848
    Hoogeboom et al., Simpler Diffusion (SiD2), 2024. arXiv:2410.19324
  """
  log_snr = _wide(log_snr)
  return jax.nn.sigmoid(jnp.asarray(bias, log_snr.dtype) - log_snr)


def edm_weight(log_snr: ArrayLike, *, sigma_data: ArrayLike = 0.5) -> jax.Array:
  r"""The weight of EDM, which makes the error of its network's raw output count alike at all times.

  .. math::

    \frac{\sigma^2 + \sigma_d^2}{\sigma^2 \sigma_d^2} \|x - \hat x\|^2 = w \|\epsilon - \hat\epsilon\|^2,
    \qquad w = 1 + \frac{\sigma^2}{\sigma_d^2} = 1 + \frac{e^{-\lambda}}{\sigma_d^2}

  with noise sigma at alpha = 1.

  Args:
    log_snr: lambda, any shape.
    sigma_data: standard deviation of the data, positive. Can be traced.

  Returns:
    Weights above 1, the shape of log_snr, float32 or wider.

  Raises:
    ValueError: if sigma_data is not positive.

  Example:
    >>> edm_weight(jnp.array([0.0]), sigma_data=1.0).tolist()
    [2.0]

  References:
    Karras et al., Elucidating the Design Space of Diffusion-Based Generative Models, 2022.
      arXiv:2206.00364
  """
  check_range(0.0, strict=True, sigma_data=sigma_data)
  log_snr = _wide(log_snr)
  return 1 + jnp.exp(-log_snr) / jnp.square(jnp.asarray(sigma_data, log_snr.dtype))


def likelihood_weight(log_snr: ArrayLike, *, process: Process) -> jax.Array:
  r"""The weight with which the loss at uniform times bounds the negative log-likelihood.

  .. math:: w = -\tfrac12 \frac{d \lambda_t}{dt} = \frac{g_t^2}{2 \sigma_t^2}

  on the error of eps, that is g^2 / 2 on the error of the score. It makes `denoising_loss` what
  `variational_loss` is; `likelihood_times` have it in their density instead.

  Args:
    log_snr: lambda, any shape, within what the process reaches.
    process: its log_snr is inverted to find the slope.

  Returns:
    Weights, the shape of log_snr, float32 or wider. Detached from log_snr.

  Raises:
    Nothing.

  Example:
    >>> from latentjax.diffusion.processes import from_log_snr
    >>> process = from_log_snr(lambda t: 8 - 16 * t)
    >>> likelihood_weight(jnp.array([0.0, 3.0]), process=process).tolist()
    [8.0, 8.0]

  References:
    Song et al., Maximum Likelihood Training of Score-Based Diffusion Models, 2021. arXiv:2101.09258
  """
  t = time_at_log_snr(_wide(log_snr), process=process)
  return -0.5 * with_slope(process.log_snr, t)[1]


def _wide(log_snr: ArrayLike) -> jax.Array:
  return jnp.asarray(log_snr, wide_dtype(log_snr))
