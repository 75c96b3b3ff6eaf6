r"""Independent continuous Bernoulli variables on [0, 1], parameter `logits` = log l / (1 - l).

.. math:: p(x) = C(\lambda) \lambda^x (1 - \lambda)^{1 - x} = \frac{\eta \, e^{\eta x}}{e^\eta - 1},
  \quad \lambda = \sigma(\eta)

The Bernoulli's cross-entropy, made a density on grey values by its normaliser. In logits that is an
exponentially tilted uniform density, symmetric under (x, eta) -> (1 - x, -eta). In all functions
leading axes may be missing from any array, and among arrays of equal rank batch axes may have size
1; everything else is refused. Results are float32 (float64 for float64 inputs) whatever lower
precision the inputs have; samples and means keep the logits' dtype. Values and gradients are finite
for |logits| <= 1e4 and beyond, and smooth at logits = 0.
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.densities._shapes import draw_samples, promote, sum_event

__all__ = ["entropy", "kl", "log_prob", "mean", "sample"]


def log_prob(x: ArrayLike, logits: ArrayLike, *, event_ndim: int = 1) -> jax.Array:
  r"""Log-density of grey values in nats, summed over the event axes.

  .. math:: \sum_d x_d \eta_d - \log \frac{e^{\eta_d} - 1}{\eta_d}

  Args:
    x: data in [0, 1], shape (..., D) for `event_ndim=1`. Values outside are not detected.
    logits: eta, shape (..., D); leading axes may be missing here or in x.
    event_ndim: number of trailing axes that make up one event.

  Returns:
    Log-density in nats, the broadcast shape without the event axes. Gradient flows to both
    arguments.

  Raises:
    TypeError: if an argument is not floating point.
    ValueError: if the shapes do not combine explicitly or `event_ndim` is not between 0 and the
      rank.

  Example:
    >>> float(log_prob(jnp.ones(1), jnp.log(jnp.full(1, 2.0))))  # log(2 log 2)
    0.326634...

  References:
    Loaiza-Ganem & Cunningham, The Continuous Bernoulli: Fixing a Pervasive Error in Variational
      Autoencoders, 2019 (density and normaliser). arXiv:1907.06845
  """
  x, logits = promote(event_ndim, x=x, logits=logits)
  return sum_event((x - 0.5) * logits - _log_sinhc(0.5 * logits), event_ndim)


def sample(
  key: jax.Array,
  logits: ArrayLike,
  *,
  num_samples: int | None = None,
  axis_name: str | None = None,
) -> jax.Array:
  r"""Reparameterised samples, by inversion of the distribution function.

  .. math:: x = \frac1\eta \log\left(1 + u (e^\eta - 1)\right), \quad u \sim U(0, 1)

  The noise of a row depends on `key` and on the row's index in the batch alone.

  Args:
    key: random key, the same on every device.
    logits: eta, shape (B, ...).
    num_samples: K draws for every row; None draws one and adds no axis.
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`.

  Returns:
    Samples in [0, 1] in the dtype of the logits, shape (B, ...), or (K, B, ...) if `num_samples=K`.
    Gradient flows to the logits through the samples.

  Raises:
    TypeError: if logits is not floating point or `num_samples` is not an integer.
    ValueError: if `num_samples` is below 1.

  Example:
    >>> sample(jax.random.key(0), jnp.array([-1e9, 1e9])).round(3).tolist()
    [0.0, 1.0]

  References:
    Loaiza-Ganem & Cunningham, The Continuous Bernoulli, 2019, supplementary material (inverse
      distribution function). arXiv:1907.06845
  """
  dtype = jnp.result_type(logits)
  (logits,) = promote(None, logits=logits)

  def draw(row_key: jax.Array, row_shape: tuple[int, ...]) -> jax.Array:
    # 2^-24 keeps both u and 1 - u off the ends in float32.
    return jax.random.uniform(row_key, row_shape, logits.dtype, minval=2.0**-24)

  uniform = draw_samples(key, draw, logits.shape, num_samples, axis_name)
  return _quantile(uniform, logits).astype(dtype)


def mean(logits: ArrayLike) -> jax.Array:
  r"""Mean, which is not sigma(logits) but closer to one half.

  .. math:: E[x] = \frac{1}{1 - e^{-\eta}} - \frac1\eta

  Args:
    logits: eta, shape (..., D).

  Returns:
    Mean, between 0 and 1, the shape and dtype of the logits. Gradient flows to the logits.

  Raises:
    TypeError: if logits is not floating point.

  Example:
    >>> float(mean(jnp.zeros(())))
    0.5

  References:
    Loaiza-Ganem & Cunningham, The Continuous Bernoulli, 2019 (mean). arXiv:1907.06845
  """
  dtype = jnp.result_type(logits)
  (logits,) = promote(None, logits=logits)
  return _mean(logits).astype(dtype)


def entropy(logits: ArrayLike, *, event_ndim: int = 1) -> jax.Array:
  r"""Differential entropy in nats, at most 0.

  .. math:: \sum_d \log \frac{e^{\eta_d} - 1}{\eta_d} - \eta_d E[x_d]

  Args:
    logits: eta, shape (..., D).
    event_ndim: number of trailing axes that make up one event.

  Returns:
    Entropy in nats, the shape of logits without the event axes. Gradient flows to the logits.

  Raises:
    TypeError: if logits is not floating point.
    ValueError: if `event_ndim` is not between 0 and the rank of logits.

  Example:
    >>> float(entropy(jnp.zeros(1)))
    0.0

  References:
    Derived from the density of Loaiza-Ganem & Cunningham, The Continuous Bernoulli, 2019.
      arXiv:1907.06845
  """
  (logits,) = promote(event_ndim, logits=logits)
  return sum_event(_log_sinhc(0.5 * logits) - (_mean(logits) - 0.5) * logits, event_ndim)


def kl(logits_q: ArrayLike, logits_p: ArrayLike, *, event_ndim: int = 1) -> jax.Array:
  r"""Kullback-Leibler divergence KL(q || p) in nats.

  .. math:: \sum_d E_q[x_d] (\eta_q - \eta_p) - \log \frac{e^{\eta_q} - 1}{\eta_q}
    + \log \frac{e^{\eta_p} - 1}{\eta_p}

  Args:
    logits_q: logits of q, shape (..., D).
    logits_p: logits of p, shape (..., D).
    event_ndim: number of trailing axes that make up one event.

  Returns:
    Divergence in nats, at least 0 up to rounding, the broadcast shape without the event axes.
    Gradient flows to both arguments.

  Raises:
    TypeError: if an argument is not floating point.
    ValueError: if the shapes do not combine explicitly or `event_ndim` is not between 0 and the
      rank.

  Example:
    >>> float(kl(jnp.zeros(3), jnp.zeros(3)))
    0.0

  References:
    Derived from the density of Loaiza-Ganem & Cunningham, The Continuous Bernoulli, 2019.
      arXiv:1907.06845
  """
  logits_q, logits_p = promote(event_ndim, logits_q=logits_q, logits_p=logits_p)
  tilt = (_mean(logits_q) - 0.5) * (logits_q - logits_p)
  return sum_event(tilt - _log_sinhc(0.5 * logits_q) + _log_sinhc(0.5 * logits_p), event_ndim)


def _log_sinhc(h: jax.Array) -> jax.Array:
  """log(sinh(h) / h): the log-normaliser at logits 2 h, but for its odd part h."""
  small = jnp.abs(h) < 0.5
  square = jnp.square(jnp.where(small, h, 0))
  # Taylor series of log(sinh(h) / h); the next term is below 1e-11 here.
  coefficients = (1 / 6, -1 / 180, 1 / 2835, -1 / 37800, 1 / 467775, -691 / 3831077250)
  series = jnp.zeros_like(square)
  for coefficient in reversed((*coefficients, 2 / 127702575, -3617 / 2605132530000)):
    series = square * (coefficient + series)
  size = jnp.where(small, 1, jnp.abs(h))
  return jnp.where(small, series, size + jnp.log1p(-jnp.exp(-2 * size)) - jnp.log(2 * size))


def _mean(logits: jax.Array) -> jax.Array:
  slope = jax.jvp(_log_sinhc, (0.5 * logits,), (jnp.ones_like(logits),))[1]
  return 0.5 + 0.5 * slope


def _quantile(u: jax.Array, logits: jax.Array) -> jax.Array:
  """Inverse distribution function. For positive logits by symmetry, so that exp cannot overflow."""
  flat = jnp.abs(logits) < 0.01
  slope = jnp.where(flat, -1, -jnp.abs(logits))
  v = jnp.where(logits > 0, 1 - u, u)
  steep = jnp.log1p(v * jnp.expm1(slope)) / slope
  steep = jnp.where(logits > 0, 1 - steep, steep)
  # At logits 0 the quotient is 0 / 0; this is its Taylor series, cumulant by cumulant.
  spread = u * (1 - u)
  tilt = jnp.where(flat, logits, 0)
  third = tilt * (1 - 2 * u) / 3 + tilt**2 * (1 - 6 * spread) / 12
  return jnp.where(flat, u + 0.5 * spread * tilt * (1 + third), steep)
