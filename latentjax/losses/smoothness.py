"""Penalties on how fast a network changes with its input."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_float, check_rank, wide_dtype
from latentjax.collectives import draw_rows

__all__ = ["jacobian_penalty"]


def jacobian_penalty(
  key: jax.Array,
  fn: Callable[[jax.Array], jax.Array],
  x: ArrayLike,
  *,
  axis_name: str | None = None,
) -> jax.Array:
  r"""Squared Frobenius norm of a network's Jacobian, estimated by one random projection.

  .. math:: \| J \|_F^2 = E_v \| J^\top v \|^2, \qquad v_i = \pm 1, \quad J = \partial f(x) / \partial x

  Unbiased; the cost is one backward pass, whatever the number of outputs.

  Args:
    key: random key, the same on every device.
    fn: network `(x) -> y` that treats every example on its own, y of shape (B, ...).
    x: shape (B, D).
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`; the
      projections are then those of the same rows on one device.

  Returns:
    Estimate per example, shape (B,), float32 or wider. Gradient flows to x and to what fn closes
    over.

  Raises:
    TypeError: if x is not floating point.
    ValueError: if x is not of rank 2.

  Example:
    >>> jacobian_penalty(jax.random.key(0), lambda x: 3.0 * x, jnp.ones((2, 4))).tolist()
    [36.0, 36.0]

  References:
    Hutchinson, A stochastic estimator of the trace of the influence matrix, 1989.
    Ghosh et al., From Variational to Deterministic Autoencoders, 2020 (the gradient penalty of the
      decoder). arXiv:1903.12436
  """
  check_float(x=x)
  check_rank(2, x=x)
  x = jnp.asarray(x)
  y, pull_back = jax.vjp(fn, x)
  signs = draw_rows(
    key, lambda key, shape: jax.random.rademacher(key, shape, y.dtype), y.shape, axis_name=axis_name
  )
  (projected,) = pull_back(signs)
  return jnp.sum(jnp.square(projected.astype(wide_dtype(x))), axis=1)
