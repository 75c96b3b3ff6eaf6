r"""Independent Poisson counts, parameter `log_rate` (the logarithm of the mean).

.. math:: p(x) = \frac{\lambda^x e^{-\lambda}}{x!}, \quad x = 0, 1, 2, ...

In all functions leading axes may be missing from any array, and among arrays of equal rank batch
axes may have size 1; everything else is refused. Results are float32 (float64 for float64 inputs)
whatever lower precision the inputs have; samples and means keep the parameter's dtype. Values and
gradients are finite for |log_rate| <= 40; sampled counts stay below 2^31.
"""

import math

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.densities._gamma import exp_remainder, stirling_remainder
from latentjax.densities._shapes import counts_to_float, draw_by_row, promote, sum_event

__all__ = ["kl", "log_prob", "mean", "sample"]


def log_prob(x: ArrayLike, log_rate: ArrayLike, *, event_ndim: int = 1) -> jax.Array:
  r"""Log-probability of counts in nats, summed over the event axes.

  .. math:: \sum_d x_d \log \lambda_d - \lambda_d - \log x_d!

  Computed as a deviance plus Stirling's remainder, in which counts of millions keep their digits.

  Args:
    x: counts, integer or floating point, shape (..., D) for `event_ndim=1`. Negative counts and
      fractions are not detected.
    log_rate: log lambda, shape (..., D); leading axes may be missing here or in x.
    event_ndim: number of trailing axes that make up one event.

  Returns:
    Log-probability in nats, the broadcast shape without the event axes. Gradient flows to log_rate;
    none reaches x.

  Raises:
    TypeError: if x is not real or log_rate is not floating point.
    ValueError: if the shapes do not combine explicitly or `event_ndim` is not between 0 and the
      rank.

  Example:
    >>> float(log_prob(jnp.array([2]), jnp.zeros(1)))  # -1 - log 2
    -1.693147...

  References:
    Loader, Fast and Accurate Computation of Binomial Probabilities, 2000 (Poisson).
  """
  x, log_rate = promote(event_ndim, x=counts_to_float(x), log_rate=log_rate)
  return sum_event(poisson_log_prob(jax.lax.stop_gradient(x), log_rate), event_ndim)


def sample(
  key: jax.Array,
  log_rate: ArrayLike,
  *,
  num_samples: int | None = None,
  axis_name: str | None = None,
) -> jax.Array:
  r"""Samples of independent Poisson counts.

  .. math:: x \sim \mathrm{Poisson}(e^{l})

  The noise of a row depends on `key` and on the row's index in the batch alone.

  Args:
    key: random key of the default (threefry) kind, the same on every device.
    log_rate: log lambda, shape (B, ...).
    num_samples: K draws for every row; None draws one and adds no axis.
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`.

  Returns:
    Counts in the dtype of log_rate, shape (B, ...), or (K, B, ...) if `num_samples=K`. Detached: no
    gradient reaches log_rate.

  Raises:
    TypeError: if log_rate is not floating point or `num_samples` is not an integer.
    ValueError: if `num_samples` is below 1.

  Example:
    >>> sample(jax.random.key(0), jnp.full(3, -40.0)).tolist()
    [0.0, 0.0, 0.0]

  References:
    Hormann, The Transformed Rejection Method for Generating Poisson Random Variables, 1993.
  """
  dtype = jnp.result_type(log_rate)
  (log_rate,) = promote(None, log_rate=log_rate)

  def draw(row_key: jax.Array, shape: tuple[int, ...], rate: jax.Array) -> jax.Array:
    return jax.random.poisson(row_key, rate, shape)

  rate = jnp.exp(jax.lax.stop_gradient(log_rate))
  return draw_by_row(key, draw, [rate], num_samples, axis_name).astype(dtype)


def mean(log_rate: ArrayLike) -> jax.Array:
  r"""Mean count.

  .. math:: E[x] = e^{l}

  Args:
    log_rate: log lambda, shape (..., D).

  Returns:
    Mean, the shape and dtype of log_rate. Gradient flows to log_rate.

  Raises:
    TypeError: if log_rate is not floating point.

  Example:
    >>> float(mean(jnp.zeros(())))
    1.0

  References:
    Johnson, Kemp & Kotz, Univariate Discrete Distributions, 2005.
  """
  promote(None, log_rate=log_rate)
  return jnp.exp(jnp.asarray(log_rate))


def kl(log_rate_q: ArrayLike, log_rate_p: ArrayLike, *, event_ndim: int = 1) -> jax.Array:
  r"""Kullback-Leibler divergence KL(q || p) in nats.

  .. math:: \sum_d \lambda_q \log \frac{\lambda_q}{\lambda_p} - \lambda_q + \lambda_p

  Args:
    log_rate_q: logarithm of the mean of q, shape (..., D).
    log_rate_p: logarithm of the mean of p, shape (..., D).
    event_ndim: number of trailing axes that make up one event.

  Returns:
    Divergence in nats, at least 0, the broadcast shape without the event axes. Gradient flows to
    both arguments.

  Raises:
    TypeError: if an argument is not floating point.
    ValueError: if the shapes do not combine explicitly or `event_ndim` is not between 0 and the
      rank.

  Example:
    >>> float(kl(jnp.zeros(1), jnp.ones(1)))  # e - 2
    0.718281...

  References:
    Cover & Thomas, Elements of Information Theory, 2006 (definition; the sum is direct).
  """
  log_rate_q, log_rate_p = promote(event_ndim, log_rate_q=log_rate_q, log_rate_p=log_rate_p)
  divergence = jnp.exp(log_rate_q) * exp_remainder(log_rate_p - log_rate_q)
  return sum_event(divergence, event_ndim)


def poisson_log_prob(x: jax.Array, log_rate: jax.Array) -> jax.Array:
  """Log-probability of every count, not summed."""
  zero = x <= 0
  safe = jnp.where(zero, 1, x)
  deviance = safe * exp_remainder(log_rate - jnp.log(safe))
  log_peak = -stirling_remainder(safe) - 0.5 * jnp.log(safe) - 0.5 * math.log(2 * math.pi)
  return jnp.where(zero, -jnp.exp(log_rate), log_peak - deviance)
