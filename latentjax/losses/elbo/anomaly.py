"""Where an image differs from its reconstruction."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import (
  check_alike,
  check_range,
  wide_dtype,
)

__all__ = ["anomaly_map"]


def anomaly_map(x: ArrayLike, x_hat: ArrayLike, *, smoothing: float = 0.0) -> jax.Array:
  r"""Smoothed absolute error of a reconstruction: high where the model has never seen the like.

  .. math:: a = G_s * \sum_c |x_c - \hat x_c|

  G is a Gaussian window of s pixels, cut off and normalised at the borders: a constant error stays
  constant.

  Args:
    x: images, shape (B, H, W, C).
    x_hat: reconstructions, the shape of x.
    smoothing: s in pixels; 0 for none.

  Returns:
    Scores, shape (B, H, W), float32 or wider. Gradient flows to both arguments.

  Raises:
    TypeError: if an argument is not floating point.
    ValueError: if the shapes differ or are not of rank 4, or smoothing is negative.

  Example:
    >>> x = jnp.zeros((1, 4, 4, 2))
    >>> anomaly_map(x, x + 0.5, smoothing=1.0)[0, 0].round(4).tolist()
    [1.0, 1.0, 1.0, 1.0]

  References:
    Chatterjee et al., StRegA: Unsupervised Anomaly Detection in Brain MRIs using a Compact
      Context-encoding Variational Autoencoder, 2022. arXiv:2201.13271
  """
  check_alike(4, x=x, x_hat=x_hat)
  check_range(0.0, smoothing=smoothing)
  dtype = wide_dtype(x, x_hat)
  error = jnp.sum(jnp.abs(jnp.asarray(x, dtype) - jnp.asarray(x_hat, dtype)), axis=3)
  if not smoothing:
    return error

  def window(size: int) -> jax.Array:
    offset = jnp.arange(size)[:, None] - jnp.arange(size)
    return jax.nn.softmax(-0.5 * jnp.square(offset / smoothing), axis=1).astype(dtype)

  dot = lambda a, b: jnp.matmul(a, b, precision="highest")
  return dot(dot(window(error.shape[1]), error), window(error.shape[2]).T)
