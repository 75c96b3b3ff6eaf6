r"""Negative binomial counts with extra zeros, parameters as there and `logits` of an extra zero.

.. math:: p(x) = \sigma(l) \, 1[x = 0] + \sigma(-l) \, \mathrm{NB}(x; \mu, r)

In all functions leading axes may be missing from any array, and among arrays of equal rank batch
axes may have size 1; everything else is refused. Results are float32 (float64 for float64 inputs)
whatever lower precision the inputs have; samples and means keep the parameters' dtype. Values and
gradients are finite for |log_rate| <= 40, |log_concentration| <= 40 and |logits| <= 1e4.
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.densities import bernoulli, negative_binomial
from latentjax.densities._shapes import counts_to_float, promote, sum_event
from latentjax.densities.negative_binomial import negative_binomial_log_prob

__all__ = ["log_prob", "mean", "sample"]


def log_prob(
  x: ArrayLike,
  log_rate: ArrayLike,
  log_concentration: ArrayLike,
  logits: ArrayLike,
  *,
  event_ndim: int = 1,
) -> jax.Array:
  r"""Log-probability of counts in nats, summed over the event axes.

  .. math:: \sum_d \log\left(\sigma(l_d) \, 1[x_d = 0] + \sigma(-l_d) \, \mathrm{NB}(x_d)\right)

  Args:
    x: counts, integer or floating point, shape (..., D) for `event_ndim=1`. Negative counts and
      fractions are not detected.
    log_rate: logarithm of the mean mu of the counts that are not extra zeros, shape (..., D).
    log_concentration: log r, shape (..., D) or with leading axes missing.
    logits: logit of the probability of an extra zero, shape (..., D).
    event_ndim: number of trailing axes that make up one event.

  Returns:
    Log-probability in nats, the broadcast shape without the event axes. Gradient flows to the three
    parameters; none reaches x.

  Raises:
    TypeError: if x is not real or a parameter is not floating point.
    ValueError: if the shapes do not combine explicitly or `event_ndim` is not between 0 and the
      rank.

  Example:
    >>> float(log_prob(jnp.array([0]), jnp.zeros(1), jnp.zeros(1), jnp.zeros(1)))  # log 3/4
    -0.287682...

  References:
    Lopez et al., Deep Generative Modeling for Single-cell Transcriptomics, 2018 (likelihood).
  """
  x, log_rate, log_concentration, logits = promote(
    event_ndim,
    x=counts_to_float(x),
    log_rate=log_rate,
    log_concentration=log_concentration,
    logits=logits,
  )
  x = jax.lax.stop_gradient(x)
  counted = negative_binomial_log_prob(x, log_rate, log_concentration) + jax.nn.log_sigmoid(-logits)
  either = jnp.logaddexp(jax.nn.log_sigmoid(logits), counted)
  return sum_event(jnp.where(x <= 0, either, counted), event_ndim)


def sample(
  key: jax.Array,
  log_rate: ArrayLike,
  log_concentration: ArrayLike,
  logits: ArrayLike,
  *,
  num_samples: int | None = None,
  axis_name: str | None = None,
) -> jax.Array:
  r"""Samples of independent counts: zero, or negative binomial.

  .. math:: x = (1 - b) \, n, \quad b \sim \mathrm{Bernoulli}(\sigma(l)), \; n \sim \mathrm{NB}

  The noise of a row depends on `key` and on the row's index in the batch alone.

  Args:
    key: random key of the default (threefry) kind, the same on every device.
    log_rate: log mu, shape (B, ...).
    log_concentration: log r, the shape of log_rate or with leading axes missing.
    logits: logit of the probability of an extra zero, the shape of log_rate or with leading axes
      missing.
    num_samples: K draws for every row; None draws one and adds no axis.
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`.

  Returns:
    Counts in the parameters' dtype, shape (B, ...), or (K, B, ...) if `num_samples=K`. Detached: no
    gradient reaches the parameters.

  Raises:
    TypeError: if a parameter is not floating point or `num_samples` is not an integer.
    ValueError: if the shapes do not combine explicitly or `num_samples` is below 1.

  Example:
    >>> sample(jax.random.key(0), jnp.ones(3), jnp.zeros(3), jnp.full(3, 1e4)).tolist()
    [0.0, 0.0, 0.0]

  References:
    Lopez et al., Deep Generative Modeling for Single-cell Transcriptomics, 2018 (generative
      process).
  """
  dtype = jnp.result_type(log_rate, log_concentration, logits)
  params = promote(None, log_rate=log_rate, log_concentration=log_concentration, logits=logits)
  log_rate, log_concentration, logits = jnp.broadcast_arrays(*params)
  key_count, key_zero = jax.random.split(key)
  count = negative_binomial.sample(
    key_count, log_rate, log_concentration, num_samples=num_samples, axis_name=axis_name
  )
  extra = bernoulli.sample(key_zero, logits, num_samples=num_samples, axis_name=axis_name)
  return ((1 - extra) * count).astype(dtype)


def mean(log_rate: ArrayLike, log_concentration: ArrayLike, logits: ArrayLike) -> jax.Array:
  r"""Mean count, extra zeros included.

  .. math:: E[x] = \sigma(-l) \mu

  Args:
    log_rate: log mu, shape (..., D).
    log_concentration: not used; present because every family's `mean` takes all parameters.
    logits: logit of the probability of an extra zero, shape (..., D).

  Returns:
    Mean in the parameters' dtype, the broadcast shape of log_rate and logits. Gradient flows to
    log_rate and logits.

  Raises:
    TypeError: if an argument is not floating point.
    ValueError: if the shapes do not combine explicitly.

  Example:
    >>> float(mean(jnp.zeros(()), jnp.ones(()), jnp.zeros(())))
    0.5

  References:
    Johnson, Kemp & Kotz, Univariate Discrete Distributions, 2005 (added zeros).
  """
  promote(None, log_rate=log_rate, log_concentration=log_concentration, logits=logits)
  return jax.nn.sigmoid(-jnp.asarray(logits)) * jnp.exp(jnp.asarray(log_rate))
