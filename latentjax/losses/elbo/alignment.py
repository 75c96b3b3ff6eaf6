"""Distance of the latent distributions of two modalities."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_alike, wide_dtype

__all__ = ["w2_gaussian"]


def w2_gaussian(
  mean_a: ArrayLike, log_scale_a: ArrayLike, mean_b: ArrayLike, log_scale_b: ArrayLike
) -> jax.Array:
  r"""2-Wasserstein distance of two diagonal Gaussians, not squared.

  .. math:: W_2 = \sqrt{\|m_a - m_b\|^2 + \|s_a - s_b\|^2}

  Args:
    mean_a: mean of the first, shape (B, Z).
    log_scale_a: logarithm of its standard deviation, shape (B, Z).
    mean_b: mean of the second, shape (B, Z).
    log_scale_b: logarithm of its standard deviation, shape (B, Z).

  Returns:
    Distance, at least 0, shape (B,), float32 or wider, in the unit of z. Gradient flows to all
    arguments; it is zero, not infinite, where the two are equal.

  Raises:
    TypeError: if an argument is not floating point.
    ValueError: if the shapes differ or are not of rank 2.

  Example:
    >>> zeros = jnp.zeros((1, 2))
    >>> float(w2_gaussian(zeros + jnp.array([3.0, 4.0]), zeros, zeros, zeros)[0])
    5.0

  References:
    Givens & Shortt, A class of Wasserstein metrics for probability distributions, 1984.
    Schönfeld et al., Generalized Zero- and Few-Shot Learning via Aligned Variational Autoencoders,
      2019. arXiv:1812.01784
  """
  arrays = {
    "mean_a": mean_a,
    "log_scale_a": log_scale_a,
    "mean_b": mean_b,
    "log_scale_b": log_scale_b,
  }
  check_alike(2, **arrays)
  dtype = wide_dtype(*arrays.values())
  mean_a, log_scale_a, mean_b, log_scale_b = (jnp.asarray(a, dtype) for a in arrays.values())
  difference = jnp.concatenate(
    [mean_a - mean_b, jnp.exp(log_scale_a) - jnp.exp(log_scale_b)], axis=1
  )
  # The largest magnitude first: neither the squares nor their root's gradient leave the range.
  size = jnp.max(jnp.abs(jax.lax.stop_gradient(difference)), axis=1)
  differs = size > 0
  unit = difference / jnp.where(differs, size, 1.0)[:, None]
  squared = jnp.where(differs, jnp.sum(jnp.square(unit), axis=1), 1.0)
  return jnp.where(differs, size * jnp.sqrt(squared), 0.0)
