"""Gaussian blur of random width."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.augment._image import Range, as_image, check_interval, maybe, uniform

__all__ = ["gaussian_blur"]


def gaussian_blur(
  key: jax.Array, image: ArrayLike, *, sigma: Range = (0.1, 2.0), prob: float = 0.5
) -> jax.Array:
  r"""Image blurred by a Gaussian of random width, or as it is.

  .. math:: x'_{ij} = \sum_{kl} g_{ik} g_{jl} x_{kl}, \quad
     g_{ik} \propto e^{-(i - k)^2 / 2 \sigma^2}, \; \sum_k g_{ik} = 1, \qquad \sigma \sim U(sigma)

  Two products with matrices (H, H) and (W, W): no kernel is cut off, and what would reach over the
  border goes to the pixels inside. On CPU ten to twenty times as fast as a convolution with another
  kernel for every image.

  Args:
    key: random key.
    image: shape (H, W, C).
    sigma: smallest and largest standard deviation in pixels, positive.
    prob: probability of the change.

  Returns:
    Image in its dtype, shape (H, W, C). Gradient flows to it.

  Raises:
    TypeError: if image is not floating point.
    ValueError: if image is not of rank 3, sigma is not positive or prob is outside [0, 1].

  Example:
    >>> image = jnp.full((8, 8, 3), 0.5)
    >>> bool(jnp.allclose(gaussian_blur(jax.random.key(0), image, prob=1.0), image))
    True

  References:
    Chen et al., A Simple Framework for Contrastive Learning of Visual Representations, 2020,
      appendix A. arXiv:2002.05709
  """
  image = as_image(image)
  check_interval(0.0, sigma=sigma)
  if sigma[0] == 0:
    raise ValueError(f"sigma must be positive, got {sigma}")
  key_sigma, key_prob = jax.random.split(key)
  width = uniform(key_sigma, image, sigma)
  rows, columns = (_weights(n, width) for n in image.shape[:2])
  blurred = jnp.einsum("ik,klc,jl->ijc", rows, image, columns, precision="highest")
  return maybe(key_prob, prob, blurred, image)


def _weights(length: int, sigma: jax.Array) -> jax.Array:
  steps = jnp.arange(length)
  return jax.nn.softmax(-jnp.square((steps[:, None] - steps) / sigma) / 2, axis=1)
