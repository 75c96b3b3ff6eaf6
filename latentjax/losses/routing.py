"""Where gradients go and how strongly, without a change of the value."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_float

__all__ = ["scale_gradient"]


def scale_gradient(x: ArrayLike, scale: ArrayLike) -> jax.Array:
  r"""Identity whose gradient is multiplied by a factor.

  .. math:: f(x) = x, \qquad \nabla_x := s \cdot \nabla_{f(x)}

  A factor of -1 is the gradient reversal of adversarial training, 0 stops the gradient, and one
  factor per sample reweights the samples' gradients.

  Args:
    x: any shape.
    scale: factor, a number or an array that broadcasts to the shape of x. Can be traced.

  Returns:
    x as it came. Gradient flows to x, times the factor; scale is detached.

  Raises:
    TypeError: if x is not floating point.
    ValueError: if scale does not broadcast to the shape of x.

  Example:
    >>> jax.grad(lambda x: scale_gradient(x, -0.5) ** 2)(3.0).item()
    -3.0

  References:
    Ganin & Lempitsky, Unsupervised Domain Adaptation by Backpropagation, 2015, eq. 9 and 10.
      arXiv:1409.7495
  """
  check_float(x=x)
  x, scale = jnp.asarray(x), jnp.asarray(scale)
  try:
    combines = jnp.broadcast_shapes(x.shape, scale.shape) == x.shape
  except ValueError:
    combines = False
  if not combines:
    raise ValueError(f"scale must broadcast to the shape {x.shape} of x, got shape {scale.shape}")
  return _scale_gradient(x, jax.lax.stop_gradient(scale.astype(x.dtype)))


@jax.custom_vjp
def _scale_gradient(x: jax.Array, scale: jax.Array) -> jax.Array:
  return x


def _forward(x: jax.Array, scale: jax.Array) -> tuple[jax.Array, jax.Array]:
  return x, scale


def _backward(scale: jax.Array, grad: jax.Array) -> tuple[jax.Array, jax.Array]:
  return scale * grad, jnp.zeros_like(scale)


_scale_gradient.defvjp(_forward, _backward)
