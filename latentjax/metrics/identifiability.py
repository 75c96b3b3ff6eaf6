"""How well latents recover the true sources, up to their order, sign and scale."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from latentjax.checks import check_choice, check_float, check_rank, wide_dtype
from latentjax.collectives import all_gather_rows

__all__ = ["identifiability_r2", "mean_correlation_coefficient"]


def mean_correlation_coefficient(
  sources: ArrayLike, z: ArrayLike, *, kind: str = "pearson", axis_name: str | None = None
) -> jax.Array:
  r"""Mean absolute correlation of sources and latents under their best matching, in [0, 1].

  .. math:: \max_\pi \frac1D \sum_{d=1}^D |\mathrm{corr}(s_d, z_{\pi(d)})|

  Each source is matched with a latent of its own. 1 means recovery up to order, sign and scale (for
  "spearman", up to an increasing or decreasing function of each). Independent noise scores above 0,
  by about the largest of Z correlations of size N^(-1/2). A constant column has correlation 0, and so has
  one with NaN.

  Args:
    sources: true sources s, shape (N, D).
    z: latents, such as means of q(z|x), shape (N, Z) with Z >= D.
    kind: "pearson" for linear correlation, "spearman" for that of the ranks (ties in row order).
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`.

  Returns:
    A scalar, float32 or wider, the same on every device. The matching is found by the Hungarian
    algorithm, in O(D^2 Z), and detached; gradient flows to both arrays through the correlations, for
    "spearman" it is zero.

  Raises:
    TypeError: if an array is not floating point.
    ValueError: if the arrays are not of rank 2 with equally many rows, there are fewer latents than
      sources, or the kind is unknown.

  Example:
    >>> sources = jnp.array([[0.0, 1.0], [1.0, 3.0], [2.0, 0.0]])
    >>> round(float(mean_correlation_coefficient(sources, -2 * sources[:, ::-1])), 5)
    1.0

  References:
    Hyvärinen & Morioka, Unsupervised Feature Extraction by Time-Contrastive Learning and Nonlinear
      ICA, 2016. arXiv:1605.06336
    Khemakhem et al., Variational Autoencoders and Nonlinear ICA, 2020. arXiv:1907.04809
  """
  check_choice(("pearson", "spearman"), kind=kind)
  dtype = _check_sources(sources, z)
  s, z = (all_gather_rows(jnp.asarray(array, dtype), axis_name) for array in (sources, z))
  if kind == "spearman":
    s, z = (_ranks(array).astype(dtype) for array in (s, z))
  similarity = jnp.abs(jnp.matmul(_standardise(s).T, _standardise(z), precision="highest"))
  return _best_matching(similarity, axis_name)


def identifiability_r2(
  sources: ArrayLike, z: ArrayLike, *, up_to: str = "affine", axis_name: str | None = None
) -> jax.Array:
  r"""Mean share of the sources' variance that latents explain, up to the maps that do not matter.

  .. math::

    R^2_{affine} = \frac1D \sum_d 1 - \frac{\min_{a, b} \sum_n (s_{nd} - a^\top z_n - b)^2}
    {\sum_n (s_{nd} - \bar s_d)^2}, \qquad
    R^2_{permutation} = \max_\pi \frac1D \sum_d \mathrm{corr}(s_d, z_{\pi(d)})^2

  "affine": every source by least squares from all latents; 1 means recovery up to an affine map.
  "permutation": each by a latent of its own, with scale and shift; 1 means recovery up to order, sign,
  scale and shift, as `mean_correlation_coefficient` does, whose correlations are squared here. Both
  are of the rows that they are fitted to: Z latents of noise score about Z / N in the affine one.

  Args:
    sources: true sources s, shape (N, D).
    z: latents, such as means of q(z|x), shape (N, Z) with Z >= D, and N > Z for "affine".
    up_to: "affine" or "permutation".
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`.

  Returns:
    A scalar in [0, 1], float32 or wider, the same on every device; a constant source counts as not
    recovered, and so does a column with NaN. Detached.

  Raises:
    TypeError: if an array is not floating point.
    ValueError: if the arrays are not of rank 2 with equally many rows, there are fewer latents than
      sources, too few rows, or the choice is unknown.

  Example:
    >>> sources = jnp.array([[0.0, 1.0], [1.0, 3.0], [2.0, 0.0], [4.0, 1.0]])
    >>> turned = sources @ jnp.array([[1.0, -1.0], [1.0, 1.0]])
    >>> [round(float(identifiability_r2(sources, turned, up_to=m)), 4) for m in ("affine", "permutation")]
    [1.0, 0.5416]

  References:
    Khemakhem et al., Variational Autoencoders and Nonlinear ICA, 2020. arXiv:1907.04809
    Roeder, Metz & Kingma, On Linear Identifiability of Learned Representations, 2021 (up to linear
      maps). arXiv:2007.00810
  """
  check_choice(("affine", "permutation"), up_to=up_to)
  dtype = _check_sources(sources, z)
  arrays = (jax.lax.stop_gradient(jnp.asarray(array, dtype)) for array in (sources, z))
  s, z = (_standardise(all_gather_rows(array, axis_name)) for array in arrays)
  if up_to == "permutation":
    products = jnp.matmul(s.T, z, precision="highest")
    return _best_matching(jnp.square(products), axis_name)
  if len(z) <= z.shape[1]:
    raise ValueError(f"z must have more rows than columns, got {z.shape}")
  basis, scale, _ = jnp.linalg.svd(z, full_matrices=False)
  unused = scale <= jnp.finfo(dtype).eps * len(z) * scale[0]
  along = jnp.matmul(basis.T, s, precision="highest")
  return jnp.minimum(jnp.sum(jnp.where(unused[:, None], 0, jnp.square(along))) / s.shape[1], 1)


def _check_sources(sources: ArrayLike, z: ArrayLike) -> np.dtype:
  check_float(sources=sources, z=z)
  check_rank(2, sources=sources, z=z)
  (rows, dim), (rows_z, dim_z) = jnp.shape(sources), jnp.shape(z)
  if rows != rows_z or dim > dim_z:
    raise ValueError(
      "sources and z must have shapes (N, D) and (N, Z) with Z >= D, got "
      f"{jnp.shape(sources)} and {jnp.shape(z)}"
    )
  return wide_dtype(sources, z)


def _best_matching(similarity: jax.Array, axis_name: str | None) -> jax.Array:
  """Largest mean similarity of the rows (D,) and a column (Z,) of their own each."""
  from optax.assignment import hungarian_algorithm

  cost = -jax.lax.stop_gradient(similarity)
  # It is the same on all devices; pmax tells shard_map so, whose loops want to know.
  cost = cost if axis_name is None else jax.lax.pmax(cost, axis_name)
  row, column = hungarian_algorithm(cost)
  return jnp.mean(similarity[row, column])


def _ranks(x: jax.Array) -> jax.Array:
  return jnp.argsort(jnp.argsort(jax.lax.stop_gradient(x), axis=0), axis=0)


def _standardise(x: jax.Array) -> jax.Array:
  """Columns of mean 0 and norm 1, or 0 where they are constant."""
  # The largest magnitude first, so that no square leaves the range.
  x = x / jnp.maximum(jnp.max(jnp.abs(jax.lax.stop_gradient(x)), axis=0), 1e-30)
  centred = x - jnp.mean(x, axis=0)
  squared = jnp.sum(jnp.square(centred), axis=0)
  varies = squared > 1e-12 * x.shape[0]
  return jnp.where(varies, centred * jax.lax.rsqrt(jnp.where(varies, squared, 1.0)), 0.0)
