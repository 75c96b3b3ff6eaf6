r"""Independent categorical variables, parameter `logits` with the C classes on its last axis.

.. math:: p(x = c) = \frac{e^{l_c}}{\sum_j e^{l_j}}

The logits have one axis more than the labels and need not be normalised. In all functions leading
axes may be missing from any array, and among arrays of equal rank batch axes may have size 1;
everything else is refused. `event_ndim` counts axes of the labels, without that of the classes.
Results are float32 (float64 for float64 logits) whatever lower precision the logits have. Values
and gradients are finite for |logits| <= 1e4 and beyond; infinite logits are not supported.
"""

import math

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_float
from latentjax.densities._shapes import check_shapes, draw_samples, sum_event, widen

__all__ = ["entropy", "kl", "kl_uniform", "log_prob", "mean", "sample"]


def log_prob(x: ArrayLike, logits: ArrayLike, *, event_ndim: int = 1) -> jax.Array:
  r"""Log-probability of labels in nats, summed over the event axes.

  .. math:: \sum_d l_{d, x_d} - \log \sum_c e^{l_{d, c}}

  Args:
    x: labels 0 to C - 1, integer, shape (..., D) for `event_ndim=1`, (B,) for `event_ndim=0`. A
      label outside this range gives NaN, a negative one counts from the end.
    logits: shape (..., D, C).
    event_ndim: number of trailing axes of x that make up one event.

  Returns:
    Log-probability in nats, the broadcast shape without the event axes. Gradient flows to the
    logits.

  Raises:
    TypeError: if x is not integer or logits is not floating point.
    ValueError: if the shapes do not combine explicitly, there is no axis of classes, or
      `event_ndim` is not between 0 and the rank of the labels.

  Example:
    >>> float(log_prob(jnp.array([2]), jnp.zeros((1, 4))))  # -log 4
    -1.386294...

  References:
    Bishop, Pattern Recognition and Machine Learning, 2006.
  """
  if not jnp.issubdtype(jnp.result_type(x), jnp.integer):
    raise TypeError(f"x must be an integer array of labels, got {jnp.result_type(x)}")
  x = jnp.asarray(x)
  (log_p,) = _log_softmax(event_ndim, {"x": x.shape}, logits=logits)
  rank = max(x.ndim + 1, log_p.ndim)
  x = x.reshape((1,) * (rank - 1 - x.ndim) + x.shape + (1,))
  log_p = log_p.reshape((1,) * (rank - log_p.ndim) + log_p.shape)
  return sum_event(jnp.take_along_axis(log_p, x, axis=-1)[..., 0], event_ndim)


def sample(
  key: jax.Array,
  logits: ArrayLike,
  *,
  num_samples: int | None = None,
  axis_name: str | None = None,
) -> jax.Array:
  r"""Sampled labels.

  .. math:: x = \arg\max_c \; l_c + g_c, \quad g_c \sim \mathrm{Gumbel}(0, 1)

  The noise of a row depends on `key` and on the row's index in the batch alone.

  Args:
    key: random key, the same on every device.
    logits: shape (B, ..., C).
    num_samples: K draws for every row; None draws one and adds no axis.
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`.

  Returns:
    Labels, int32, shape (B, ...), or (K, B, ...) if `num_samples=K`. Integers carry no gradient;
    `gumbel_softmax` has relaxed samples that do.

  Raises:
    TypeError: if logits is not floating point or `num_samples` is not an integer.
    ValueError: if there is no axis of classes or `num_samples` is below 1.

  Example:
    >>> sample(jax.random.key(0), jnp.array([[0.0, 1e4], [1e4, 0.0]])).tolist()
    [1, 0]

  References:
    Maddison et al., A* Sampling, 2014 (the Gumbel-Max trick). arXiv:1411.0030
  """
  _check_logits(logits=logits)
  (logits,) = widen(logits)

  def draw(row_key: jax.Array, row_shape: tuple[int, ...]) -> jax.Array:
    return jax.random.gumbel(row_key, row_shape, logits.dtype)

  # Without a batch axis the noise gets one, so that the classes are never taken for rows.
  batched = logits if logits.ndim > 1 else logits[None]
  gumbel = draw_samples(key, draw, batched.shape, num_samples, axis_name)
  labels = jnp.argmax(batched + gumbel, axis=-1).astype(jnp.int32)
  return labels if logits.ndim > 1 else labels[..., 0]


def mean(logits: ArrayLike) -> jax.Array:
  r"""Probabilities of the classes, the mean of the one-hot label.

  .. math:: E[\mathrm{onehot}(x)]_c = \mathrm{softmax}(l)_c

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
    Bishop, Pattern Recognition and Machine Learning, 2006.
  """
  _check_logits(logits=logits)
  return jax.nn.softmax(jnp.asarray(logits), axis=-1)


def entropy(logits: ArrayLike, *, event_ndim: int = 1) -> jax.Array:
  r"""Entropy in nats, summed over the event axes.

  .. math:: H = -\sum_d \sum_c p_{dc} \log p_{dc}

  Args:
    logits: shape (..., D, C).
    event_ndim: number of trailing axes of the labels that make up one event.

  Returns:
    Entropy in nats, between 0 and D log C, the shape of logits without the classes and event axes.
    Gradient flows to the logits.

  Raises:
    TypeError: if logits is not floating point.
    ValueError: if there is no axis of classes or `event_ndim` is not between 0 and the rank of the
      labels.

  Example:
    >>> float(entropy(jnp.zeros((1, 4))))  # log 4
    1.386294...

  References:
    Cover & Thomas, Elements of Information Theory, 2006.
  """
  (log_p,) = _log_softmax(event_ndim, {}, logits=logits)
  return sum_event(-jnp.sum(jnp.exp(log_p) * log_p, axis=-1), event_ndim)


def kl(logits_q: ArrayLike, logits_p: ArrayLike, *, event_ndim: int = 1) -> jax.Array:
  r"""Kullback-Leibler divergence KL(q || p) in nats, summed over the event axes.

  .. math:: \sum_d \sum_c q_{dc} \log \frac{q_{dc}}{p_{dc}}

  Args:
    logits_q: logits of q, shape (..., D, C).
    logits_p: logits of p, shape (..., D, C).
    event_ndim: number of trailing axes of the labels that make up one event.

  Returns:
    Divergence in nats, at least 0 up to rounding, the broadcast shape without the classes and event
    axes. Gradient flows to both arguments.

  Raises:
    TypeError: if an argument is not floating point.
    ValueError: if the shapes do not combine explicitly, there is no axis of classes, or
      `event_ndim` is not between 0 and the rank of the labels.

  Example:
    >>> float(kl(jnp.array([[1e4, 0.0]]), jnp.zeros((1, 2))))  # log 2
    0.693147...

  References:
    Cover & Thomas, Elements of Information Theory, 2006.
  """
  classes = [jnp.shape(logits)[-1:] for logits in (logits_q, logits_p)]
  if classes[0] != classes[1]:
    raise ValueError(
      "logits_q and logits_p must have the same number of classes on their last axis, got shapes "
      f"{jnp.shape(logits_q)} and {jnp.shape(logits_p)}"
    )
  log_q, log_p = _log_softmax(event_ndim, {}, logits_q=logits_q, logits_p=logits_p)
  return sum_event(jnp.sum(jnp.exp(log_q) * (log_q - log_p), axis=-1), event_ndim)


def kl_uniform(logits: ArrayLike, *, event_ndim: int = 1) -> jax.Array:
  r"""Kullback-Leibler divergence from the uniform distribution over the C classes, in nats.

  .. math:: \sum_d \log C - H_d

  Args:
    logits: shape (..., D, C).
    event_ndim: number of trailing axes of the labels that make up one event.

  Returns:
    Divergence in nats, between 0 (up to rounding) and D log C, the shape of logits without the
    classes and event axes. Gradient flows to the logits.

  Raises:
    TypeError: if logits is not floating point.
    ValueError: if there is no axis of classes or `event_ndim` is not between 0 and the rank of the
      labels.

  Example:
    >>> float(kl_uniform(jnp.array([[1e4, 0.0]])))  # log 2
    0.693147...

  References:
    Jang et al., Categorical Reparameterization with Gumbel-Softmax, 2017 (the prior of the
      categorical VAE). arXiv:1611.01144
  """
  (log_p,) = _log_softmax(event_ndim, {}, logits=logits)
  shifted = log_p + math.log(log_p.shape[-1])
  return sum_event(jnp.sum(jnp.exp(log_p) * shifted, axis=-1), event_ndim)


def _check_logits(**logits: ArrayLike) -> None:
  check_float(**logits)
  for name, array in logits.items():
    if not jnp.ndim(array) or not jnp.shape(array)[-1]:
      raise ValueError(f"{name} must have the classes on its last axis, got {jnp.shape(array)}")


def _log_softmax(
  event_ndim: int, labels: dict[str, tuple[int, ...]], **logits: ArrayLike
) -> tuple[jax.Array, ...]:
  """Checks the shapes of labels and logits; returns the log-probabilities of the classes."""
  _check_logits(**logits)
  leading = {f"{name} without classes": jnp.shape(array)[:-1] for name, array in logits.items()}
  check_shapes(event_ndim, labels | leading)
  return tuple(jax.nn.log_softmax(array, axis=-1) for array in widen(*logits.values()))
