r"""Mixture of M diagonal Gaussians, parameters `logits`, `mean` and `log_scale`.

.. math:: p(x) = \sum_{i=1}^M \pi_i \, N(x; m_i, s_i^2), \quad \pi = \mathrm{softmax}(l)

Logits have shape (..., M), means and log_scales (..., M, D), points (..., D): the components share
all D dimensions of a point. In all functions leading axes may be missing from any array (one
mixture as the prior of a batch), and among arrays of equal rank batch axes may have size 1;
everything else is refused. Results are float32 (float64 for float64 inputs) whatever lower
precision the inputs have; samples and means keep the parameters' dtype. Values and gradients are
finite for |log_scale| <= 40 and |logits| <= 1e4. Densities need M numbers per point and not M D, in
the gradient too: one dimension at a time is added up.
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_float
from latentjax.densities import gaussian
from latentjax.densities._shapes import Shape, check_shapes, draw_samples, sum_event, widen

__all__ = ["log_prob", "mean", "responsibilities", "sample"]


def log_prob(
  x: ArrayLike, logits: ArrayLike, mean: ArrayLike, log_scale: ArrayLike, *, event_ndim: int = 1
) -> jax.Array:
  r"""Log-density in nats, summed over the event axes.

  .. math:: \log \sum_i \pi_i \prod_d N(x_d; m_{id}, s_{id}^2)

  Args:
    x: points, shape (..., D).
    logits: unnormalised log-weights of the components, shape (..., M).
    mean: shape (..., M, D).
    log_scale: logarithm of the standard deviation, shape (..., M, D).
    event_ndim: number of trailing axes of x that make up one event, at least 1; every vector along
      the last axis has a component of its own.

  Returns:
    Log-density in nats, the broadcast shape of x without the event axes. Gradient flows to all four
    arguments.

  Raises:
    TypeError: if an argument is not floating point.
    ValueError: if the shapes do not fit or `event_ndim` is not between 1 and the rank of x.

  Example:
    >>> float(log_prob(jnp.zeros(2), jnp.zeros(3), jnp.zeros((3, 2)), jnp.zeros((3, 2))))
    -1.837877...

  References:
    Bishop, Pattern Recognition and Machine Learning, 2006, section 2.3.9.
  """
  return sum_event(
    jax.nn.logsumexp(log_joint(x, logits, mean, log_scale, event_ndim), axis=-1), event_ndim - 1
  )


def responsibilities(
  x: ArrayLike, logits: ArrayLike, mean: ArrayLike, log_scale: ArrayLike
) -> jax.Array:
  r"""Posterior probability of every component given a point.

  .. math:: p(i | x) = \frac{\pi_i \, N(x; m_i, s_i^2)}{\sum_j \pi_j \, N(x; m_j, s_j^2)}

  Args:
    x: points, shape (..., D).
    logits: unnormalised log-weights of the components, shape (..., M).
    mean: shape (..., M, D).
    log_scale: logarithm of the standard deviation, shape (..., M, D).

  Returns:
    Probabilities that add up to one, shape (..., M), float32 or wider. Gradient flows to all four
    arguments.

  Raises:
    TypeError: if an argument is not floating point.
    ValueError: if the shapes do not fit.

  Example:
    >>> means = jnp.array([[-9.0], [9.0]])
    >>> responsibilities(jnp.array([9.0]), jnp.zeros(2), means, 0 * means).tolist()
    [0.0, 1.0]

  References:
    Bishop, Pattern Recognition and Machine Learning, 2006, section 9.2.2.
  """
  return jax.nn.softmax(log_joint(x, logits, mean, log_scale), axis=-1)


def sample(
  key: jax.Array,
  logits: ArrayLike,
  mean: ArrayLike,
  log_scale: ArrayLike,
  *,
  num_samples: int | None = None,
  axis_name: str | None = None,
) -> jax.Array:
  r"""Samples: a component, then its Gaussian.

  .. math:: z = m_i + s_i \epsilon, \quad i \sim \pi, \; \epsilon \sim N(0, I)

  The noise of a row depends on `key` and on the row's index in the batch alone.

  Args:
    key: random key, the same on every device.
    logits: unnormalised log-weights of the components, shape (B, ..., M).
    mean: shape (B, ..., M, D) or with leading axes missing.
    log_scale: logarithm of the standard deviation, the shape of mean or with leading axes missing.
    num_samples: K draws for every row; None draws one and adds no axis.
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`.

  Returns:
    Samples in the parameters' dtype, shape (B, ..., D), or (K, B, ..., D) if `num_samples=K`.
    Gradient flows to the mean and log_scale of the drawn component; none reaches the logits, so
    the gradient of an expectation lacks what it owes to the choice.

  Raises:
    TypeError: if a parameter is not floating point or `num_samples` is not an integer.
    ValueError: if the shapes do not fit or `num_samples` is below 1.

  Example:
    >>> sample(jax.random.key(0), jnp.zeros((4, 3)), jnp.zeros((3, 2)), jnp.zeros((3, 2))).shape
    (4, 2)

  References:
    Bishop, Pattern Recognition and Machine Learning, 2006, section 2.3.9.
  """
  dtype = jnp.result_type(logits, mean, log_scale)
  leading = _check_params(logits, mean, log_scale)
  check_shapes(None, leading)
  logits, mean, log_scale = widen(logits, mean, log_scale)
  components, dim = mean.shape[-2:]

  def draw(row_key: jax.Array, row_shape: Shape) -> jax.Array:
    key_component, key_noise = jax.random.split(row_key)
    gumbel = jax.random.gumbel(key_component, (*row_shape, components), mean.dtype)
    eps = jax.random.normal(key_noise, (*row_shape, dim), mean.dtype)
    return jnp.concatenate([gumbel, eps], axis=-1)

  noise = draw_samples(key, draw, jnp.broadcast_shapes(*leading.values()), num_samples, axis_name)
  gumbel, eps = noise[..., :components], noise[..., components:]
  chosen = jnp.argmax(logits + gumbel, axis=-1)[..., None, None]

  def pick(params: jax.Array) -> jax.Array:
    params = jnp.broadcast_to(params, (*chosen.shape[:-2], components, dim))
    return jnp.take_along_axis(params, chosen, axis=-2)[..., 0, :]

  return (pick(mean) + jnp.exp(pick(log_scale)) * eps).astype(dtype)


def mean(logits: ArrayLike, mean: ArrayLike, log_scale: ArrayLike) -> jax.Array:
  r"""Mean of the mixture.

  .. math:: E[x] = \sum_i \pi_i m_i

  Args:
    logits: unnormalised log-weights of the components, shape (..., M).
    mean: shape (..., M, D).
    log_scale: not used; present because every family's `mean` takes all parameters.

  Returns:
    Mean in the parameters' dtype, shape (..., D). Gradient flows to logits and mean.

  Raises:
    TypeError: if an argument is not floating point.
    ValueError: if the shapes do not fit.

  Example:
    >>> mean(jnp.zeros(2), jnp.array([[1.0], [3.0]]), jnp.zeros((2, 1))).tolist()
    [2.0]

  References:
    Bishop, Pattern Recognition and Machine Learning, 2006, section 2.3.9.
  """
  dtype = jnp.result_type(logits, mean, log_scale)
  check_shapes(None, _check_params(logits, mean, log_scale))
  logits, mean = widen(logits, mean)
  weights = jax.nn.softmax(logits, axis=-1)
  return jnp.einsum("...m,...md->...d", weights, mean, precision="highest").astype(dtype)


def log_joint(
  x: ArrayLike, logits: ArrayLike, mean: ArrayLike, log_scale: ArrayLike, event_ndim: int = 1
) -> jax.Array:
  """log p(x, i), shape (..., M)."""
  leading = _check_params(logits, mean, log_scale)
  check_float(x=x)
  dim = jnp.shape(mean)[-1]
  if jnp.shape(x)[-1:] != (dim,):
    raise ValueError(f"x must have {dim} dimensions on its last axis, got shape {jnp.shape(x)}")
  if event_ndim < 1:
    raise ValueError(f"event_ndim must be at least 1, got {event_ndim}")
  check_shapes(event_ndim - 1, {"x without its last axis": jnp.shape(x)[:-1]} | leading)
  x, logits, mean, log_scale = widen(x, logits, mean, log_scale)
  arrays = (x[..., None, :], mean, log_scale)
  rank = max(array.ndim for array in arrays)
  columns = [jnp.moveaxis(a.reshape((1,) * (rank - a.ndim) + a.shape), -1, 0) for a in arrays]

  @jax.checkpoint
  def add(total: jax.Array, column: list[jax.Array]) -> tuple[jax.Array, None]:
    return total + gaussian.log_prob(*column, event_ndim=0), None

  # The first dimension outside the loop: what it carries then has its final shape.
  start, _ = add(jax.nn.log_softmax(logits, axis=-1), [column[0] for column in columns])
  return jax.lax.scan(add, start, [column[1:] for column in columns])[0]


def _check_params(logits: ArrayLike, mean: ArrayLike, log_scale: ArrayLike) -> dict[str, Shape]:
  """Refuses parameters that do not fit; returns their shapes without components and dimensions."""
  check_float(logits=logits, mean=mean, log_scale=log_scale)
  shape = jnp.shape(mean)
  if len(shape) < 2 or 0 in shape[-2:]:
    raise ValueError(f"mean must have axes of components and dimensions, got shape {shape}")
  if jnp.shape(log_scale)[-2:] != shape[-2:]:
    raise ValueError(f"log_scale must have trailing axes {shape[-2:]}, got {jnp.shape(log_scale)}")
  if jnp.shape(logits)[-1:] != shape[-2:-1]:
    raise ValueError(
      f"logits must have {shape[-2]} components on its last axis, got {jnp.shape(logits)}"
    )
  return {
    "logits without components": jnp.shape(logits)[:-1],
    "mean without components": shape[:-2],
    "log_scale without components": jnp.shape(log_scale)[:-2],
  }
