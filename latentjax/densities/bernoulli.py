r"""Independent Bernoulli variables, parameter `logits` = log p / (1 - p).

.. math:: \log p(x) = x \log \sigma(l) + (1 - x) \log \sigma(-l)

In all functions leading axes may be missing from any array (x of shape (B, D) with logits of shape
(K, B, D)), and among arrays of equal rank batch axes may have size 1; everything else is refused.
Results are float32 (float64 for float64 inputs) whatever lower precision the inputs have; samples
keep the logits' dtype. Values and gradients are finite for |logits| <= 1e4 and beyond.
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.densities._shapes import draw_samples, promote, sum_event

__all__ = ["entropy", "kl", "log_prob", "mean", "sample"]


def log_prob(x: ArrayLike, logits: ArrayLike, *, event_ndim: int = 1) -> jax.Array:
  r"""Log-probability of binary data in nats, summed over the event axes.

  .. math:: \sum_d x_d l_d - \log(1 + e^{l_d})

  Also defined for x in [0, 1], where it is the negative cross-entropy: a lower bound on nothing and
  the log-probability of nothing, but the usual loss for grey-scale pixels. Values outside [0, 1]
  are not detected.

  Args:
    x: data in {0, 1} or [0, 1], floating point, shape (..., D) for `event_ndim=1`.
    logits: shape (..., D); leading axes may be missing here or in x.
    event_ndim: number of trailing axes that make up one event.

  Returns:
    Log-probability in nats, the broadcast shape without the event axes. Gradient flows to both
    arguments.

  Raises:
    TypeError: if an argument is not floating point.
    ValueError: if the shapes do not combine explicitly or `event_ndim` is not between 0 and the
      rank.

  Example:
    >>> float(log_prob(jnp.ones(1), jnp.zeros(1)))  # -log 2
    -0.693147...

  References:
    Kingma & Welling, Auto-Encoding Variational Bayes, 2014. arXiv:1312.6114
  """
  x, logits = promote(event_ndim, x=x, logits=logits)
  return sum_event(_log_prob(x, logits), event_ndim)


def sample(
  key: jax.Array,
  logits: ArrayLike,
  *,
  num_samples: int | None = None,
  axis_name: str | None = None,
) -> jax.Array:
  r"""Samples of independent Bernoulli variables.

  .. math:: x = 1[u < \sigma(l)], \quad u \sim U[0, 1)

  The noise of a row depends on `key` and on the row's index in the batch alone, so a batch split
  over devices gets the noise it would get on one.

  Args:
    key: random key, the same on every device.
    logits: shape (B, ...).
    num_samples: K draws for every row; None draws one and adds no axis.
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`.

  Returns:
    Zeros and ones in the dtype of the logits, shape (B, ...), or (K, B, ...) if `num_samples=K`.
    Detached: no gradient reaches the logits.

  Raises:
    TypeError: if logits is not floating point or `num_samples` is not an integer.
    ValueError: if `num_samples` is below 1.

  Example:
    >>> sample(jax.random.key(0), jnp.array([-1e4, 1e4])).tolist()
    [0.0, 1.0]

  References:
    Devroye, Non-Uniform Random Variate Generation, 1986 (inversion of a discrete
      distribution).
  """
  dtype = jnp.result_type(logits)
  (logits,) = promote(None, logits=logits)

  def draw(row_key: jax.Array, row_shape: tuple[int, ...]) -> jax.Array:
    return jax.random.uniform(row_key, row_shape, logits.dtype)

  uniform = draw_samples(key, draw, logits.shape, num_samples, axis_name)
  return (uniform < jax.nn.sigmoid(logits)).astype(dtype)


def mean(logits: ArrayLike) -> jax.Array:
  r"""Probability of a one.

  .. math:: E[x] = \sigma(l)

  Args:
    logits: shape (..., D).

  Returns:
    Probabilities in [0, 1] in the dtype of the logits, shape (..., D). Gradient flows to the
    logits.

  Raises:
    TypeError: if logits is not floating point.

  Example:
    >>> float(mean(jnp.zeros(())))
    0.5

  References:
    Bishop, Pattern Recognition and Machine Learning, 2006, eq. 2.3, with the logistic sigmoid.
  """
  promote(None, logits=logits)
  return jax.nn.sigmoid(jnp.asarray(logits))


def entropy(logits: ArrayLike, *, event_ndim: int = 1) -> jax.Array:
  r"""Entropy of independent Bernoulli variables in nats.

  .. math:: H = \sum_d \log(1 + e^{-|l_d|}) + |l_d| \sigma(-|l_d|)

  Args:
    logits: shape (..., D).
    event_ndim: number of trailing axes that make up one event.

  Returns:
    Entropy in nats, between 0 and D log 2, the shape of logits without the event axes. Gradient
    flows to the logits.

  Raises:
    TypeError: if logits is not floating point.
    ValueError: if `event_ndim` is not between 0 and the rank of logits.

  Example:
    >>> float(entropy(jnp.zeros(1)))  # log 2
    0.693147...

  References:
    Cover & Thomas, Elements of Information Theory, 2006.
  """
  (logits,) = promote(event_ndim, logits=logits)
  size = jnp.abs(logits)
  return sum_event(jnp.log1p(jnp.exp(-size)) + size * jax.nn.sigmoid(-size), event_ndim)


def kl(logits_q: ArrayLike, logits_p: ArrayLike, *, event_ndim: int = 1) -> jax.Array:
  r"""Kullback-Leibler divergence KL(q || p) of two sets of independent Bernoulli variables in nats.

  .. math:: \sum_d \sigma(l_q) (l_q - l_p) - \log(1 + e^{l_q}) + \log(1 + e^{l_p})

  Args:
    logits_q: logits of q, shape (..., D).
    logits_p: logits of p, shape (..., D).
    event_ndim: number of trailing axes that make up one event.

  Returns:
    Divergence in nats, at least 0, the broadcast shape without the event axes. Gradient flows to
    both arguments.

  Raises:
    TypeError: if an argument is not floating point.
    ValueError: if the shapes do not combine explicitly or `event_ndim` is not between 0 and the
      rank.

  Example:
    >>> float(kl(jnp.zeros(3), jnp.zeros(3)))
    0.0

  References:
    Cover & Thomas, Elements of Information Theory, 2006.
  """
  logits_q, logits_p = promote(event_ndim, logits_q=logits_q, logits_p=logits_p)
  # q log(q / p) + (1 - q) log((1 - q) / (1 - p)), every logarithm by a stable log-sigmoid.
  log_ratio_one = jax.nn.log_sigmoid(logits_q) - jax.nn.log_sigmoid(logits_p)
  log_ratio_zero = jax.nn.log_sigmoid(-logits_q) - jax.nn.log_sigmoid(-logits_p)
  kl = jax.nn.sigmoid(logits_q) * log_ratio_one + jax.nn.sigmoid(-logits_q) * log_ratio_zero
  return sum_event(kl, event_ndim)


@jax.custom_jvp
def _log_prob(x: jax.Array, logits: jax.Array) -> jax.Array:
  # log(1 + e^l) = max(l, 0) + log(1 + e^-|l|): a confident and right logit keeps all digits.
  positive = logits >= 0
  return jnp.where(positive, x - 1, x) * logits - jnp.log1p(jnp.exp(-jnp.abs(logits)))


@_log_prob.defjvp
def _log_prob_jvp(primals: tuple, tangents: tuple) -> tuple[jax.Array, jax.Array]:
  """The derivative x - sigma(l) keeps one array for the backward pass, and has no kink."""
  (x, logits), (x_dot, logits_dot) = primals, tangents
  slope = x - jax.nn.sigmoid(logits)
  return _log_prob(x, logits), logits * x_dot + slope * logits_dot
