"""Spectral normalisation: weights whose largest singular value is given, so that a network is Lipschitz."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_not_empty, check_positive_int, check_range, wide_dtype

__all__ = ["SpectralState", "init_spectral_state", "spectral_normalize"]


class SpectralState(NamedTuple):
  """Where the power iteration of every matrix stands.

  Attributes:
    vectors: approximate right singular vectors of norm 1, (N,) for a matrix (M, N), in the order of
      `jax.tree.leaves` of the weights, of which those with fewer than two axes have none.
  """

  vectors: tuple[jax.Array, ...]


def init_spectral_state(key: jax.Array, weights: Any) -> SpectralState:
  r"""Random vectors of norm 1.

  .. math:: v = \frac{\epsilon}{\|\epsilon\|}, \qquad \epsilon \sim N(0, I)

  Args:
    key: random key, the same on every device.
    weights: tree of arrays, such as a network's parameters.

  Returns:
    The state.

  Raises:
    ValueError: if no array has two axes.

  Example:
    >>> state = init_spectral_state(jax.random.key(0), {"kernel": jnp.eye(2), "bias": jnp.zeros(2)})
    >>> [vector.shape for vector in state.vectors]
    [(2,)]

  References:
    Miyato et al., Spectral Normalization for Generative Adversarial Networks, 2018.
      arXiv:1802.05957
  """
  matrices = [leaf for leaf in jax.tree.leaves(weights) if jnp.ndim(leaf) >= 2]
  if not matrices:
    raise ValueError("weights must have an array of at least two axes, got none")
  draw = lambda i, w: jax.random.normal(
    jax.random.fold_in(key, i), jnp.shape(w)[-1:], wide_dtype(w)
  )
  vectors = (draw(i, w) for i, w in enumerate(matrices))
  return SpectralState(tuple(_unit(vector, vector) for vector in vectors))


def spectral_normalize(
  weights: Any, state: SpectralState, *, bound: ArrayLike = 1.0, num_steps: int = 1
) -> tuple[Any, SpectralState]:
  r"""Weights scaled to a given spectral norm, which power iteration estimates.

  .. math::

    u = \frac{W v}{\|W v\|}, \quad v \leftarrow \frac{W^\top u}{\|W^\top u\|}, \quad
    \sigma = u^\top W v, \qquad \hat W = \frac{c}{\sigma} W

  A fully connected network of L such layers and activations of slope at most 1 moves by at most c^L
  times the Euclidean distance of its inputs. An array of more than two axes, such as a convolution's,
  is a matrix (..., N): as in the paper, that is not the norm of the convolution. One step at every
  training step is enough, as weights move slowly; sigma is then a lower bound, closely.

  Args:
    weights: tree of arrays; those with fewer than two axes, such as biases, stay as they are.
    state: of these weights.
    bound: c, positive. Can be traced.
    num_steps: of the power iteration.

  Returns:
    Scaled weights in their own dtypes, and the next state. Gradient flows to the weights, also
    through sigma; u and v are held constant in it, which is the exact derivative once they have
    converged, and the state is detached.

  Raises:
    TypeError: if num_steps is not an integer.
    ValueError: if the state is that of other weights, or a number is not positive.

  Example:
    >>> weights = {"kernel": jnp.diag(jnp.array([4.0, 1.0])), "bias": jnp.ones(2)}
    >>> state = init_spectral_state(jax.random.key(0), weights)
    >>> scaled, _ = spectral_normalize(weights, state, num_steps=20)
    >>> scaled["kernel"].tolist()
    [[1.0, 0.0], [0.0, 0.25]]

  References:
    Miyato et al., Spectral Normalization for Generative Adversarial Networks, 2018.
      arXiv:1802.05957
  """
  check_positive_int(num_steps=num_steps)
  check_range(low=0.0, strict=True, bound=bound)
  leaves, tree = jax.tree.flatten(weights)
  widths = [jnp.shape(leaf)[-1:] for leaf in leaves if jnp.ndim(leaf) >= 2]
  if widths != [jnp.shape(vector) for vector in state.vectors]:
    got = [jnp.shape(vector) for vector in state.vectors]
    raise ValueError(f"state must have vectors of shapes {widths}, as the weights, got {got}")
  vectors, scaled, following = iter(state.vectors), [], []
  for leaf in leaves:
    if jnp.ndim(leaf) >= 2:
      check_not_empty(weights=leaf)
      unit, vector = _divide_by_norm(jnp.asarray(leaf), next(vectors), num_steps)
      leaf = (jnp.asarray(bound, unit.dtype) * unit).astype(leaf.dtype)
      following.append(vector)
    scaled.append(leaf)
  return jax.tree.unflatten(tree, scaled), SpectralState(tuple(following))


def _divide_by_norm(
  weight: jax.Array, vector: jax.Array, num_steps: int
) -> tuple[jax.Array, jax.Array]:
  """A matrix over its largest singular value, and its right singular vector, detached."""
  matrix = weight.reshape(-1, weight.shape[-1]).astype(wide_dtype(weight, vector))
  # By its largest number first, so that no square leaves the range.
  size = jax.lax.stop_gradient(jnp.max(jnp.abs(matrix)))
  matrix = matrix / jnp.where(size > 0, size, 1)
  fixed, v = jax.lax.stop_gradient((matrix, vector.astype(matrix.dtype)))
  times = functools.partial(jnp.matmul, precision="highest")
  left = lambda v: _unit(times(fixed, v), jnp.zeros_like(fixed[:, 0]))
  # Made of the matrix, too, so that inside `shard_map` it varies over the devices as that does.
  v = jax.lax.fori_loop(
    0, num_steps, lambda _, v: _unit(times(fixed.T, left(v)), v), v + jnp.zeros_like(fixed[0])
  )
  sigma = jnp.vdot(left(v), times(matrix, v), precision="highest")
  # A matrix of zeros has no direction to be scaled in.
  return (matrix / jnp.where(sigma > 0, sigma, 1)).reshape(weight.shape), v


def _unit(x: jax.Array, otherwise: jax.Array) -> jax.Array:
  norm = jnp.linalg.norm(x)
  return jnp.where(norm > 0, x / jnp.where(norm > 0, norm, 1), otherwise)
