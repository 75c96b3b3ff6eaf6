r"""Independent Student-t variables, parameters `mean`, `log_scale` and `log_df` (log nu).

.. math:: p(x) = \frac{\Gamma((\nu + 1) / 2)}{\Gamma(\nu / 2) \sqrt{\pi \nu} \, s}
  \left(1 + \frac{(x - m)^2}{\nu s^2}\right)^{-(\nu + 1) / 2}

`mean` is the location: the mean for nu > 1, the median always. In all functions leading axes may be
missing from any array, and among arrays of equal rank batch axes may have size 1; everything else
is refused. Results are float32 (float64 for float64 inputs) whatever lower precision the inputs
have; samples and means keep the parameters' dtype. Values and gradients of log_prob are finite for
|log_scale| <= 40 and |log_df| <= 40 (of entropy for log_df >= -20); for large nu they tend to the
Gaussian's, digit for digit.
"""

import math

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.densities._gamma import draw_log_gamma, stirling_remainder
from latentjax.densities._shapes import draw_by_row, promote, sum_event

__all__ = ["entropy", "log_prob", "mean", "sample"]

_HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)
_LOG_2 = math.log(2)


def log_prob(
  x: ArrayLike, mean: ArrayLike, log_scale: ArrayLike, log_df: ArrayLike, *, event_ndim: int = 1
) -> jax.Array:
  r"""Log-density in nats, summed over the event axes.

  .. math:: \sum_d -\tfrac{\nu + 1}{2} \log\left(1 + \frac{(x_d - m_d)^2}{\nu s_d^2}\right)
    - \log s_d + \log \frac{\Gamma((\nu + 1) / 2)}{\Gamma(\nu / 2) \sqrt{\pi \nu}}

  Args:
    x: points, shape (..., D) for `event_ndim=1`.
    mean: location, shape (..., D).
    log_scale: log s, shape (..., D).
    log_df: logarithm of the degrees of freedom nu, shape (..., D) or with leading axes missing.
    event_ndim: number of trailing axes that make up one event.

  Returns:
    Log-density in nats, the broadcast shape without the event axes. Gradient flows to all four
    arguments.

  Raises:
    TypeError: if an argument is not floating point.
    ValueError: if the shapes do not combine explicitly or `event_ndim` is not between 0 and the
      rank.

  Example:
    >>> float(log_prob(jnp.zeros(1), jnp.zeros(1), jnp.zeros(1), jnp.zeros(1)))  # -log pi (Cauchy)
    -1.144729...

  References:
    Bishop, Pattern Recognition and Machine Learning, 2006, eq. 2.159.
  """
  x, mean, log_scale, log_df = promote(
    event_ndim, x=x, mean=mean, log_scale=log_scale, log_df=log_df
  )
  half_df = 0.5 * jnp.exp(log_df)
  u = (x - mean) * jnp.exp(-log_scale - 0.5 * log_df)
  # log(1 + u^2) without squaring a large u.
  far = jnp.abs(u) > 1
  size = jnp.where(far, jnp.abs(u), 1)
  tail = 2 * jnp.log(size) + jnp.log1p(jnp.square(jnp.where(far, 1 / size, u)))
  log_norm = _log_norm_ratio(log_df - _LOG_2) - _HALF_LOG_2PI - log_scale
  return sum_event(log_norm - (half_df + 0.5) * tail, event_ndim)


def sample(
  key: jax.Array,
  mean: ArrayLike,
  log_scale: ArrayLike,
  log_df: ArrayLike,
  *,
  num_samples: int | None = None,
  axis_name: str | None = None,
) -> jax.Array:
  r"""Reparameterised samples: a Gaussian divided by the root of a Gamma variable.

  .. math:: z = m + s \, \epsilon \sqrt{\frac{\nu / 2}{g}}, \quad \epsilon \sim N(0, 1),
    \; g \sim \mathrm{Gamma}(\nu / 2)

  The noise of a row depends on `key` and on the row's index in the batch alone. Tails as heavy as
  those of nu < 0.2 leave the range of float32.

  Args:
    key: random key, the same on every device.
    mean: location, shape (B, ...).
    log_scale: log s, the shape of mean or with leading axes missing.
    log_df: log nu, the shape of mean or with leading axes missing.
    num_samples: K draws for every row; None draws one and adds no axis.
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`.

  Returns:
    Samples in the parameters' dtype, shape (B, ...), or (K, B, ...) if `num_samples=K`. Gradient
    flows to all three parameters through the samples, to log_df by implicit differentiation of the
    Gamma distribution function.

  Raises:
    TypeError: if a parameter is not floating point or `num_samples` is not an integer.
    ValueError: if the shapes do not combine explicitly or `num_samples` is below 1.

  Example:
    >>> sample(jax.random.key(0), jnp.zeros((3, 2)), jnp.zeros(2), jnp.ones(2)).shape
    (3, 2)

  References:
    Bishop, Pattern Recognition and Machine Learning, 2006, eq. 2.158.
    Figurnov et al., Implicit Reparameterization Gradients, 2018. arXiv:1805.08498
  """
  dtype = jnp.result_type(mean, log_scale, log_df)
  mean, log_scale, log_df = promote(None, mean=mean, log_scale=log_scale, log_df=log_df)
  shape = jnp.broadcast_shapes(mean.shape, log_scale.shape, log_df.shape)
  half_df = jnp.broadcast_to(0.5 * jnp.exp(log_df), shape)

  def draw(row_key: jax.Array, shape: tuple[int, ...], half_df: jax.Array) -> jax.Array:
    key_normal, key_gamma = jax.random.split(row_key)
    log_gamma = draw_log_gamma(key_gamma, half_df, shape)
    # Both logarithms are large for a large nu, their difference is not.
    stretch = jnp.exp(0.5 * (jnp.log(half_df) - log_gamma))
    return jax.random.normal(key_normal, shape, half_df.dtype) * stretch

  eps = draw_by_row(key, draw, [half_df], num_samples, axis_name)
  return (mean + jnp.exp(log_scale) * eps).astype(dtype)


def mean(mean: ArrayLike, log_scale: ArrayLike, log_df: ArrayLike) -> jax.Array:
  r"""Mean for nu > 1; the median for every nu.

  .. math:: E[x] = m

  Args:
    mean: location, shape (..., D).
    log_scale: not used; present because every family's `mean` takes all parameters.
    log_df: not used either.

  Returns:
    The location as it came, shape (..., D). Gradient flows to mean only.

  Raises:
    TypeError: if an argument is not floating point.
    ValueError: if the shapes do not combine explicitly.

  Example:
    >>> mean(jnp.ones(2), jnp.zeros(2), jnp.ones(2)).tolist()
    [1.0, 1.0]

  References:
    Bishop, Pattern Recognition and Machine Learning, 2006, section 2.3.7.
  """
  promote(None, mean=mean, log_scale=log_scale, log_df=log_df)
  return jnp.asarray(mean)


def entropy(
  mean: ArrayLike, log_scale: ArrayLike, log_df: ArrayLike, *, event_ndim: int = 1
) -> jax.Array:
  r"""Differential entropy in nats.

  .. math:: \sum_d \tfrac{\nu + 1}{2} \left[\psi(\tfrac{\nu + 1}{2}) - \psi(\tfrac{\nu}{2})\right]
    + \log \sqrt{\nu} B(\tfrac{\nu}{2}, \tfrac12) + \log s_d

  Args:
    mean: location, shape (..., D); its values do not matter, its shape does.
    log_scale: log s, shape (..., D).
    log_df: log nu, shape (..., D) or with leading axes missing.
    event_ndim: number of trailing axes that make up one event.

  Returns:
    Entropy in nats, the broadcast shape without the event axes. Gradient flows to log_scale and
    log_df; it is zero for mean.

  Raises:
    TypeError: if an argument is not floating point.
    ValueError: if the shapes do not combine explicitly or `event_ndim` is not between 0 and the
      rank.

  Example:
    >>> float(entropy(jnp.zeros(1), jnp.zeros(1), jnp.zeros(1)))  # log 4 pi (Cauchy)
    2.53102...

  References:
    Cover & Thomas, Elements of Information Theory, 2006.
  """
  mean, log_scale, log_df = promote(event_ndim, mean=mean, log_scale=log_scale, log_df=log_df)
  log_half_df = log_df - _LOG_2
  log_ratio, slope = jax.jvp(_log_norm_ratio, (log_half_df,), (jnp.ones_like(log_half_df),))
  spread = slope - log_ratio + 0.5 * jnp.exp(-log_half_df) * (slope + 0.5)
  per_element = log_scale + spread + 0.5 + _HALF_LOG_2PI
  shape = jnp.broadcast_shapes(mean.shape, per_element.shape)
  return sum_event(jnp.broadcast_to(per_element, shape), event_ndim)


def _log_norm_ratio(log_a: jax.Array) -> jax.Array:
  """log Gamma(a + 1/2) - log Gamma(a) - log(a) / 2: the peak of a t over that of a Gaussian."""
  a = jnp.exp(log_a)
  remainders = stirling_remainder(a + 0.5) - stirling_remainder(a)
  return a * jnp.log1p(0.5 * jnp.exp(-log_a)) - 0.5 + remainders
