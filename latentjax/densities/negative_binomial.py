r"""Independent negative binomial counts, parameters `log_rate` (log mean) and `log_concentration`.

.. math:: p(x) = \frac{\Gamma(x + r)}{\Gamma(r) \, x!} \left(\frac{r}{r + \mu}\right)^r
  \left(\frac{\mu}{r + \mu}\right)^x, \quad x = 0, 1, 2, ...

A Poisson whose rate is Gamma distributed with mean mu and concentration r: the variance is mu +
mu^2 / r, and r to infinity is the Poisson. In all functions leading axes may be missing from any
array, and among arrays of equal rank batch axes may have size 1; everything else is refused.
Results are float32 (float64 for float64 inputs) whatever lower precision the inputs have; samples
and means keep the parameters' dtype. Values and gradients are finite for |log_rate| <= 40 and
|log_concentration| <= 40; sampled counts stay below 2^31.
"""

import math

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.densities._gamma import exp_remainder, stirling_remainder
from latentjax.densities._shapes import counts_to_float, draw_by_row, promote, sum_event

__all__ = ["log_prob", "mean", "sample"]


def log_prob(
  x: ArrayLike, log_rate: ArrayLike, log_concentration: ArrayLike, *, event_ndim: int = 1
) -> jax.Array:
  r"""Log-probability of counts in nats, summed over the event axes.

  .. math:: \sum_d \log \frac{\Gamma(x_d + r_d)}{\Gamma(r_d) \, x_d!}
    + r_d \log \frac{r_d}{r_d + \mu_d} + x_d \log \frac{\mu_d}{r_d + \mu_d}

  Computed as deviances plus Stirling remainders, in which large counts and a large r, where the
  log-gamma functions cancel, keep their digits.

  Args:
    x: counts, integer or floating point, shape (..., D) for `event_ndim=1`. Negative counts and
      fractions are not detected.
    log_rate: log mu, shape (..., D).
    log_concentration: log r (the inverse dispersion), shape (..., D) or with leading axes missing.
    event_ndim: number of trailing axes that make up one event.

  Returns:
    Log-probability in nats, the broadcast shape without the event axes. Gradient flows to both
    parameters; none reaches x.

  Raises:
    TypeError: if x is not real or a parameter is not floating point.
    ValueError: if the shapes do not combine explicitly or `event_ndim` is not between 0 and the
      rank.

  Example:
    >>> float(log_prob(jnp.array([1]), jnp.zeros(1), jnp.zeros(1)))  # geometric: log 1/4
    -1.386294...

  References:
    Loader, Fast and Accurate Computation of Binomial Probabilities, 2000.
    Lopez et al., Deep Generative Modeling for Single-cell Transcriptomics, 2018 (this
      parametrisation as a VAE's likelihood).
  """
  x, log_rate, log_concentration = promote(
    event_ndim, x=counts_to_float(x), log_rate=log_rate, log_concentration=log_concentration
  )
  log_p = negative_binomial_log_prob(jax.lax.stop_gradient(x), log_rate, log_concentration)
  return sum_event(log_p, event_ndim)


def sample(
  key: jax.Array,
  log_rate: ArrayLike,
  log_concentration: ArrayLike,
  *,
  num_samples: int | None = None,
  axis_name: str | None = None,
) -> jax.Array:
  r"""Samples of independent counts: Poisson with a Gamma distributed rate.

  .. math:: x \sim \mathrm{Poisson}(\mu g / r), \quad g \sim \mathrm{Gamma}(r)

  The noise of a row depends on `key` and on the row's index in the batch alone.

  Args:
    key: random key of the default (threefry) kind, the same on every device.
    log_rate: log mu, shape (B, ...).
    log_concentration: log r, the shape of log_rate or with leading axes missing.
    num_samples: K draws for every row; None draws one and adds no axis.
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`.

  Returns:
    Counts in the parameters' dtype, shape (B, ...), or (K, B, ...) if `num_samples=K`. Detached: no
    gradient reaches the parameters.

  Raises:
    TypeError: if a parameter is not floating point or `num_samples` is not an integer.
    ValueError: if the shapes do not combine explicitly or `num_samples` is below 1.

  Example:
    >>> sample(jax.random.key(0), jnp.full(3, -40.0), jnp.zeros(3)).tolist()
    [0.0, 0.0, 0.0]

  References:
    Johnson, Kemp & Kotz, Univariate Discrete Distributions, 2005 (Gamma mixture).
  """
  dtype = jnp.result_type(log_rate, log_concentration)
  log_rate, log_concentration = promote(
    None, log_rate=log_rate, log_concentration=log_concentration
  )
  params = jnp.broadcast_arrays(*map(jax.lax.stop_gradient, (log_rate, log_concentration)))

  def draw(
    row_key: jax.Array, shape: tuple[int, ...], log_rate: jax.Array, log_concentration: jax.Array
  ) -> jax.Array:
    key_gamma, key_poisson = jax.random.split(row_key)
    concentration = jnp.exp(log_concentration)
    log_gamma = jax.random.loggamma(key_gamma, concentration, shape, log_rate.dtype)
    return jax.random.poisson(key_poisson, jnp.exp(log_rate - log_concentration + log_gamma), shape)

  return draw_by_row(key, draw, params, num_samples, axis_name).astype(dtype)


def mean(log_rate: ArrayLike, log_concentration: ArrayLike) -> jax.Array:
  r"""Mean count.

  .. math:: E[x] = \mu

  Args:
    log_rate: log mu, shape (..., D).
    log_concentration: not used; present because every family's `mean` takes all parameters.

  Returns:
    Mean, the shape and dtype of log_rate. Gradient flows to log_rate only.

  Raises:
    TypeError: if an argument is not floating point.
    ValueError: if the shapes do not combine explicitly.

  Example:
    >>> float(mean(jnp.zeros(()), jnp.ones(())))
    1.0

  References:
    Johnson, Kemp & Kotz, Univariate Discrete Distributions, 2005.
  """
  promote(None, log_rate=log_rate, log_concentration=log_concentration)
  return jnp.exp(jnp.asarray(log_rate))


def negative_binomial_log_prob(
  x: jax.Array, log_rate: jax.Array, log_concentration: jax.Array
) -> jax.Array:
  """Log-probability of every count, not summed."""
  r = jnp.exp(log_concentration)
  log_total = jnp.logaddexp(log_rate, log_concentration)
  at_zero = -r * jax.nn.softplus(log_rate - log_concentration)
  zero = x <= 0
  x = jnp.where(zero, 1, x)
  # log of the observed over the expected "trials", (x + r) / (mu + r).
  shift = (x - jnp.exp(log_rate)) * jnp.exp(-log_total)
  near = shift > -0.5
  log_excess = jnp.where(near, jnp.log1p(jnp.where(near, shift, 0)), jnp.log(x + r) - log_total)
  deviance = r * exp_remainder(log_excess)
  deviance += x * exp_remainder(log_excess + log_rate - jnp.log(x))
  remainders = stirling_remainder(x + r) - stirling_remainder(r) - stirling_remainder(x)
  log_peak = remainders - 0.5 * (jnp.log(2 * math.pi * x) + jnp.log1p(x / r))
  return jnp.where(zero, at_zero, log_peak - deviance)
