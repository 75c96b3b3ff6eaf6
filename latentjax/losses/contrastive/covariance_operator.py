"""The operator by which contrastive learning updates a layer, and the loss for which it is exact."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_float, check_not_empty, wide_dtype
from latentjax.collectives import device_mean
from latentjax.losses.contrastive._pairs import check_two_rows
from latentjax.losses.contrastive._views import as_view_pair, mean_product

__all__ = ["covariance_operator", "predicted_update", "simple_contrastive_loss"]


def simple_contrastive_loss(
  z_1: ArrayLike, z_2: ArrayLike, *, axis_name: str | None = None
) -> jax.Array:
  r"""Half the squared distance to the positive less that to the negatives, of rows of any norm.

  .. math::

    \ell_i = \tfrac12 \|z^{(1)}_i - z^{(2)}_i\|^2
    - \frac{1}{2 (B - 1)} \sum_{j \ne i} \|z^{(1)}_i - z^{(2)}_j\|^2

  Over independent views its mean has the expectation -tr Var_x[E_aug z], the variance with divisor
  B - 1: what views share is spread without limit, and what they do not share cancels. Unbounded
  below, unless the rows are of unit norm. Computed from moments: no pair is formed.

  Args:
    z_1: embeddings of the first view, shape (B, D).
    z_2: those of the second, shape (B, D).
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`. Devices
      exchange D + 1 numbers each.

  Returns:
    Loss per example, shape (B,), float32 or wider. Gradient flows to both arguments.

  Raises:
    TypeError: if an argument is not floating point.
    ValueError: if the shapes differ or are not of rank 2, or the batch has a single row.

  Example:
    >>> z = jnp.array([[1.0], [-1.0]])
    >>> simple_contrastive_loss(z, z).tolist()
    [-2.0, -2.0]

  References:
    Tian et al., Understanding Self-supervised Learning with Dual Deep Networks, 2020.
      arXiv:2010.00578
  """
  z_1, z_2 = as_view_pair(z_1=z_1, z_2=z_2)
  check_two_rows(axis_name, z_1=z_1)
  batch_size = z_1.shape[0] * (1 if axis_name is None else jax.lax.axis_size(axis_name))
  mean = device_mean(jnp.mean(z_2, axis=0), axis_name)
  spread = device_mean(jnp.mean(jnp.sum(jnp.square(z_2 - mean), axis=1)), axis_name)
  positive = jnp.sum(jnp.square(z_1 - z_2), axis=1)
  total = batch_size * (jnp.sum(jnp.square(z_1 - mean), axis=1) + spread)  # the positive included
  return (positive - (total - positive) / (batch_size - 1)) / 2


def covariance_operator(
  weights: ArrayLike,
  views: ArrayLike,
  apply_fn: Callable[[jax.Array, jax.Array], jax.Array],
  *,
  axis_name: str | None = None,
) -> jax.Array:
  r"""Covariance over examples of a layer's connection, averaged over the views of each example.

  .. math::

    OP = \mathrm{Var}_x\big[\bar K(x)\big], \qquad
    \bar K(x) = \mathbb{E}_{x' | x}[K(x')], \qquad
    K(x') = \Big(\frac{\partial f(W; x')}{\partial\, \mathrm{vec}(W)}\Big)^{\!\top}

  with Var[K] = E[K K^T] - E[K] E[K]^T, symmetric and positive semi-definite. In a ReLU network without
  biases K = f_{l-1}(x') (x) J_l(x')^T, of the layer's input and the Jacobian of what follows, and
  f = K^T vec(W), so that gradient descent on `simple_contrastive_loss` changes the layer by
  `predicted_update`: it amplifies what varies over examples and survives the average over views.

  Args:
    weights: W, those of one layer, with P elements, any shape.
    views: A views of each of B examples, shape (B, A, ...).
    apply_fn: the network as a function of this layer's weights, `(weights, view) -> embedding` of one
      view, shape (D,); the other layers' weights are its own.
    axis_name: mapped device axis over which the examples are split, inside `pmap` or `shard_map`.
      Devices exchange P x P numbers.

  Returns:
    The operator, shape (P, P), float32 or wider, the same on every device. Takes memory B A D P on
    the way. Gradient flows to the views, and to the weights where the connection depends on them,
    which that of ReLU networks does not.

  Raises:
    TypeError: if an array is not floating point.
    ValueError: if views has less than two axes, or apply_fn does not return a vector.

  Example:
    >>> views = jnp.array([[[1.0, 5.0], [1.0, -5.0]], [[-1.0, 5.0], [-1.0, -5.0]]])
    >>> covariance_operator(jnp.ones((1, 2)), views, lambda w, x: w @ x).tolist()
    [[1.0, 0.0], [0.0, 0.0]]

  References:
    Tian et al., Understanding Self-supervised Learning with Dual Deep Networks, 2020.
      arXiv:2010.00578
  """
  check_float(weights=weights, views=views)
  check_not_empty(weights=weights, views=views)
  if jnp.ndim(views) < 2:
    raise ValueError(f"views must have shape (B, A, ...), got {jnp.shape(views)}")
  weights, views = jnp.asarray(weights), jnp.asarray(views)
  out = jax.eval_shape(apply_fn, weights, views[0, 0])
  if len(out.shape) != 1:
    raise ValueError(f"apply_fn must return a vector, got shape {out.shape}")
  dtype = jnp.promote_types(out.dtype, jnp.float32)

  def connection(view: jax.Array) -> jax.Array:
    # Forward: of weights that devices share, a cotangent would be summed over the devices.
    return jnp.asarray(jax.jacfwd(apply_fn)(weights, view), dtype).reshape(*out.shape, -1)

  averaged = jnp.mean(jax.vmap(jax.vmap(connection))(views), axis=1)  # (B, D, P)
  centred = averaged - device_mean(jnp.mean(averaged, axis=0), axis_name)
  rows = centred.reshape(-1, centred.shape[2])
  return out.shape[0] * mean_product(rows, rows, axis_name)


def predicted_update(operator: ArrayLike, weights: ArrayLike) -> jax.Array:
  r"""Direction in which the simple contrastive loss changes a layer of a ReLU network without biases.

  .. math:: \mathrm{vec}(\Delta W) = OP\, \mathrm{vec}(W)

  Exact where the views that make the operator are all that there are, or infinitely many:
  -dL/dW = 2 B / (B - 1) times this, for L the mean of `simple_contrastive_loss` over independent
  pairs of views of the operator's B examples. The 2 is due to the weights being shared by both views.

  Args:
    operator: see `covariance_operator`, shape (P, P).
    weights: W, with P elements, any shape.

  Returns:
    The update, of the shape of weights, float32 or wider. Gradient flows to both arguments.

  Raises:
    TypeError: if an array is not floating point.
    ValueError: if operator is not of shape (P, P).

  Example:
    >>> predicted_update(jnp.diag(jnp.array([2.0, 0.0])), jnp.ones((1, 2))).tolist()
    [[2.0, 0.0]]

  References:
    Tian et al., Understanding Self-supervised Learning with Dual Deep Networks, 2020.
      arXiv:2010.00578
  """
  check_float(operator=operator, weights=weights)
  size = jnp.size(weights)
  if jnp.shape(operator) != (size, size):
    raise ValueError(f"operator must have shape {(size, size)}, got {jnp.shape(operator)}")
  dtype = wide_dtype(operator, weights)
  operator, weights = jnp.asarray(operator, dtype), jnp.asarray(weights, dtype)
  return jnp.matmul(operator, weights.ravel(), precision="highest").reshape(weights.shape)
