"""Squared distances of the rows of two arrays: through their products, or through their differences."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

__all__ = ["squared_distances", "squared_distances_to"]


def squared_distances(x: jax.Array, y: jax.Array, *, exact: bool = False) -> jax.Array:
  r"""Squared Euclidean distances of all rows of one array to all rows of another.

  .. math:: d_{ij} = \|x_i - y_j\|^2

  By default from inner products about the mean of y, |x|^2 + |y|^2 - 2 x y: as fast as a matrix product, and
  right to about 1e-6 of the squared distance from that mean. What is much closer than that, such as the
  members of one of several tight clusters, drowns in rounding. `exact` takes differences instead: every
  distance is right to its own last digits, symmetric, and 0 for equal rows. On a CPU it takes no longer, on
  a device made for matrix products it does. Neither makes an array of size P x N x D.

  Args:
    x: shape (..., P, D), float32 or wider.
    y: shape (..., N, D), float32 or wider, with leading axes that broadcast.
    exact: whether to take differences.

  Returns:
    Shape (..., P, N), at least 0. Gradient flows to both arrays.

  Raises:
    ValueError: if the widths differ.

  Example:
    >>> squared_distances(jnp.array([[0.0, 0.0]]), jnp.array([[3.0, 4.0], [1.0, 0.0]])).tolist()
    [[25.0, 1.0]]

  References:
    Higham, Accuracy and Stability of Numerical Algorithms, 2002, chapter 1 (cancellation).
  """
  if x.shape[-1] != y.shape[-1]:
    raise ValueError(f"x and y must have the same width, got {x.shape} and {y.shape}")
  return _differences(x, y) if exact else squared_distances_to(y)(x)


@jax.custom_jvp
def _by_steps(x: jax.Array, y: jax.Array) -> jax.Array:
  # One coordinate at a time: on a CPU several times as fast as a sum over the last axis.
  def add(total: jax.Array, some: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
    return total + jnp.square(some[0][:, None] - some[1]), None

  return jax.lax.scan(add, jnp.zeros_like(x[:, :1] - y[:, 0]), (x.T, y.T))[0]


@_by_steps.defjvp
def _by_steps_jvp(
  primals: tuple[jax.Array, jax.Array], tangents: tuple[jax.Array, jax.Array]
) -> tuple[jax.Array, jax.Array]:
  def add(total: jax.Array, some: tuple[jax.Array, ...]) -> tuple[jax.Array, None]:
    apart, moved = some[0][:, None] - some[1], some[2][:, None] - some[3]
    return total + 2 * apart * moved, None

  value = _by_steps(*primals)
  columns = tuple(array.T for array in (*primals, *tangents))
  # Without the checkpoint the transpose would keep the differences of all coordinates.
  step = jax.checkpoint(add, prevent_cse=False)
  return value, jax.lax.scan(step, jnp.zeros_like(value), columns)[0]


_differences = jnp.vectorize(_by_steps, signature="(p,d),(n,d)->(p,n)")


def squared_distances_to(columns: jax.Array) -> Callable[[jax.Array], jax.Array]:
  r"""Function of points that returns their squared distances to given rows, from inner products.

  .. math:: d_j(x) = \|x\|^2 + \|y_j\|^2 - 2 x^\top y_j

  For points that come one by one or block by block: what depends on the rows alone is taken once. See
  `squared_distances`.

  Args:
    columns: the rows y, shape (..., N, D), float32 or wider.

  Returns:
    `(points (..., D)) -> (..., N)`, or `(..., P, D) -> (..., P, N)` if columns have leading axes. At least
    0. Gradient flows to both.

  Raises:
    TypeError: if the shapes of points do not fit, by JAX.

  Example:
    >>> squared_distances_to(jnp.array([[3.0, 4.0], [1.0, 0.0]]))(jnp.zeros(2)).tolist()
    [25.0, 1.0]

  References:
    Higham, Accuracy and Stability of Numerical Algorithms, 2002, chapter 1 (cancellation).
  """
  # Differences of squares lose their digits far from the origin.
  centre = jax.lax.stop_gradient(jnp.mean(columns, axis=-2, keepdims=True))
  columns = columns - centre
  norms = jnp.sum(jnp.square(columns), axis=-1)

  def distances(points: jax.Array) -> jax.Array:
    single = points.ndim == 1
    points = jnp.atleast_2d(points) - centre
    products = jnp.matmul(points, jnp.swapaxes(columns, -1, -2), precision="highest")
    own_norms = jnp.sum(jnp.square(points), axis=-1)
    squared = jax.nn.relu(own_norms[..., None] + norms[..., None, :] - 2 * products)
    return squared[0] if single else squared

  return distances
