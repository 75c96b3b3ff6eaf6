r"""Gaussian likelihood whose variance is the maximum-likelihood one, parameter `mean` (sigma-VAE).

.. math:: \max_\sigma \log N(x; m, \sigma^2 I) = -\frac{D}{2} \left(\log 2\pi \sigma_*^2 + 1\right),
  \quad \sigma_*^2 = \frac{1}{D} \|x - m\|^2

The variance need not be learned or tuned: it is the mean squared error. It depends on x, so the
result is the profile likelihood and not a density of x; there is nothing to sample from but
`gaussian.sample(key, mean, optimal_log_scale(...))`.
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_range
from latentjax.collectives import device_mean
from latentjax.densities import gaussian
from latentjax.densities._shapes import promote

__all__ = ["log_prob", "mean", "optimal_log_scale"]


def optimal_log_scale(
  x: ArrayLike,
  mean: ArrayLike,
  *,
  shared: bool = False,
  min_log_scale: float = -6.0,
  event_ndim: int = 1,
  axis_name: str | None = None,
) -> jax.Array:
  r"""Log of the standard deviation that maximises the likelihood of x.

  .. math:: \log \sigma_* = \max\left(\tfrac12 \log \frac{1}{D} \|x - m\|^2, \, l_{min}\right)

  The floor is a hard one (the paper's code bends smoothly towards -6); below it the gradient is
  zero, so a perfect reconstruction is finite.

  Args:
    x: data, shape (..., D) for `event_ndim=1`.
    mean: reconstruction, shape (..., D).
    shared: one variance for the whole batch, as the paper trains, instead of one per event. Examples
      then depend on each other.
    min_log_scale: the floor l_min.
    event_ndim: number of trailing axes that make up one event.
    axis_name: mapped device axis over which axis 0 is split, inside `pmap` or `shard_map`; only
      needed for `shared`.

  Returns:
    log sigma, the broadcast shape without the event axes, or a scalar if `shared`; float32 or
    wider. Gradient flows to both arguments.

  Raises:
    TypeError: if an argument is not floating point.
    ValueError: if the shapes do not combine explicitly, `event_ndim` is not between 0 and the rank
      or `min_log_scale` is not finite.

  Example:
    >>> float(optimal_log_scale(jnp.array([3.0, -3.0]), jnp.zeros(2)))  # log 3
    1.098612...

  References:
    Rybkin et al., Simple and Effective VAE Training with Calibrated Decoders, 2021.
      arXiv:2006.13202
  """
  check_range(low=-1e30, high=1e30, min_log_scale=min_log_scale)
  x, mean = promote(event_ndim, x=x, mean=mean)
  error = jnp.square(x - mean)
  mse = jnp.mean(error, axis=tuple(range(error.ndim - event_ndim, error.ndim)))
  if shared:
    mse = device_mean(jnp.mean(mse), axis_name)
  above = 0.5 * jnp.log(jnp.maximum(mse, jnp.finfo(mse.dtype).tiny))
  return jnp.maximum(above, min_log_scale)


def log_prob(
  x: ArrayLike,
  mean: ArrayLike,
  *,
  shared: bool = False,
  min_log_scale: float = -6.0,
  event_ndim: int = 1,
  axis_name: str | None = None,
) -> jax.Array:
  r"""Log-likelihood under the optimal variance in nats, summed over the event axes.

  .. math:: -\tfrac{D}{2} \log \frac{2 \pi e}{D} \|x - m\|^2

  At the optimum the derivative with respect to sigma vanishes, so the gradient to the mean is that
  of a Gaussian with the variance held fixed: the squared error divided by 2 sigma_*^2.

  Args:
    x: data, shape (..., D) for `event_ndim=1`.
    mean: reconstruction, shape (..., D); leading axes may be missing here or in x.
    shared: one variance for the whole batch, as the paper trains, instead of one per event. Examples
      then depend on each other.
    min_log_scale: lower limit of log sigma.
    event_ndim: number of trailing axes that make up one event.
    axis_name: mapped device axis over which axis 0 is split, inside `pmap` or `shard_map`; only
      needed for `shared`.

  Returns:
    Log-likelihood in nats, the broadcast shape without the event axes, float32 or wider. Gradient
    flows to both arguments.

  Raises:
    TypeError: if an argument is not floating point.
    ValueError: if the shapes do not combine explicitly, `event_ndim` is not between 0 and the rank
      or `min_log_scale` is not finite.

  Example:
    >>> float(log_prob(jnp.ones(1), jnp.zeros(1)))  # the standard Gaussian's at 1
    -1.418938...

  References:
    Rybkin et al., Simple and Effective VAE Training with Calibrated Decoders, 2021.
      arXiv:2006.13202
  """
  log_scale = optimal_log_scale(
    x,
    mean,
    shared=shared,
    min_log_scale=min_log_scale,
    event_ndim=event_ndim,
    axis_name=axis_name,
  )
  x, mean = jnp.broadcast_arrays(*promote(event_ndim, x=x, mean=mean))
  spread = log_scale.reshape(log_scale.shape + (1,) * (x.ndim - log_scale.ndim))
  return gaussian.log_prob(x, mean, jnp.broadcast_to(spread, x.shape), event_ndim=event_ndim)


def mean(mean: ArrayLike) -> jax.Array:
  r"""Mean, which is the only parameter.

  .. math:: E[x] = m

  Args:
    mean: shape (..., D).

  Returns:
    The mean as it came. Gradient flows to it.

  Raises:
    TypeError: if mean is not floating point.

  Example:
    >>> mean(jnp.ones(2)).tolist()
    [1.0, 1.0]

  References:
    Bishop, Pattern Recognition and Machine Learning, 2006.
  """
  promote(None, mean=mean)
  return jnp.asarray(mean)
