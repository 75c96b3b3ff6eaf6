"""Features of a network that are to point where those of another do."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_alike, wide_dtype
from latentjax.losses.contrastive import l2_normalize

__all__ = ["repa_loss"]


def repa_loss(projected: ArrayLike, target: ArrayLike) -> jax.Array:
  r"""Misalignment of a diffusion model's tokens and an encoder's features of the same patches (REPA).

  .. math:: -\frac{1}{N} \sum_{n=1}^N \cos\big(y_n, h_\phi(h_{t, n})\big)

  h_t are tokens of an early block for a noisy image, h_phi is a small trained network, and y the features
  that a frozen encoder has of the clean image. Added to the loss of the diffusion model with weight 0.5 in
  the paper.

  Args:
    projected: h_phi(h_t), shape (B, N, D), one token for each of N patches.
    target: y, shape (B, N, D).

  Returns:
    Loss per example, in [-1, 1], shape (B,), float32 or wider. Gradient flows to projected; target is
    detached.

  Raises:
    TypeError: if an argument is not floating point.
    ValueError: if the shapes differ or are not of rank 3.

  Example:
    >>> tokens = jnp.array([[[1.0, 0.0], [0.0, 2.0]]])
    >>> repa_loss(tokens, jnp.array([[[3.0, 0.0], [1.0, 0.0]]])).tolist()
    [-0.5]

  References:
    Yu et al., Representation Alignment for Generation: Training Diffusion Transformers Is Easier Than You
      Think, 2024. arXiv:2410.06940
  """
  check_alike(3, projected=projected, target=target)
  wide = wide_dtype(projected, target)
  unit = l2_normalize(jnp.asarray(projected, wide))
  goal = l2_normalize(jax.lax.stop_gradient(jnp.asarray(target, wide)))
  return -jnp.mean(jnp.sum(unit * goal, axis=-1), axis=-1)
