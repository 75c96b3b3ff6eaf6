r"""Independent Laplace variables, parameters `mean` and `log_scale` (the logarithm of b).

.. math:: p(x) = \frac{1}{2 b} \exp\left(-\frac{|x - m|}{b}\right)

In all functions leading axes may be missing from any array, and among arrays of equal rank batch
axes may have size 1; everything else is refused. Results are float32 (float64 for float64 inputs)
whatever lower precision the inputs have; samples and means keep the parameters' dtype. Values and
gradients are finite for |log_scale| <= 40.
"""

import math

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.densities._shapes import draw_samples, promote, sum_event

__all__ = ["entropy", "kl", "log_prob", "mean", "sample"]

_LOG_2 = math.log(2)


def log_prob(
  x: ArrayLike, mean: ArrayLike, log_scale: ArrayLike, *, event_ndim: int = 1
) -> jax.Array:
  r"""Log-density in nats, summed over the event axes.

  .. math:: \sum_d -\frac{|x_d - m_d|}{b_d} - \log 2 b_d

  Args:
    x: points, shape (..., D) for `event_ndim=1`.
    mean: shape (..., D).
    log_scale: log b, shape (..., D).
    event_ndim: number of trailing axes that make up one event.

  Returns:
    Log-density in nats, the broadcast shape without the event axes. Gradient flows to all three
    arguments; at x = mean that of the absolute value is taken as zero.

  Raises:
    TypeError: if an argument is not floating point.
    ValueError: if the shapes do not combine explicitly or `event_ndim` is not between 0 and the
      rank.

  Example:
    >>> float(log_prob(jnp.zeros(1), jnp.zeros(1), jnp.zeros(1)))  # -log 2
    -0.693147...

  References:
    Kotz, Kozubowski & Podgorski, The Laplace Distribution and Generalizations, 2001.
  """
  x, mean, log_scale = promote(event_ndim, x=x, mean=mean, log_scale=log_scale)
  return sum_event(-jnp.abs(x - mean) * jnp.exp(-log_scale) - log_scale - _LOG_2, event_ndim)


def sample(
  key: jax.Array,
  mean: ArrayLike,
  log_scale: ArrayLike,
  *,
  num_samples: int | None = None,
  axis_name: str | None = None,
) -> jax.Array:
  r"""Reparameterised samples.

  .. math:: z = m - b \, \mathrm{sign}(u) \log(1 - |u|), \quad u \sim U(-1, 1)

  The noise of a row depends on `key` and on the row's index in the batch alone.

  Args:
    key: random key, the same on every device.
    mean: shape (B, ...).
    log_scale: log b, the shape of mean or with leading axes missing.
    num_samples: K draws for every row; None draws one and adds no axis.
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`.

  Returns:
    Samples in the parameters' dtype, shape (B, ...), or (K, B, ...) if `num_samples=K`. Gradient
    flows to mean and log_scale through the samples.

  Raises:
    TypeError: if a parameter is not floating point or `num_samples` is not an integer.
    ValueError: if the shapes do not combine explicitly or `num_samples` is below 1.

  Example:
    >>> sample(jax.random.key(0), jnp.zeros((3, 2)), jnp.zeros((3, 2)), num_samples=5).shape
    (5, 3, 2)

  References:
    Kotz, Kozubowski & Podgorski, The Laplace Distribution and Generalizations, 2001
      (inversion of the distribution function).
  """
  dtype = jnp.result_type(mean, log_scale)
  mean, log_scale = promote(None, mean=mean, log_scale=log_scale)
  shape = jnp.broadcast_shapes(mean.shape, log_scale.shape)

  def draw(row_key: jax.Array, row_shape: tuple[int, ...]) -> jax.Array:
    return jax.random.laplace(row_key, row_shape, mean.dtype)

  eps = draw_samples(key, draw, shape, num_samples, axis_name)
  return (mean + jnp.exp(log_scale) * eps).astype(dtype)


def mean(mean: ArrayLike, log_scale: ArrayLike) -> jax.Array:
  r"""Mean, which is the first parameter.

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
    Kotz, Kozubowski & Podgorski, The Laplace Distribution and Generalizations, 2001.
  """
  promote(None, mean=mean, log_scale=log_scale)
  return jnp.asarray(mean)


def entropy(mean: ArrayLike, log_scale: ArrayLike, *, event_ndim: int = 1) -> jax.Array:
  r"""Differential entropy in nats.

  .. math:: H = \sum_d 1 + \log 2 b_d

  Args:
    mean: shape (..., D); its values do not matter, its shape does.
    log_scale: log b, shape (..., D).
    event_ndim: number of trailing axes that make up one event.

  Returns:
    Entropy in nats, the broadcast shape without the event axes. Gradient flows to log_scale; it is
    zero for mean.

  Raises:
    TypeError: if an argument is not floating point.
    ValueError: if the shapes do not combine explicitly or `event_ndim` is not between 0 and the
      rank.

  Example:
    >>> float(entropy(jnp.zeros(1), jnp.zeros(1)))  # 1 + log 2
    1.693147...

  References:
    Cover & Thomas, Elements of Information Theory, 2006.
  """
  mean, log_scale = promote(event_ndim, mean=mean, log_scale=log_scale)
  shape = jnp.broadcast_shapes(mean.shape, log_scale.shape)
  return sum_event(jnp.broadcast_to(log_scale + 1 + _LOG_2, shape), event_ndim)


def kl(
  mean_q: ArrayLike,
  log_scale_q: ArrayLike,
  mean_p: ArrayLike,
  log_scale_p: ArrayLike,
  *,
  event_ndim: int = 1,
) -> jax.Array:
  r"""Kullback-Leibler divergence KL(q || p) in nats.

  .. math::
    \sum_d \frac{b_q}{b_p} e^{-|m_q - m_p| / b_q} + \frac{|m_q - m_p|}{b_p} - 1
    - \log\frac{b_q}{b_p}

  Args:
    mean_q: mean of q, shape (..., D).
    log_scale_q: log b of q, shape (..., D).
    mean_p: mean of p, shape (..., D).
    log_scale_p: log b of p, shape (..., D).
    event_ndim: number of trailing axes that make up one event.

  Returns:
    Divergence in nats, at least 0 up to rounding, the broadcast shape without the event axes.
    Gradient flows to all four arguments. It leaves the range of float32 when log_scale_q exceeds
    log_scale_p by more than 88.

  Raises:
    TypeError: if an argument is not floating point.
    ValueError: if the shapes do not combine explicitly or `event_ndim` is not between 0 and the
      rank.

  Example:
    >>> float(kl(jnp.ones(1), jnp.zeros(1), jnp.zeros(1), jnp.zeros(1)))  # 1 / e
    0.367879...

  References:
    Gil, Alajaji & Linder, Renyi Divergence Measures for Commonly Used Univariate Continuous
      Distributions, 2013 (the Kullback-Leibler limit for Laplace densities).
  """
  mean_q, log_scale_q, mean_p, log_scale_p = promote(
    event_ndim, mean_q=mean_q, log_scale_q=log_scale_q, mean_p=mean_p, log_scale_p=log_scale_p
  )
  distance = jnp.abs(mean_q - mean_p)
  log_ratio = log_scale_q - log_scale_p
  shrunk = jnp.expm1(log_ratio - distance * jnp.exp(-log_scale_q))
  return sum_event(shrunk + distance * jnp.exp(-log_scale_p) - log_ratio, event_ndim)
