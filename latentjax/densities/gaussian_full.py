r"""Gaussian with a full covariance L L^T, parameters `mean` and `scale_tril` (L).

.. math:: p(x) = \frac{1}{(2\pi)^{D/2} |\det L|} \exp\left(-\tfrac12 \|L^{-1} (x - m)\|^2\right)

L is lower triangular with a diagonal that is not zero; what is above the diagonal is ignored. An
unconstrained matrix becomes such a factor by `scale_tril_from`. The last axis is always part of the
event. In all functions leading axes may be missing from any array, and among arrays of equal rank
batch axes may have size 1; everything else is refused. Results are float32 (float64 for float64
inputs) whatever lower precision the inputs have; samples and means keep the parameters' dtype.
Values and gradients are finite for diagonals between exp(-25) and exp(40).
"""

import math

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_float
from latentjax.densities._shapes import check_shapes, draw_samples, sum_event, widen

__all__ = ["entropy", "kl", "log_prob", "mean", "sample", "scale_tril_from"]

_HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


def scale_tril_from(raw: ArrayLike) -> jax.Array:
  r"""Cholesky factor with positive diagonal from an unconstrained square matrix.

  .. math:: L_{ij} = A_{ij} \; (i > j), \quad L_{ii} = e^{A_{ii}}

  Args:
    raw: A, shape (..., D, D); what is above the diagonal is ignored.

  Returns:
    Lower triangular factor, shape (..., D, D), in the dtype of raw. Gradient flows to raw, on and
    below the diagonal.

  Raises:
    TypeError: if raw is not floating point.
    ValueError: if its last two axes differ.

  Example:
    >>> scale_tril_from(jnp.array([[0.0, 5.0], [2.0, 0.0]])).tolist()
    [[1.0, 0.0], [2.0, 1.0]]

  References:
    Pinheiro & Bates, Unconstrained Parametrizations for Variance-Covariance Matrices, 1996, section
      2.2 (log-Cholesky).
  """
  check_float(raw=raw)
  _check_square(raw=raw)
  raw = jnp.asarray(raw)
  eye = jnp.eye(raw.shape[-1], dtype=bool)
  return jnp.where(eye, jnp.exp(jnp.where(eye, raw, 0)), jnp.tril(raw, -1))


def log_prob(
  x: ArrayLike, mean: ArrayLike, scale_tril: ArrayLike, *, event_ndim: int = 1
) -> jax.Array:
  r"""Log-density in nats, summed over the event axes.

  .. math:: -\tfrac12 \|L^{-1} (x - m)\|^2 - \sum_d \log |L_{dd}| - \tfrac{D}{2} \log 2\pi

  Args:
    x: points, shape (..., D).
    mean: shape (..., D).
    scale_tril: L, shape (..., D, D); leading axes may be missing here, in mean or in x.
    event_ndim: number of trailing axes of x that make up one event, at least 1.

  Returns:
    Log-density in nats, the broadcast shape of x without the event axes. Gradient flows to all
    three arguments, to scale_tril on and below the diagonal.

  Raises:
    TypeError: if an argument is not floating point.
    ValueError: if the shapes do not combine explicitly, scale_tril is not square or `event_ndim` is
      not between 1 and the rank.

  Example:
    >>> float(log_prob(jnp.zeros(2), jnp.zeros(2), jnp.eye(2)))  # -log(2 pi)
    -1.837877...

  References:
    Bishop, Pattern Recognition and Machine Learning, 2006.
  """
  x, mean, scale_tril = _promote(event_ndim, {"x": x, "mean": mean}, {"scale_tril": scale_tril})
  squares = jnp.square(solve(scale_tril, x - mean))
  # The diagonal may have fewer batch axes than x: one sum per row, after broadcasting.
  log_p = -0.5 * squares - _log_diagonal(scale_tril) - _HALF_LOG_2PI
  return sum_event(log_p, event_ndim)


def sample(
  key: jax.Array,
  mean: ArrayLike,
  scale_tril: ArrayLike,
  *,
  num_samples: int | None = None,
  axis_name: str | None = None,
) -> jax.Array:
  r"""Reparameterised samples.

  .. math:: z = m + L \epsilon, \quad \epsilon \sim N(0, I)

  The noise of a row depends on `key` and on the row's index in the batch alone.

  Args:
    key: random key, the same on every device.
    mean: shape (B, ..., D).
    scale_tril: L, shape (B, ..., D, D) or with leading axes missing.
    num_samples: K draws for every row; None draws one and adds no axis.
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`.

  Returns:
    Samples in the parameters' dtype, shape (B, ..., D), or (K, B, ..., D) if `num_samples=K`.
    Gradient flows to mean and scale_tril through the samples.

  Raises:
    TypeError: if a parameter is not floating point or `num_samples` is not an integer.
    ValueError: if the shapes do not combine explicitly, scale_tril is not square or `num_samples`
      is below 1.

  Example:
    >>> sample(jax.random.key(0), jnp.zeros((3, 2)), jnp.eye(2), num_samples=5).shape
    (5, 3, 2)

  References:
    Kingma & Welling, Auto-Encoding Variational Bayes, 2014. arXiv:1312.6114
  """
  dtype = jnp.result_type(mean, scale_tril)
  mean, scale_tril = _promote(1, {"mean": mean}, {"scale_tril": scale_tril})
  shape = jnp.broadcast_shapes(mean.shape, scale_tril.shape[:-1])

  def draw(row_key: jax.Array, row_shape: tuple[int, ...]) -> jax.Array:
    return jax.random.normal(row_key, row_shape, mean.dtype)

  eps = draw_samples(key, draw, shape, num_samples, axis_name)
  spread = jnp.einsum("...ij,...j->...i", jnp.tril(scale_tril), eps, precision="highest")
  return (mean + spread).astype(dtype)


def mean(mean: ArrayLike, scale_tril: ArrayLike) -> jax.Array:
  r"""Mean, which is the first parameter.

  .. math:: E[x] = m

  Args:
    mean: shape (..., D).
    scale_tril: not used; present because every family's `mean` takes all parameters.

  Returns:
    The mean as it came, shape (..., D). Gradient flows to mean only.

  Raises:
    TypeError: if an argument is not floating point.
    ValueError: if the shapes do not combine explicitly or scale_tril is not square.

  Example:
    >>> mean(jnp.ones(2), jnp.eye(2)).tolist()
    [1.0, 1.0]

  References:
    Bishop, Pattern Recognition and Machine Learning, 2006.
  """
  _promote(1, {"mean": mean}, {"scale_tril": scale_tril})
  return jnp.asarray(mean)


def entropy(mean: ArrayLike, scale_tril: ArrayLike, *, event_ndim: int = 1) -> jax.Array:
  r"""Differential entropy in nats.

  .. math:: H = \sum_d \log |L_{dd}| + \tfrac{D}{2} (1 + \log 2\pi)

  Args:
    mean: shape (..., D); its values do not matter, its shape does.
    scale_tril: L, shape (..., D, D) or with leading axes missing.
    event_ndim: number of trailing axes of mean that make up one event, at least 1.

  Returns:
    Entropy in nats, the broadcast shape without the event axes. Gradient flows to the diagonal of
    scale_tril; it is zero for mean.

  Raises:
    TypeError: if an argument is not floating point.
    ValueError: if the shapes do not combine explicitly, scale_tril is not square or `event_ndim` is
      not between 1 and the rank.

  Example:
    >>> float(entropy(jnp.zeros(1), jnp.eye(1)))
    1.418938...

  References:
    Cover & Thomas, Elements of Information Theory, 2006.
  """
  mean, scale_tril = _promote(event_ndim, {"mean": mean}, {"scale_tril": scale_tril})
  log_diagonal = _log_diagonal(scale_tril)
  shape = jnp.broadcast_shapes(mean.shape, log_diagonal.shape)
  return sum_event(jnp.broadcast_to(log_diagonal + 0.5 + _HALF_LOG_2PI, shape), event_ndim)


def kl(
  mean_q: ArrayLike,
  scale_tril_q: ArrayLike,
  mean_p: ArrayLike,
  scale_tril_p: ArrayLike,
  *,
  event_ndim: int = 1,
) -> jax.Array:
  r"""Kullback-Leibler divergence KL(q || p) in nats.

  .. math:: \tfrac12 \left(\|L_p^{-1} L_q\|_F^2 + \|L_p^{-1} (m_q - m_p)\|^2 - D\right)
    + \sum_d \log \left|\frac{L_{p,dd}}{L_{q,dd}}\right|

  Args:
    mean_q: mean of q, shape (..., D).
    scale_tril_q: factor of q, shape (..., D, D).
    mean_p: mean of p, shape (..., D).
    scale_tril_p: factor of p, shape (..., D, D).
    event_ndim: number of trailing axes of mean_q that make up one event, at least 1.

  Returns:
    Divergence in nats, at least 0 up to rounding, the broadcast shape without the event axes.
    Gradient flows to all four arguments. It leaves the range of float32 when an element of L_q is
    more than exp(44) times the diagonal of L_p.

  Raises:
    TypeError: if an argument is not floating point.
    ValueError: if the shapes do not combine explicitly, a factor is not square or `event_ndim` is
      not between 1 and the rank.

  Example:
    >>> float(kl(jnp.ones(2), jnp.eye(2), jnp.zeros(2), jnp.eye(2)))
    1.0

  References:
    Rasmussen & Williams, Gaussian Processes for Machine Learning, 2006.
  """
  mean_q, mean_p, scale_tril_q, scale_tril_p = _promote(
    event_ndim,
    {"mean_q": mean_q, "mean_p": mean_p},
    {"scale_tril_q": scale_tril_q, "scale_tril_p": scale_tril_p},
  )
  # The columns of L_q are solved for like points.
  columns = jnp.swapaxes(jnp.tril(scale_tril_q), -1, -2)
  ratio = jnp.sum(jnp.square(solve(scale_tril_p[..., None, :, :], columns)), axis=-2)
  log_ratio = _log_diagonal(scale_tril_q) - _log_diagonal(scale_tril_p)
  shift = jnp.square(solve(scale_tril_p, mean_q - mean_p))
  return sum_event(0.5 * (ratio + shift - 1) - log_ratio, event_ndim)


def _promote(
  event_ndim: int, points: dict[str, ArrayLike], factors: dict[str, ArrayLike]
) -> tuple[jax.Array, ...]:
  check_float(**points, **factors)
  _check_square(**factors)
  if event_ndim < 1:
    raise ValueError(f"event_ndim must be at least 1, got {event_ndim}")
  shapes = {name: jnp.shape(point) for name, point in points.items()}
  columns = {f"a column of {name}": jnp.shape(factor)[:-1] for name, factor in factors.items()}
  check_shapes(event_ndim, shapes | columns)
  return widen(*points.values(), *factors.values())


def _check_square(**factors: ArrayLike) -> None:
  for name, factor in factors.items():
    shape = jnp.shape(factor)
    if len(shape) < 2 or shape[-1] != shape[-2]:
      raise ValueError(f"{name} must be square in its last two axes, got shape {shape}")


def _log_diagonal(scale_tril: jax.Array) -> jax.Array:
  return jnp.log(jnp.abs(jnp.diagonal(scale_tril, axis1=-2, axis2=-1)))


def solve(scale_tril: jax.Array, points: jax.Array) -> jax.Array:
  """L^-1 of every point; a factor that points share is not copied for each of them."""
  solve = jnp.vectorize(
    lambda factor, point: jax.scipy.linalg.solve_triangular(factor, point, lower=True),
    signature="(d,d),(d)->(d)",
  )
  return solve(scale_tril, points)
