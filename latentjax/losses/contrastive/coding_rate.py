"""Rates at which a batch's embeddings can be coded, whole and cluster by cluster (MCR2, MLC)."""

from functools import partial

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_float, check_positive_int, check_range, check_rank, wide_dtype
from latentjax.collectives import all_gather_rows, device_mean
from latentjax.losses.contrastive._views import mean_product

__all__ = ["coding_rate", "coding_rate_reduction", "doubly_stochastic_membership"]


def coding_rate(z: ArrayLike, *, eps: ArrayLike = 0.5, axis_name: str | None = None) -> jax.Array:
  r"""Rate in nats that codes an embedding up to a squared error of eps^2, as a Gaussian of mean 0.

  .. math:: R = \frac12 \log\det\Big(I + \frac{D}{B \epsilon^2} Z^\top Z\Big)

  0 for zeros; for rows of unit norm (see `l2_normalize`) largest if they are isotropic. Of the
  determinants of D x D and of B x B, which are equal, the smaller is taken.

  Args:
    z: embeddings, shape (B, D).
    eps: root of the squared error, positive. Can be traced.
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`. Devices
      exchange D x D numbers, or the rows where these are less.

  Returns:
    Rate of the batch in nats, a scalar, float32 or wider, the same on every device; to be maximised.
    Gradient flows to z.

  Raises:
    TypeError: if z is not floating point.
    ValueError: if z is not of rank 2 or eps is not positive.

  Example:
    >>> coding_rate(jnp.eye(2), eps=1.0).item()  # log 2
    0.69314...

  References:
    Ma et al., Segmentation of Multivariate Mixed Data via Lossy Data Coding and Compression, 2007.
    Yu et al., Learning Diverse and Discriminative Representations via the Principle of Maximal Coding
      Rate Reduction, 2020. arXiv:2006.08558
  """
  z = _checked(z, eps)
  num_devices = 1 if axis_name is None else jax.lax.axis_size(axis_name)
  batch_size, dim = num_devices * z.shape[0], z.shape[1]
  scale = dim / jnp.square(jnp.asarray(eps, z.dtype))
  if batch_size < dim:
    rows = all_gather_rows(z, axis_name)
    return _log_det(scale / batch_size * jnp.matmul(rows, rows.T, precision="highest"))
  return _log_det(scale * mean_product(z, z, axis_name))


def coding_rate_reduction(
  z: ArrayLike,
  membership: ArrayLike,
  *,
  eps: ArrayLike = 0.5,
  axis_name: str | None = None,
  block_size: int | None = None,
) -> jax.Array:
  r"""What the rate of a batch exceeds that of its clusters by; to be maximised (MCR2, MLC).

  .. math::

    \Delta R = R(Z) - \sum_{j=1}^J \frac{n_j}{2 B}
      \log\det\Big(I + \frac{D}{n_j \epsilon^2} Z^\top \mathrm{diag}(\Pi_{\cdot j}) Z\Big), \qquad
    n_j = \sum_b \Pi_{bj}

  with R as in `coding_rate`. Rows of Pi that are one-hot give MCR2; a doubly stochastic one of shape
  (B, B), see `doubly_stochastic_membership`, gives half the objective of MLC, in which every example
  has a cluster and n_j = 1. For rows z of unit norm the clusters of the maximum lie in orthogonal
  subspaces, and fill them.

  Args:
    z: embeddings, of unit norm (see `l2_normalize`), shape (B, D).
    membership: Pi, shares of the examples in J clusters, at least 0, rows sum to 1, shape (B, J).
    eps: root of the squared error, positive. Can be traced.
    axis_name: mapped device axis over which the rows of both arrays are split, inside `pmap` or
      `shard_map`. Every device has a part of the clusters, and gathers z.
    block_size: clusters at a time: determinants take memory block_size min(B, D)^2, forward and
      backward, instead of J min(B, D)^2, beside B min(B, D)^2. The result does not depend on it.

  Returns:
    Reduction of the batch in nats, a scalar, float32 or wider, the same on every device. Gradient
    flows to both arrays.

  Raises:
    TypeError: if an array is not floating point or block_size is not an integer.
    ValueError: if z is not of rank 2, membership has other rows, eps or block_size is not positive.

  Example:
    >>> coding_rate_reduction(jnp.eye(2), jnp.eye(2), eps=1.0).item()  # log 2 - log 3 / 2
    0.14384...

  References:
    Yu et al., Learning Diverse and Discriminative Representations via the Principle of Maximal Coding
      Rate Reduction, 2020. arXiv:2006.08558
    Ding et al., Unsupervised Manifold Linearizing and Clustering, 2023. arXiv:2301.01805
  """
  z = _checked(z, eps)
  check_float(membership=membership)
  check_rank(2, membership=membership)
  if jnp.shape(membership)[0] != z.shape[0]:
    raise ValueError(f"membership must have {z.shape[0]} rows, got shape {jnp.shape(membership)}")
  if block_size is not None:
    check_positive_int(block_size=block_size)
  total = coding_rate(z, eps=eps, axis_name=axis_name)
  rows = all_gather_rows(z, axis_name)
  clusters = _own_clusters(jnp.asarray(membership, z.dtype), axis_name)
  scale = z.shape[1] / jnp.square(jnp.asarray(eps, z.dtype))

  wide = len(rows) < z.shape[1]
  if wide:
    products = jnp.matmul(rows, rows.T, precision="highest")
  else:
    products = (rows[:, :, None] * rows[:, None]).reshape(len(rows), -1)  # (B, D^2)

  def rate(shares: jax.Array) -> jax.Array:
    size = jnp.sum(shares)
    factors = scale * shares / jnp.where(size > 0, size, 1)
    if wide:  # det(I + X Y) = det(I + Y X)
      matrix = factors[:, None] * products
    else:
      matrix = jnp.matmul(factors, products, precision="highest").reshape(2 * z.shape[1:])
    return size / len(rows) * _log_det(matrix)

  if block_size is None:
    rates = jax.vmap(rate)(clusters)
  else:
    rates = jax.lax.map(jax.checkpoint(rate), clusters, batch_size=block_size)
  num_devices = 1 if axis_name is None else jax.lax.axis_size(axis_name)
  return total - num_devices * device_mean(jnp.sum(rates), axis_name)


def doubly_stochastic_membership(
  c: ArrayLike,
  *,
  eta: ArrayLike = 0.1,
  num_iterations: int = 20,
  axis_name: str | None = None,
) -> jax.Array:
  r"""Shares of every example in the cluster of every other, by Sinkhorn's iteration.

  .. math::

    \Gamma_{ij} = u_i \, e^{c_i \cdot c_j / \eta} \, u_j, \qquad
    \sum_j \Gamma_{ij} = 1, \quad \sum_i \Gamma_{ij} = 1

  the doubly stochastic matrix that maximises sum_ij Gamma_ij c_i . c_j + eta H(Gamma). In log-space
  and symmetric: each iteration takes the geometric mean of the old factors u and of those that
  normalise the rows, so that near the solution the errors at least halve.

  Args:
    c: outputs of the cluster head, of unit norm (see `l2_normalize`), shape (B, D).
    eta: temperature, positive; the larger, the more examples share a cluster. Can be traced.
    num_iterations: Sinkhorn iterations, at least 1.
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`. Devices
      exchange their rows once, and B numbers in every iteration.

  Returns:
    Gamma, shape (B, B), of which a device has its own rows; float32 or wider. Gradient flows to c,
    through the iterations.

  Raises:
    TypeError: if c is not floating point or num_iterations is not an integer.
    ValueError: if c is not of rank 2, eta is not positive or num_iterations is below 1.

  Example:
    >>> doubly_stochastic_membership(jnp.array([[1.0], [1.0], [-1.0]]), eta=0.01).round(2).tolist()
    [[0.5, 0.5, 0.0], [0.5, 0.5, 0.0], [0.0, 0.0, 1.0]]

  References:
    Ding et al., Unsupervised Manifold Linearizing and Clustering, 2023. arXiv:2301.01805
    Cuturi, Sinkhorn Distances, 2013. arXiv:1306.0895
  """
  check_float(c=c)
  check_rank(2, c=c)
  check_range(low=0.0, strict=True, eta=eta)
  check_positive_int(num_iterations=num_iterations)
  c = jnp.asarray(c, wide_dtype(c))
  gather = partial(all_gather_rows, axis_name=axis_name)
  scores = jnp.matmul(c, gather(c).T, precision="highest") / jnp.asarray(eta, c.dtype)

  def iterate(log_u: jax.Array, _: None) -> tuple[jax.Array, None]:
    return (log_u - jax.nn.logsumexp(scores + gather(log_u), axis=1)) / 2, None

  log_u, _ = jax.lax.scan(iterate, 0 * scores[:, 0], None, length=num_iterations)
  return jnp.exp(log_u[:, None] + scores + gather(log_u))


def _checked(z: ArrayLike, eps: ArrayLike) -> jax.Array:
  check_float(z=z)
  check_rank(2, z=z)
  check_range(low=0.0, strict=True, eps=eps)
  return jnp.asarray(z, wide_dtype(z))


def _log_det(matrix: jax.Array) -> jax.Array:
  """log det(I + matrix) / 2; finite where rounding takes a definite matrix's definiteness away."""
  return jnp.linalg.slogdet(matrix + jnp.eye(len(matrix), dtype=matrix.dtype))[1] / 2


def _own_clusters(membership: jax.Array, axis_name: str | None) -> jax.Array:
  """This device's part of the clusters, shape (J / devices, B), with empty ones to fill up."""
  if axis_name is None:
    return membership.T
  missing = -membership.shape[1] % jax.lax.axis_size(axis_name)
  padded = jnp.pad(membership, ((0, 0), (0, missing)))
  return jax.lax.all_to_all(padded.T, axis_name, split_axis=0, concat_axis=1, tiled=True)
