r"""Independent logistic variables rounded to the values 0, 1/n, ..., 1: pixels with n = 255.

.. math:: P(x) = \sigma\left(\frac{x + \frac{1}{2n} - m}{s}\right)
  - \sigma\left(\frac{x - \frac{1}{2n} - m}{s}\right)

Parameters `mean` and `log_scale` (log s), in the units of x in [0, 1]. The bins of 0 and 1 reach to
minus and plus infinity, so the probabilities of the n + 1 values sum to one. In all functions
leading axes may be missing from any array, and among arrays of equal rank batch axes may have size
1; everything else is refused. Results are float32 (float64 for float64 inputs) whatever lower
precision the inputs have; samples and means keep the parameters' dtype. Values and gradients are
finite for |log_scale| <= 40.
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_positive_int
from latentjax.densities._shapes import draw_samples, promote, sum_event

__all__ = ["log_prob", "mean", "sample"]


def log_prob(
  x: ArrayLike,
  mean: ArrayLike,
  log_scale: ArrayLike,
  *,
  num_values: int = 256,
  event_ndim: int = 1,
) -> jax.Array:
  r"""Log-probability of pixels in nats, summed over the event axes.

  .. math:: \sum_d \log \sigma(a_d) + \log \sigma(-b_d) + \log\left(1 - e^{b_d - a_d}\right),
    \quad a_d, b_d = \frac{x_d \pm \frac{1}{2n} - m_d}{s_d}

  This is the logarithm of the difference of the two sigmoids without cancellation, so neither a
  floor nor the density at the centre of a bin has to stand in for a small probability. For x = 0
  only the first term remains, for x = 1 only the second.

  Args:
    x: pixels in [0, 1], shape (..., D) for `event_ndim=1`; rounded to the nearest of the values.
    mean: mean of the logistic before rounding, shape (..., D).
    log_scale: log s, shape (..., D) or with leading axes missing.
    num_values: number of values n + 1, at least 2.
    event_ndim: number of trailing axes that make up one event.

  Returns:
    Log-probability in nats, the broadcast shape without the event axes. Gradient flows to mean and
    log_scale; none reaches x.

  Raises:
    TypeError: if an argument is not floating point or `num_values` is not an integer.
    ValueError: if the shapes do not combine explicitly, `num_values` is below 2 or `event_ndim` is
      not between 0 and the rank.

  Example:
    >>> float(log_prob(jnp.ones(1), jnp.full(1, 0.5), jnp.zeros(1), num_values=2))  # log 1/2
    -0.693147...

  References:
    Kingma et al., Improving Variational Inference with Inverse Autoregressive Flow, 2016, section
      on natural images (open bins of 1/256 there). arXiv:1606.04934
    Salimans et al., PixelCNN++, 2017. arXiv:1701.05517
  """
  top = check_num_values(num_values)
  x, mean, log_scale = promote(event_ndim, x=x, mean=mean, log_scale=log_scale)
  return sum_event(bin_log_prob(round_to_bin(x, top), mean, log_scale, top), event_ndim)


def sample(
  key: jax.Array,
  mean: ArrayLike,
  log_scale: ArrayLike,
  *,
  num_values: int = 256,
  num_samples: int | None = None,
  axis_name: str | None = None,
) -> jax.Array:
  r"""Samples: logistic variables, rounded and clipped.

  .. math:: x = \mathrm{clip}\left(\tfrac{1}{n} \mathrm{round}(n (m + s \epsilon)), 0, 1\right)

  The noise of a row depends on `key` and on the row's index in the batch alone.

  Args:
    key: random key, the same on every device.
    mean: mean of the logistic before rounding, shape (B, ...).
    log_scale: log s, the shape of mean or with leading axes missing.
    num_values: number of values n + 1, at least 2.
    num_samples: K draws for every row; None draws one and adds no axis.
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`.

  Returns:
    Values k/n in the parameters' dtype, shape (B, ...), or (K, B, ...) if `num_samples=K`.
    Detached: no gradient reaches the parameters.

  Raises:
    TypeError: if a parameter is not floating point or a size is not an integer.
    ValueError: if the shapes do not combine explicitly, `num_values` is below 2 or `num_samples`
      below 1.

  Example:
    >>> sample(jax.random.key(0), jnp.array([-3.0, 0.2, 7.0]), jnp.array(-40.0)).tolist()
    [0.0, 0.200000..., 1.0]

  References:
    Salimans et al., PixelCNN++, 2017. arXiv:1701.05517
  """
  top = check_num_values(num_values)
  dtype = jnp.result_type(mean, log_scale)
  mean, log_scale = promote(None, mean=mean, log_scale=log_scale)
  shape = jnp.broadcast_shapes(mean.shape, log_scale.shape)

  def draw(row_key: jax.Array, row_shape: tuple[int, ...]) -> jax.Array:
    return jax.random.logistic(row_key, row_shape, mean.dtype)

  eps = draw_samples(key, draw, shape, num_samples, axis_name)
  return round_to_bin(mean + jnp.exp(log_scale) * eps, top).astype(dtype)


def mean(mean: ArrayLike, log_scale: ArrayLike, *, num_values: int = 256) -> jax.Array:
  r"""Mean of the rounded and clipped variable, between 0 and 1.

  .. math:: E[x] = \frac1n \sum_{k=1}^n P(x \ge k/n)
    = \frac1n \sum_{k=1}^n \sigma\left(\frac{m - (k - \frac12) / n}{s}\right)

  Args:
    mean: mean of the logistic before rounding, shape (..., D).
    log_scale: log s, shape (..., D) or with leading axes missing.
    num_values: number of values n + 1, at least 2.

  Returns:
    Mean in the parameters' dtype, the broadcast shape. Gradient flows to both parameters. One value
    at a time is added up, so memory does not grow with `num_values`.

  Raises:
    TypeError: if an argument is not floating point or `num_values` is not an integer.
    ValueError: if the shapes do not combine explicitly or `num_values` is below 2.

  Example:
    >>> mean(jnp.array([-3.0, 0.5, 7.0]), jnp.array(-5.0)).round(3).tolist()
    [0.0, 0.5, 1.0]

  References:
    Derived from the probabilities of Salimans et al., PixelCNN++, 2017. arXiv:1701.05517
  """
  top = check_num_values(num_values)
  dtype = jnp.result_type(mean, log_scale)
  mean, log_scale = promote(None, mean=mean, log_scale=log_scale)
  inverse = jnp.exp(-log_scale)

  def add(total: jax.Array, k: jax.Array) -> tuple[jax.Array, None]:
    return total + jax.nn.sigmoid((mean - (k - 0.5) / top) * inverse), None

  # The first value outside the loop, which then carries what is not the same on all devices.
  start, _ = add(jnp.zeros((), mean.dtype), jnp.ones((), mean.dtype))
  total, _ = jax.lax.scan(jax.checkpoint(add), start, jnp.arange(2, top + 1, dtype=mean.dtype))
  return (total / top).astype(dtype)


def check_num_values(num_values: int) -> int:
  """The largest index of a value, n; refuses fewer than two values."""
  check_positive_int(num_values=num_values)
  if num_values < 2:
    raise ValueError(f"num_values must be at least 2, got {num_values}")
  return num_values - 1


def round_to_bin(x: jax.Array, top: int) -> jax.Array:
  """The nearest of the values 0, 1 / top, ..., 1; no gradient."""
  return jax.lax.stop_gradient(jnp.clip(jnp.round(x * top), 0, top) / top)


def bin_log_prob(x: jax.Array, mean: jax.Array, log_scale: jax.Array, top: int) -> jax.Array:
  """Log-probability of every value on the grid, not summed."""
  inverse = jnp.exp(-log_scale)
  above = jax.nn.log_sigmoid((x + 0.5 / top - mean) * inverse)
  below = jax.nn.log_sigmoid((mean - x + 0.5 / top) * inverse)
  # log(1 - e^-width): the part of a bin that its two tails leave.
  between = jnp.log(-jnp.expm1(-inverse / top))
  return jnp.where(x <= 0, above, jnp.where(x >= 1, below, above + below + between))
