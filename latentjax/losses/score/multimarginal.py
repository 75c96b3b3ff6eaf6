"""Multimarginal interpolants: several distributions at the corners of a simplex, and paths between them."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import (
  check_batch,
  check_float,
  check_positive_int,
  check_rank,
  check_same_shape,
  wide_dtype,
)
from latentjax.collectives import draw_rows

__all__ = ["multimarginal_loss", "path_velocity", "simplex_interpolant", "simplex_weights"]

MarginalsFn = Callable[[jax.Array, jax.Array], jax.Array]


def simplex_interpolant(alpha: ArrayLike, xs: ArrayLike) -> jax.Array:
  r"""The barycentre of one point of every distribution.

  .. math:: x(\alpha) = \sum_k \alpha_k x_k

  Args:
    alpha: weights on the simplex, shape (B, K) or (K,).
    xs: a point of each distribution, shape (B, K, ...).

  Returns:
    Points, shape (B, ...), the dtype of xs. Gradient flows to both.

  Raises:
    TypeError: if an array is not floating point.
    ValueError: if the shapes do not fit.

  Example:
    >>> xs = jnp.array([[[0.0], [4.0], [8.0]]])
    >>> simplex_interpolant(jnp.array([0.5, 0.25, 0.25]), xs).tolist()
    [[3.0]]

  References:
    Albergo et al., Multimarginal generative modeling with stochastic interpolants, 2023. arXiv:2310.03695
  """
  check_float(alpha=alpha, xs=xs)
  xs = jnp.asarray(xs)
  weights = _expand(alpha, xs)
  return jnp.sum(weights * xs.astype(weights.dtype), axis=1).astype(xs.dtype)


def simplex_weights(
  key: jax.Array,
  *,
  batch_size: int,
  num_marginals: int,
  axis_name: str | None = None,
) -> jax.Array:
  r"""Points of the simplex, uniform.

  .. math:: \alpha \sim \mathrm{Dirichlet}(1, ..., 1)

  Args:
    key: random key, the same on every device.
    batch_size: B, examples on this device.
    num_marginals: K.
    axis_name: mapped device axis over which the examples are split, inside `pmap` or `shard_map`.

  Returns:
    Weights, float32, shape (B, K), each row of sum 1.

  Raises:
    TypeError: if a size is not an integer.
    ValueError: if a size is not positive.

  Example:
    >>> alpha = simplex_weights(jax.random.key(0), batch_size=4, num_marginals=3)
    >>> alpha.sum(axis=1).round(4).tolist()
    [1.0, 1.0, 1.0, 1.0]

  References:
    Albergo et al., Multimarginal generative modeling with stochastic interpolants, 2023. arXiv:2310.03695
  """
  check_positive_int(batch_size=batch_size, num_marginals=num_marginals)
  draw = lambda key, shape: jax.random.dirichlet(key, jnp.ones(shape))
  return draw_rows(key, draw, (batch_size, num_marginals), axis_name=axis_name)


def multimarginal_loss(
  key: jax.Array,
  marginals_fn: MarginalsFn,
  xs: ArrayLike,
  *,
  weights_sampler: Callable[..., jax.Array] = simplex_weights,
  axis_name: str | None = None,
) -> jax.Array:
  r"""Squared error of all distributions' points, given their barycentre.

  .. math:: \sum_k \|\hat g_k(\alpha, x(\alpha)) - x_k\|^2, \qquad g_k(\alpha, x) = E[x_k \,|\, x(\alpha) = x]

  The sum of the paper's K quadratic objectives, each up to a constant of the data: the minimum of
  each is its conditional mean. Which points stand in a row is the coupling of the distributions: any
  rows, for independent ones.

  Args:
    key: random key, the same on every device.
    marginals_fn: g, `(x, alpha) -> (B, K, ...)`, x (B, ...), alpha (B, K).
    xs: a point of each distribution, shape (B, K, ...).
    weights_sampler: `(key, *, batch_size, num_marginals, axis_name) -> alpha`.
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`.

  Returns:
    Loss per row, summed over its entries, shape (B,), float32 or wider. Gradient flows to what
    marginals_fn holds and to xs.

  Raises:
    TypeError: if an array is not floating point.
    ValueError: if the shapes do not fit.

  Example:
    >>> xs = jnp.ones((4, 3, 2))
    >>> zeros = lambda x, alpha: jnp.zeros((4, 3, 2))
    >>> multimarginal_loss(jax.random.key(0), zeros, xs).tolist()
    [6.0, 6.0, 6.0, 6.0]

  References:
    Albergo et al., Multimarginal generative modeling with stochastic interpolants, 2023. arXiv:2310.03695
  """
  check_batch(xs=xs)
  xs = jnp.asarray(xs)
  if xs.ndim < 3:
    raise ValueError(f"xs must have shape (B, K, ...), got {xs.shape}")
  alpha = weights_sampler(
    key, batch_size=xs.shape[0], num_marginals=xs.shape[1], axis_name=axis_name
  )
  given = marginals_fn(simplex_interpolant(alpha, xs), alpha)
  check_same_shape(xs=xs, prediction=given)
  wide = wide_dtype(xs, given)
  error = jnp.square(given.astype(wide) - xs.astype(wide))
  return jnp.sum(error, axis=tuple(range(1, xs.ndim)))


def path_velocity(
  marginals_fn: MarginalsFn, path_fn: Callable[[jax.Array], jax.Array]
) -> Callable[[jax.Array, ArrayLike], jax.Array]:
  r"""Velocity of the flow along a path of the simplex.

  .. math:: b(x, t) = \sum_k \dot\alpha_k(t) \, g_k(\alpha(t), x)

  Its ODE (`samplers.velocity_flow`) moves the distribution at alpha(0) to that at alpha(1); the g_k do not
  depend on the path, so one training serves all of them. The path may leave the simplex: the means at
  weights c alpha and point c x are those at alpha and x, so both are divided by the sum of the weights. The
  mean of ||b||^2 over the path's points is what an optimised path makes less of. If x_k is standard normal,
  the score of the marginal is -g_k / alpha_k.

  Args:
    marginals_fn: g, `(x, alpha) -> (B, K, ...)`, x (B, ...), alpha (B, K).
    path_fn: alpha, `t -> (K,)`, of positive sum, t of shape (), differentiable.

  Returns:
    `(x, t) -> velocity`, x (B, ...), t of shape () or (B,).

  Raises:
    TypeError: of the result, if x is not floating point.
    ValueError: of the result, if the shapes do not fit.

  Example:
    >>> corners = lambda x, alpha: jnp.broadcast_to(jnp.array([[[1.0], [3.0]]]), (len(x), 2, 1))
    >>> velocity = path_velocity(corners, lambda t: jnp.stack([1 - t, t]))
    >>> velocity(jnp.zeros((1, 1)), 0.5).tolist()
    [[2.0]]

  References:
    Albergo et al., Multimarginal generative modeling with stochastic interpolants, 2023. arXiv:2310.03695
  """

  def velocity(x: jax.Array, t: ArrayLike) -> jax.Array:
    check_batch(x=x)
    if jnp.shape(t) not in ((), x.shape[:1]):
      raise ValueError(f"t must have shape () or {x.shape[:1]}, got {jnp.shape(t)}")
    t = jnp.broadcast_to(jnp.asarray(t, wide_dtype(x)), x.shape[:1])
    alpha, slope = jax.vmap(lambda t: jax.jvp(path_fn, (t,), (jnp.ones_like(t),)))(t)
    check_rank(2, alpha=alpha)
    total = jnp.sum(alpha, axis=1, keepdims=True)
    scaled = x / total.reshape(total.shape[:1] + (1,) * (x.ndim - 1))
    means = marginals_fn(scaled.astype(x.dtype), alpha / total)
    return jnp.sum(_expand(slope, means) * means, axis=1).astype(x.dtype)

  return velocity


def _expand(alpha: ArrayLike, xs: jax.Array) -> jax.Array:
  """Weights (B, K) or (K,) that broadcast with xs (B, K, ...)."""
  alpha = jnp.asarray(alpha, wide_dtype(alpha, xs))
  if xs.ndim < 2 or alpha.shape not in (xs.shape[:2], xs.shape[1:2]):
    shapes = f"{alpha.shape} and {xs.shape}"
    raise ValueError(f"alpha must have shape (B, K) or (K,) for xs (B, K, ...), got {shapes}")
  return alpha.reshape(alpha.shape + (1,) * (xs.ndim - 2))
