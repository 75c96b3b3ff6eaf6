"""Embeddings of which one part ignores how views differ and the other follows it (SIE)."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_float, check_range, check_rank, wide_dtype
from latentjax.collectives import device_mean
from latentjax.losses.contrastive._views import as_view_pair
from latentjax.losses.contrastive.redundancy import vicreg_loss

__all__ = ["hyper_linear", "sie_loss"]


def hyper_linear(z: ArrayLike, g: ArrayLike, weights: ArrayLike) -> jax.Array:
  r"""Linear map of an embedding that is itself linear in the parameters of a transform (SIE).

  .. math:: \hat z_b = W(g_b) \, z_b, \qquad W(g) = \sum_k g_k W_k

  The hypernetwork is without bias, and so is the map: what does not depend on g cannot get through,
  so that the prediction cannot collapse to an invariant one. A rotation by angle a is of this form
  with g = (cos a, sin a). The matrices W(g) are not formed.

  Args:
    z: equivariant part of the embeddings, shape (B, D).
    g: parameters of every pair's transform, shape (B, G).
    weights: W, shape (G, D, D).

  Returns:
    Predicted embeddings, shape (B, D), float32 or wider. Gradient flows to all arguments.

  Raises:
    TypeError: if an argument is not floating point.
    ValueError: if the shapes do not fit.

  Example:
    >>> quarter_turn = jnp.array([[[1.0, 0.0], [0.0, 1.0]], [[0.0, -1.0], [1.0, 0.0]]])
    >>> hyper_linear(jnp.array([[2.0, 0.0]]), jnp.array([[0.0, 1.0]]), quarter_turn).tolist()
    [[0.0, 2.0]]

  References:
    Garrido, Najman & LeCun, Self-Supervised Learning of Split Invariant Equivariant
      Representations, 2023. arXiv:2302.10283
  """
  check_float(z=z, g=g, weights=weights)
  check_rank(2, z=z, g=g)
  (batch, dim), count = jnp.shape(z), jnp.shape(g)[1]
  if jnp.shape(g)[0] != batch:
    raise ValueError(f"g must have the {batch} rows of z, got {jnp.shape(g)}")
  if jnp.shape(weights) != (count, dim, dim):
    raise ValueError(f"weights must have shape {(count, dim, dim)}, got {jnp.shape(weights)}")
  dtype = wide_dtype(z, g, weights)
  z, g, weights = (jnp.asarray(array, dtype) for array in (z, g, weights))
  scaled = (g[:, :, None] * z[:, None, :]).reshape(batch, count * dim)
  matrix = jnp.swapaxes(weights, 1, 2).reshape(count * dim, dim)
  return jnp.matmul(scaled, matrix, precision="highest")


def sie_loss(
  z_1: ArrayLike,
  z_2: ArrayLike,
  prediction: ArrayLike,
  *,
  lambda_invariance: ArrayLike = 10.0,
  lambda_equivariance: ArrayLike = 45.0,
  lambda_variance: ArrayLike = 10.0,
  lambda_covariance: ArrayLike = 1.0,
  eps: ArrayLike = 1e-4,
  axis_name: str | None = None,
) -> jax.Array:
  r"""Split invariant-equivariant loss (SIE), a VICReg whose second part is predicted, not equal.

  .. math::

    \frac{\lambda_i}{B I} \sum_b \|u^{(1)}_b - u^{(2)}_b\|^2
    + \frac{\lambda_e}{B E} \sum_b \|\hat v_b - v^{(2)}_b\|^2
    + \mu \big(V(z^{(1)}) + V(z^{(2)}) + V(\hat v)\big) + \nu \big(C(z^{(1)}) + C(z^{(2)})\big)

  with embeddings z = (u, v), an invariant part of I dimensions and then an equivariant one of E, the
  hinge V(z) = mean_i max(0, 1 - sqrt(var(z_i) + eps)) / 2 and C, the squared covariances, both over
  the whole embedding as in `vicreg_loss`. The weights are those of the authors' program.

  Args:
    z_1: embeddings of the first view, shape (B, I + E).
    z_2: those of the second, the first's transform, shape (B, I + E).
    prediction: of the second view's equivariant part from the first's and the transform, such as
      `hyper_linear(z_1[:, I:], g, weights)`, shape (B, E), 0 < E < I + E.
    lambda_invariance: weight of the distance of the invariant parts, at least 0. Can be traced.
    lambda_equivariance: weight of the error of the prediction, at least 0. Can be traced.
    lambda_variance: mu, weight of the hinges, at least 0. Can be traced.
    lambda_covariance: nu, weight of the covariances, at least 0. Can be traced.
    eps: added to the variances, positive. Can be traced.
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`. The
      statistics are those of all rows.

  Returns:
    Loss of the batch, a scalar, float32 or wider, the same on every device. Gradient flows to all
    three arrays.

  Raises:
    TypeError: if an argument is not floating point.
    ValueError: if the shapes do not fit, the batch has a single row, a weight is negative or eps is
      not positive.

  Example:
    >>> z = jnp.zeros((4, 3))  # collapsed: only the hinges are left, 10 * 1.5 (1 - sqrt(eps))
    >>> round(sie_loss(z, z, z[:, :1]).item(), 3)
    14.85

  References:
    Garrido, Najman & LeCun, Self-Supervised Learning of Split Invariant Equivariant
      Representations, 2023. arXiv:2302.10283
  """
  z_1, z_2 = as_view_pair(z_1=z_1, z_2=z_2)
  check_float(prediction=prediction)
  check_rank(2, prediction=prediction)
  (batch, dim), (rows, num_equivariant) = z_1.shape, jnp.shape(prediction)
  if rows != batch or not 0 < num_equivariant < dim:
    raise ValueError(
      f"prediction must have shape ({batch}, E) with 0 < E < {dim}, got {jnp.shape(prediction)}"
    )
  check_range(low=0.0, lambda_invariance=lambda_invariance, lambda_equivariance=lambda_equivariance)
  common = vicreg_loss(
    z_1,
    z_2,
    lambda_invariance=0.0,
    lambda_variance=lambda_variance,
    lambda_covariance=lambda_covariance,
    eps=eps,
    axis_name=axis_name,
  )
  prediction = jnp.asarray(prediction, wide_dtype(z_1, prediction))
  split = dim - num_equivariant
  squares = [z_1[:, :split] - z_2[:, :split], prediction - z_2[:, split:]]
  weights = [jnp.asarray(w, z_1.dtype) for w in (lambda_invariance, lambda_equivariance)]
  distance = sum(w * jnp.mean(jnp.square(x)) for w, x in zip(weights, squares))
  hinge = _variance_hinge(prediction, eps, axis_name)
  return (
    common
    + device_mean(jnp.asarray(distance), axis_name)
    + jnp.asarray(lambda_variance, hinge.dtype) * hinge
  )


def _variance_hinge(z: jax.Array, eps: ArrayLike, axis_name: str | None) -> jax.Array:
  num_rows = z.shape[0] * (1 if axis_name is None else jax.lax.axis_size(axis_name))
  centred = z - device_mean(jnp.mean(z, axis=0), axis_name)
  variance = device_mean(jnp.mean(jnp.square(centred), axis=0), axis_name)
  variance *= num_rows / (num_rows - 1)
  return jnp.mean(jax.nn.relu(1 - jnp.sqrt(variance + jnp.asarray(eps, z.dtype)))) / 2
