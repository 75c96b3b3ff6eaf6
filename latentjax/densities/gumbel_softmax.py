r"""Relaxed one-hot variables: points of the simplex with parameter `logits` and a temperature.

.. math:: y = \mathrm{softmax}\left(\frac{l + g}{\tau}\right), \quad g_c \sim \mathrm{Gumbel}(0, 1)

The argmax of y is a categorical variable with these logits at every temperature, and y tends to its
one-hot vector as tau falls. The density is that of the paper by Jang et al. (Gumbel-Softmax) and,
independently, by Maddison et al. (Concrete). The divergence usually taken against the prior is the
categorical one, `categorical.kl_uniform`. At small temperatures y leaves the range of float32 near
the corners; `log_sample` and `log_prob_of_log` work with log y instead and stay finite.
The C classes are the last axis, which is always part of the event.
"""

import math

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_float, check_range
from latentjax.densities._shapes import check_shapes, draw_samples, sum_event, widen

__all__ = ["log_prob", "log_prob_of_log", "log_sample", "mean", "sample"]


def sample(
  key: jax.Array,
  logits: ArrayLike,
  *,
  temperature: ArrayLike,
  hard: bool = False,
  num_samples: int | None = None,
  axis_name: str | None = None,
) -> jax.Array:
  r"""Reparameterised samples on the simplex, or one-hot with a straight-through gradient.

  .. math:: y = \mathrm{softmax}((l + g) / \tau), \quad
    y_{hard} = \mathrm{onehot}(\arg\max_c y_c)

  With `hard` the value is one-hot and the gradient is that of y as if y_hard = y (the
  straight-through Gumbel-Softmax estimator): biased, with low variance.

  Args:
    key: random key, the same on every device.
    logits: shape (B, ..., C), need not be normalised.
    temperature: tau > 0. Can be traced, for annealing.
    hard: whether to return one-hot vectors.
    num_samples: K draws for every row; None draws one and adds no axis.
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`.

  Returns:
    Samples in the logits' dtype, shape (B, ..., C), or (K, B, ..., C) if `num_samples=K`. Gradient
    flows to the logits and to a traced temperature.

  Raises:
    TypeError: if logits is not floating point or `num_samples` is not an integer.
    ValueError: if there is no axis of classes, the temperature is not positive or `num_samples` is
      below 1.

  Example:
    >>> logits = jnp.array([[0.0, 1e4], [1e4, 0.0]])
    >>> sample(jax.random.key(0), logits, temperature=0.5, hard=True).tolist()
    [[0.0, 1.0], [1.0, 0.0]]

  References:
    Jang et al., Categorical Reparameterization with Gumbel-Softmax, 2017 (straight-through
      included). arXiv:1611.01144
  """
  log_y = _log_sample(key, logits, temperature, num_samples, axis_name)
  y = jnp.exp(log_y)
  if hard:
    one_hot = jax.nn.one_hot(jnp.argmax(log_y, axis=-1), y.shape[-1], dtype=y.dtype)
    # y - stop_gradient(y) is exactly zero, so the value is exactly one-hot.
    y = one_hot + (y - jax.lax.stop_gradient(y))
  return y.astype(jnp.result_type(logits))


def log_sample(
  key: jax.Array,
  logits: ArrayLike,
  *,
  temperature: ArrayLike,
  num_samples: int | None = None,
  axis_name: str | None = None,
) -> jax.Array:
  r"""Logarithms of the samples that `sample` returns for the same key.

  .. math:: \log y = \frac{l + g}{\tau} - \log \sum_c \exp \frac{l_c + g_c}{\tau}

  Args:
    key: random key, the same on every device.
    logits: shape (B, ..., C), need not be normalised.
    temperature: tau > 0. Can be traced, for annealing.
    num_samples: K draws for every row; None draws one and adds no axis.
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`.

  Returns:
    log y in the logits' dtype, shape (B, ..., C), or (K, B, ..., C) if `num_samples=K`. Gradient
    flows to the logits and to a traced temperature.

  Raises:
    TypeError: if logits is not floating point or `num_samples` is not an integer.
    ValueError: if there is no axis of classes, the temperature is not positive or `num_samples` is
      below 1.

  Example:
    >>> log_y = log_sample(jax.random.key(0), jnp.zeros(3), temperature=0.01)
    >>> bool(jnp.isfinite(log_y).all()), float(jnp.exp(log_y).sum().round(3))
    (True, 1.0)

  References:
    Maddison et al., The Concrete Distribution, 2017 (ExpConcrete). arXiv:1611.00712
  """
  log_y = _log_sample(key, logits, temperature, num_samples, axis_name)
  return log_y.astype(jnp.result_type(logits))


def log_prob(
  y: ArrayLike, logits: ArrayLike, *, temperature: ArrayLike, event_ndim: int = 1
) -> jax.Array:
  r"""Log-density on the simplex in nats, with respect to its first C - 1 coordinates.

  .. math:: \log (C - 1)! + (C - 1) \log \tau - C \log \sum_c \pi_c y_c^{-\tau}
    + \sum_c \log \pi_c - (\tau + 1) \log y_c

  Args:
    y: points of the simplex, shape (..., C), elements above 0; smaller ones than the dtype's least
      normal number count as that.
    logits: log pi, shape (..., C), need not be normalised.
    temperature: tau > 0. Can be traced.
    event_ndim: number of trailing axes that make up one event, at least 1 (the classes).

  Returns:
    Log-density in nats, the broadcast shape without the event axes, float32 or wider. Gradient
    flows to y, the logits and a traced temperature.

  Raises:
    TypeError: if an argument is not floating point.
    ValueError: if the shapes do not combine explicitly, the temperature is not positive or
      `event_ndim` is not between 1 and the rank.

  Example:
    >>> float(log_prob(jnp.full(2, 0.5), jnp.zeros(2), temperature=1.0))  # uniform
    0.0

  References:
    Jang et al., Categorical Reparameterization with Gumbel-Softmax, 2017.
      arXiv:1611.01144
    Maddison et al., The Concrete Distribution, 2017. arXiv:1611.00712
  """
  log_y, logits = _promote(event_ndim, temperature, y=y, logits=logits)
  log_y = jnp.log(jnp.maximum(log_y, jnp.finfo(log_y.dtype).tiny))
  log_p = _log_prob_of_log(log_y, logits, temperature) - jnp.sum(log_y, axis=-1)
  return sum_event(log_p, event_ndim - 1)


def log_prob_of_log(
  log_y: ArrayLike, logits: ArrayLike, *, temperature: ArrayLike, event_ndim: int = 1
) -> jax.Array:
  r"""Log-density of log y in nats, finite where y itself has no digits left.

  .. math:: \log (C - 1)! + (C - 1) \log \tau
    + \sum_c (\log \pi_c - \tau \log y_c) - C \log \sum_c \pi_c y_c^{-\tau}

  With respect to the measure of log y; the difference of two such log-densities at one point, as in
  a sampled divergence, equals that of `log_prob`.

  Args:
    log_y: logarithms of points of the simplex, shape (..., C).
    logits: log pi, shape (..., C), need not be normalised.
    temperature: tau > 0. Can be traced.
    event_ndim: number of trailing axes that make up one event, at least 1 (the classes).

  Returns:
    Log-density in nats, the broadcast shape without the event axes, float32 or wider. Gradient
    flows to log_y, the logits and a traced temperature. Finite for |logits| <= 1e4 and log_y >=
    -1e7.

  Raises:
    TypeError: if an argument is not floating point.
    ValueError: if the shapes do not combine explicitly, the temperature is not positive or
      `event_ndim` is not between 1 and the rank.

  Example:
    >>> float(log_prob_of_log(jnp.log(jnp.full(2, 0.5)), jnp.zeros(2), temperature=1.0))  # log 1/4
    -1.386294...

  References:
    Maddison et al., The Concrete Distribution, 2017 (ExpConcrete). arXiv:1611.00712
  """
  log_y, logits = _promote(event_ndim, temperature, log_y=log_y, logits=logits)
  return sum_event(_log_prob_of_log(log_y, logits, temperature), event_ndim - 1)


def mean(logits: ArrayLike) -> jax.Array:
  r"""Mean of the one-hot vector that the samples tend to as the temperature falls.

  .. math:: \lim_{\tau \to 0} E[y] = \mathrm{softmax}(l)

  At a positive temperature the mean has no closed form and lies between this and the uniform
  vector.

  Args:
    logits: shape (..., C).

  Returns:
    Probabilities, the shape and dtype of the logits. Gradient flows to the logits.

  Raises:
    TypeError: if logits is not floating point.
    ValueError: if there is no axis of classes.

  Example:
    >>> mean(jnp.zeros(4)).tolist()
    [0.25, 0.25, 0.25, 0.25]

  References:
    Jang et al., Categorical Reparameterization with Gumbel-Softmax, 2017.
      arXiv:1611.01144
  """
  _check_classes(logits=logits)
  return jax.nn.softmax(jnp.asarray(logits), axis=-1)


def _log_sample(
  key: jax.Array,
  logits: ArrayLike,
  temperature: ArrayLike,
  num_samples: int | None,
  axis_name: str | None,
) -> jax.Array:
  _check_classes(logits=logits)
  check_range(low=0.0, strict=True, temperature=temperature)
  (logits,) = widen(logits)

  def draw(row_key: jax.Array, row_shape: tuple[int, ...]) -> jax.Array:
    return jax.random.gumbel(row_key, row_shape, logits.dtype)

  # Without a batch axis the noise gets one, so that the classes are never taken for rows.
  batched = logits if logits.ndim > 1 else logits[None]
  gumbel = draw_samples(key, draw, batched.shape, num_samples, axis_name)
  log_y = jax.nn.log_softmax((batched + gumbel) / temperature, axis=-1)
  return log_y if logits.ndim > 1 else log_y[..., 0, :]


def _log_prob_of_log(log_y: jax.Array, logits: jax.Array, temperature: ArrayLike) -> jax.Array:
  classes = logits.shape[-1]
  # softmax(l - tau log y) to the power of one, class by class, is what both sums amount to.
  scores = jax.nn.log_softmax(logits - temperature * log_y, axis=-1)
  return math.lgamma(classes) + (classes - 1) * jnp.log(temperature) + jnp.sum(scores, axis=-1)


def _promote(event_ndim: int, temperature: ArrayLike, **arrays: ArrayLike) -> tuple[jax.Array, ...]:
  _check_classes(**arrays)
  check_range(low=0.0, strict=True, temperature=temperature)
  if event_ndim < 1:
    raise ValueError(f"event_ndim must be at least 1, the classes, got {event_ndim}")
  check_shapes(event_ndim, {name: jnp.shape(array) for name, array in arrays.items()})
  return widen(*arrays.values())


def _check_classes(**arrays: ArrayLike) -> None:
  check_float(**arrays)
  for name, array in arrays.items():
    if jnp.shape(array)[-1:] in ((), (0,)):
      raise ValueError(
        f"{name} must have the classes on its last axis, got shape {jnp.shape(array)}"
      )
