r"""Diagonal Gaussian: parameters `mean` and `log_scale` (log sigma, not log variance).

.. math:: \log N(x; m, s) = -\tfrac12 \left(\frac{x - m}{s}\right)^2 - \log s - \tfrac12 \log 2\pi

In all functions leading axes may be missing from any array (x of shape (B, D) with a mean of shape
(K, B, D), a shared log_scale of shape (D,) or ()), and among arrays of equal rank batch axes may
have size 1; everything else is refused. Results are float32 (float64 for float64 inputs) whatever
lower precision the inputs have; samples keep the inputs' dtype. Values and gradients are finite for
|log_scale| <= 40 as long as the value itself fits into the result's dtype.
"""

import math

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.densities._shapes import draw_samples, promote, sum_event

__all__ = ["entropy", "kl", "kl_standard", "log_prob", "mean", "sample", "standard_log_prob"]

_HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


def log_prob(
  x: ArrayLike, mean: ArrayLike, log_scale: ArrayLike, *, event_ndim: int = 1
) -> jax.Array:
  r"""Log-density of a diagonal Gaussian in nats, summed over the event axes.

  .. math:: \sum_d -\tfrac12 \left(\frac{x_d - m_d}{s_d}\right)^2 - \log s_d - \tfrac12 \log 2\pi

  Args:
    x: points, shape (..., D) for `event_ndim=1`.
    mean: shape (..., D); leading axes may be missing here or in x.
    log_scale: logarithm of the standard deviation, shape (..., D) or with leading axes missing.
    event_ndim: number of trailing axes that make up one event.

  Returns:
    Log-density in nats, the broadcast shape without the event axes. Gradient flows to all three
    arguments.

  Raises:
    TypeError: if an argument is not floating point.
    ValueError: if the shapes do not combine explicitly or `event_ndim` is not between 0 and the
      rank.

  Example:
    >>> float(log_prob(jnp.zeros(2), jnp.zeros(2), jnp.zeros(2)))  # -log(2 pi)
    -1.837877...

  References:
    Bishop, Pattern Recognition and Machine Learning, 2006, for a diagonal covariance.
  """
  x, mean, log_scale = promote(event_ndim, x=x, mean=mean, log_scale=log_scale)
  standardised = (x - mean) * jnp.exp(-log_scale)
  return sum_event(-0.5 * jnp.square(standardised) - log_scale - _HALF_LOG_2PI, event_ndim)


def standard_log_prob(x: ArrayLike, *, event_ndim: int = 1) -> jax.Array:
  r"""Log-density of the standard Gaussian N(0, I) in nats, the usual prior of a latent variable.

  .. math:: \sum_d -\tfrac12 x_d^2 - \tfrac12 \log 2\pi

  Args:
    x: points, shape (..., D) for `event_ndim=1`.
    event_ndim: number of trailing axes that make up one event.

  Returns:
    Log-density in nats, the shape of x without the event axes. Gradient flows to x.

  Raises:
    TypeError: if x is not floating point.
    ValueError: if `event_ndim` is not between 0 and the rank of x.

  Example:
    >>> float(standard_log_prob(jnp.zeros(2)))
    -1.837877...

  References:
    Bishop, Pattern Recognition and Machine Learning, 2006, for zero mean and unit covariance.
  """
  (x,) = promote(event_ndim, x=x)
  return sum_event(-0.5 * jnp.square(x) - _HALF_LOG_2PI, event_ndim)


def sample(
  key: jax.Array,
  mean: ArrayLike,
  log_scale: ArrayLike,
  *,
  num_samples: int | None = None,
  axis_name: str | None = None,
) -> jax.Array:
  r"""Reparameterised samples of a diagonal Gaussian.

  .. math:: z = m + s\,\epsilon, \quad \epsilon \sim N(0, I)

  The noise of a row depends on `key` and on the row's index in the batch alone, so a batch split
  over devices gets the noise it would get on one.

  Args:
    key: random key, the same on every device.
    mean: shape (B, ...).
    log_scale: logarithm of the standard deviation, the shape of mean or with leading axes missing.
    num_samples: K draws for every row; None draws one and adds no axis.
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`.

  Returns:
    Samples in the inputs' dtype, shape (B, ...), or (K, B, ...) if `num_samples=K`. Gradient flows
    to mean and log_scale through the samples.

  Raises:
    TypeError: if an argument is not floating point or `num_samples` is not an integer.
    ValueError: if the shapes do not combine explicitly or `num_samples` is below 1.

  Example:
    >>> sample(jax.random.key(0), jnp.zeros((3, 2)), jnp.zeros((3, 2)), num_samples=5).shape
    (5, 3, 2)

  References:
    Kingma & Welling, Auto-Encoding Variational Bayes, 2014. arXiv:1312.6114
  """
  dtype = jnp.result_type(mean, log_scale)
  mean, log_scale = promote(None, mean=mean, log_scale=log_scale)
  shape = jnp.broadcast_shapes(mean.shape, log_scale.shape)

  def draw(row_key: jax.Array, row_shape: tuple[int, ...]) -> jax.Array:
    return jax.random.normal(row_key, row_shape, mean.dtype)

  eps = draw_samples(key, draw, shape, num_samples, axis_name)
  return (mean + jnp.exp(log_scale) * eps).astype(dtype)


def mean(mean: ArrayLike, log_scale: ArrayLike) -> jax.Array:
  r"""Mean of a diagonal Gaussian, which is its first parameter.

  .. math:: E[x] = m

  Args:
    mean: shape (..., D).
    log_scale: not used; present because every family's `mean` takes all parameters.

  Returns:
    The mean as it came, shape (..., D). Gradient flows to mean only.

  Raises:
    TypeError: if an argument is not floating point.
    ValueError: if the shapes do not combine explicitly.

  Example:
    >>> mean(jnp.ones(2), jnp.zeros(2)).tolist()
    [1.0, 1.0]

  References:
    Bishop, Pattern Recognition and Machine Learning, 2006.
  """
  promote(None, mean=mean, log_scale=log_scale)
  return jnp.asarray(mean)


def entropy(mean: ArrayLike, log_scale: ArrayLike, *, event_ndim: int = 1) -> jax.Array:
  r"""Differential entropy of a diagonal Gaussian in nats.

  .. math:: H = \sum_d \log s_d + \tfrac12 (1 + \log 2\pi)

  Args:
    mean: shape (..., D); its values do not matter, its shape does.
    log_scale: logarithm of the standard deviation, shape (..., D) or with leading axes missing.
    event_ndim: number of trailing axes that make up one event.

  Returns:
    Entropy in nats, the broadcast shape without the event axes. Gradient flows to log_scale; it is
    zero for mean.

  Raises:
    TypeError: if an argument is not floating point.
    ValueError: if the shapes do not combine explicitly or `event_ndim` is not between 0 and the
      rank.

  Example:
    >>> float(entropy(jnp.zeros(1), jnp.zeros(1)))
    1.418938...

  References:
    Cover & Thomas, Elements of Information Theory, 2006.
  """
  mean, log_scale = promote(event_ndim, mean=mean, log_scale=log_scale)
  shape = jnp.broadcast_shapes(mean.shape, log_scale.shape)
  return sum_event(jnp.broadcast_to(log_scale + 0.5 + _HALF_LOG_2PI, shape), event_ndim)


def kl(
  mean_q: ArrayLike,
  log_scale_q: ArrayLike,
  mean_p: ArrayLike,
  log_scale_p: ArrayLike,
  *,
  event_ndim: int = 1,
) -> jax.Array:
  r"""Kullback-Leibler divergence KL(q || p) of two diagonal Gaussians in nats.

  .. math:: \sum_d \log\frac{s_p}{s_q} + \frac{s_q^2 + (m_q - m_p)^2}{2 s_p^2} - \tfrac12

  Args:
    mean_q: mean of q, shape (..., D).
    log_scale_q: logarithm of the standard deviation of q, shape (..., D).
    mean_p: mean of p, shape (..., D).
    log_scale_p: logarithm of the standard deviation of p, shape (..., D).
    event_ndim: number of trailing axes that make up one event.

  Returns:
    Divergence in nats, at least 0, the broadcast shape without the event axes. Gradient flows to
    all four arguments. It leaves the range of float32 when log_scale_q exceeds log_scale_p by more
    than 44.

  Raises:
    TypeError: if an argument is not floating point.
    ValueError: if the shapes do not combine explicitly or `event_ndim` is not between 0 and the
      rank.

  Example:
    >>> float(kl(jnp.ones(2), jnp.zeros(2), jnp.zeros(2), jnp.zeros(2)))
    1.0

  References:
    Kingma & Welling, Auto-Encoding Variational Bayes, 2014, appendix B, for a general second
      Gaussian. arXiv:1312.6114
  """
  mean_q, log_scale_q, mean_p, log_scale_p = promote(
    event_ndim, mean_q=mean_q, log_scale_q=log_scale_q, mean_p=mean_p, log_scale_p=log_scale_p
  )
  log_ratio = log_scale_q - log_scale_p
  shift = (mean_q - mean_p) * jnp.exp(-log_scale_p)
  # expm1 keeps the digits of a divergence near zero, where exp(2 r) - 1 - 2 r would cancel.
  return sum_event(0.5 * (jnp.expm1(2 * log_ratio) - 2 * log_ratio + jnp.square(shift)), event_ndim)


def kl_standard(mean: ArrayLike, log_scale: ArrayLike, *, event_ndim: int = 1) -> jax.Array:
  r"""Kullback-Leibler divergence of a diagonal Gaussian from N(0, I) in nats.

  .. math:: \tfrac12 \sum_d m_d^2 + s_d^2 - 1 - 2 \log s_d

  Args:
    mean: shape (..., D).
    log_scale: logarithm of the standard deviation, shape (..., D) or with leading axes missing.
    event_ndim: number of trailing axes that make up one event.

  Returns:
    Divergence in nats, at least 0, the broadcast shape without the event axes. Gradient flows to
    both arguments.

  Raises:
    TypeError: if an argument is not floating point.
    ValueError: if the shapes do not combine explicitly or `event_ndim` is not between 0 and the
      rank.

  Example:
    >>> float(kl_standard(jnp.ones(2), jnp.zeros(2)))
    1.0

  References:
    Kingma & Welling, Auto-Encoding Variational Bayes, 2014, appendix B. arXiv:1312.6114
  """
  mean, log_scale = promote(event_ndim, mean=mean, log_scale=log_scale)
  return kl(mean, log_scale, 0.0, 0.0, event_ndim=event_ndim)
