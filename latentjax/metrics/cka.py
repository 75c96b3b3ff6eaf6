"""Centred kernel alignment: how alike the similarities are that two representations see."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_positive_int, check_range
from latentjax.collectives import all_gather_rows, device_mean, row_offset
from latentjax.distances import squared_distances, squared_distances_to
from latentjax.metrics._pairs import as_pair, centred, num_rows, ratio, safe_sqrt

__all__ = ["kernel_cka", "linear_cka"]

Distances = Callable[[jax.Array, jax.Array], jax.Array]


def linear_cka(
  x: ArrayLike, y: ArrayLike, *, debiased: bool = False, axis_name: str | None = None
) -> jax.Array:
  r"""Linear centred kernel alignment of two representations of the same examples.

  .. math:: \frac{\|X^\top Y\|_F^2}{\|X^\top X\|_F \|Y^\top Y\|_F}

  of centred columns. Unchanged by rotations and by one scale for all columns, not by other linear
  maps. Independent representations score above 0, by about (D / N) of whitened ones; `debiased`
  takes the unbiased estimates of the three squared norms instead, whose ratio is about 0 for them and
  may be negative:

  .. math::

    \|X^\top Y\|_F^2 - \frac{N}{N - 2} \sum_i \|x_i\|^2 \|y_i\|^2
    + \frac{\sum_i \|x_i\|^2 \sum_i \|y_i\|^2}{(N - 1)(N - 2)}

  The products are D x E, or N x N where the examples are fewer than the columns.

  Args:
    x: first representation, shape (N, D).
    y: second representation, shape (N, E).
    debiased: whether the squared norms are estimated without bias.
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`.

  Returns:
    A scalar, float32 or wider, the same on every device; in [0, 1], 1 if one is the other rotated and
    scaled, unless debiased; 0 if a representation is constant. Gradient flows to both.

  Raises:
    TypeError: if an array is not floating point.
    ValueError: if an array is not of rank 2, their rows are not as many, or there are fewer than 2
      rows, 4 if debiased.

  Example:
    >>> x = jnp.array([[0.0, 1.0], [1.0, 3.0], [2.0, 0.0], [4.0, 1.0]])
    >>> round(float(linear_cka(x, -3 * x[:, ::-1])), 5)
    1.0

  References:
    Kornblith et al., Similarity of Neural Network Representations Revisited, 2019. arXiv:1905.00414
    Song et al., Feature Selection via Dependence Maximization, 2012 (the unbiased estimate).
  """
  x, y = as_pair(4 if debiased else 2, axis_name, x=x, y=y)
  x, y = (centred(rows, axis_name) for rows in (x, y))
  n = num_rows(len(x), axis_name)
  if n < max(x.shape[1], y.shape[1]):
    x, y = (all_gather_rows(rows, axis_name) for rows in (x, y))
    grams = [jnp.matmul(rows, rows.T, precision="highest") for rows in (x, y)]
    if debiased:
      grams = [gram * (1 - jnp.eye(n, dtype=gram.dtype)) for gram in grams]
    totals = [jnp.sum(gram, axis=1) for gram in grams]
    pairs = [(0, 1), (0, 0), (1, 1)]
    return _alignment(
      *(_hsic(jnp.sum(grams[a] * grams[b]), totals[a], totals[b], debiased) for a, b in pairs)
    )
  mean = lambda values: device_mean(jnp.mean(values), axis_name)

  def similarity(a: jax.Array, b: jax.Array) -> jax.Array:
    products = device_mean(jnp.matmul(a.T, b, precision="highest") / len(a), axis_name)
    squared = jnp.sum(jnp.square(products))
    if not debiased:
      return squared
    lengths_a, lengths_b = (jnp.sum(jnp.square(rows), axis=1) for rows in (a, b))
    own = mean(lengths_a * lengths_b) - mean(lengths_a) * mean(lengths_b) / (n - 1)
    return squared - own / (n - 2)

  return _alignment(similarity(x, y), similarity(x, x), similarity(y, y))


def kernel_cka(
  x: ArrayLike,
  y: ArrayLike,
  *,
  median_fraction: float = 1.0,
  debiased: bool = False,
  exact: bool = False,
  block_size: int = 128,
  axis_name: str | None = None,
) -> jax.Array:
  r"""Centred kernel alignment with a Gaussian kernel on each representation.

  .. math::

    \frac{\mathrm{HSIC}(K, L)}{\sqrt{\mathrm{HSIC}(K, K) \, \mathrm{HSIC}(L, L)}}, \qquad
    K_{ij} = \exp\Big(-\frac{\|x_i - x_j\|^2}{2 f^2 m}\Big), \qquad
    \mathrm{HSIC}(K, L) \propto \sum_{ij} (HKH)_{ij} (HLH)_{ij}

  with H = I - 1/N and m the median of the squared distances of all N^2 pairs, an example and itself
  included, as in the authors' program. `debiased`: without the diagonal, by the U-statistic. Kernels and
  distances exist for block_size rows against all at a time; the median is exact, found bit by bit in
  passes over the distances. By default these come from products: below 1e-3 of the extent of a
  representation they are rounding, which counts where more than half of all pairs are as close, as in tight
  clusters; `exact` is for these.

  Args:
    x: first representation, shape (N, D).
    y: second representation, shape (N, E).
    median_fraction: f, bandwidth as a fraction of the median distance, positive; the
      smaller, the more local.
    debiased: whether HSIC is estimated without bias; the result may then be negative.
    exact: whether distances come from differences, right to their last digits however close a pair is;
      slower, above all on a device made for matrix products.
    block_size: rows whose kernels are held at once. The result does not depend on it; on a CPU those that
      fit its cache are fastest.
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`.

  Returns:
    A scalar, float32 or wider, the same on every device; in [0, 1] unless debiased, 1 if the distances
    are proportional, 0 if a representation is constant or m is 0. Gradient flows to both, except through
    m, which is detached.

  Raises:
    TypeError: if an array is not floating point or block_size not an integer.
    ValueError: if an array is not of rank 2, their rows are not as many, there are fewer than 2
      rows, 4 if debiased, or median_fraction or block_size is not positive.

  Example:
    >>> x = jnp.array([[0.0], [1.0], [3.0], [7.0]])
    >>> round(float(kernel_cka(x, 5 - 2 * x)), 5)
    1.0

  References:
    Kornblith et al., Similarity of Neural Network Representations Revisited, 2019. arXiv:1905.00414
  """
  check_range(0.0, strict=True, median_fraction=median_fraction)
  check_positive_int(block_size=block_size)
  x, y = as_pair(4 if debiased else 2, axis_name, x=x, y=y)
  width = max(x.shape[1], y.shape[1])
  widened = lambda rows: jnp.pad(rows, ((0, 0), (0, width - rows.shape[1])))
  # Both as one array (N, 2, width): columns of zeros change no distance.
  z = jnp.stack([widened(centred(rows, axis_name)) for rows in (x, y)], axis=1)
  rows = all_gather_rows(z, axis_name)
  distances = _distances_to(rows, exact)
  index = row_offset(len(z), axis_name) + jnp.arange(len(z))
  blocks = {"batch_size": min(block_size, len(z))}
  fixed = _distances_to(jax.lax.stop_gradient(rows), exact)
  median = _median_distance(fixed, jax.lax.stop_gradient(z), index, blocks, axis_name)[:, None]
  # HSIC does not see a constant in the kernel; without its median, no digits are lost to it.
  usual = jnp.exp(-0.5 / median_fraction**2)

  @jax.checkpoint
  def of_row(inputs: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
    kernel = jnp.exp(-ratio(distances(*inputs), 2 * median_fraction**2 * median)) - usual
    counts = median > 0
    if debiased:
      counts &= jnp.arange(kernel.shape[1]) != inputs[1]
    k, m = jnp.where(counts, kernel, 0)
    return jnp.stack([jnp.sum(k), jnp.sum(m)]), jnp.stack(
      [jnp.sum(a) for a in (k * m, k * k, m * m)]
    )

  totals, products = jax.lax.map(of_row, (z, index), **blocks)
  k, m = all_gather_rows(totals, axis_name).T
  km, kk, mm = jnp.sum(all_gather_rows(products, axis_name), axis=0)
  return _alignment(_hsic(km, k, m, debiased), _hsic(kk, k, k, debiased), _hsic(mm, m, m, debiased))


def _hsic(product: jax.Array, k: jax.Array, m: jax.Array, debiased: bool) -> jax.Array:
  """Sum of the product of centred kernels, from that of the kernels and from their row sums.

  Debiased for kernels with a diagonal of 0.
  """
  n = len(k)
  totals = jnp.sum(k) * jnp.sum(m)
  if debiased:
    return product + totals / ((n - 1) * (n - 2)) - 2 * jnp.sum(k * m) / (n - 2)
  return product + totals / n**2 - 2 * jnp.sum(k * m) / n


def _alignment(xy: jax.Array, xx: jax.Array, yy: jax.Array) -> jax.Array:
  return ratio(xy, safe_sqrt(xx) * safe_sqrt(yy))


def _distances_to(rows: jax.Array, exact: bool) -> Distances:
  """Squared distances (2, N) of a point (2, D), itself row `index`, to rows (N, 2, D)."""
  columns = jnp.swapaxes(rows, 0, 1)
  from_differences = lambda points: squared_distances(points, columns, exact=True)
  distances_from = from_differences if exact else squared_distances_to(columns)

  def distances(point: jax.Array, index: jax.Array) -> jax.Array:
    found = distances_from(point[:, None])[:, 0]
    return jnp.where(jnp.arange(len(rows)) == index, 0, found)

  return distances


def _median_distance(
  distances: Distances,
  z: jax.Array,
  index: jax.Array,
  blocks: dict[str, int],
  axis_name: str | None,
) -> jax.Array:
  """Medians (2,) of the squared distances of all pairs, as numpy takes them, without holding these.

  Bit patterns of positive numbers are ordered as the numbers are: every pass finds one more bit of the
  lower one of the two in the middle.
  """
  n = num_rows(len(z), axis_name)
  width = jnp.finfo(z.dtype).bits
  pattern = jnp.uint64 if width == 64 else jnp.uint32
  infinite = jax.lax.bitcast_convert_type(jnp.asarray(jnp.inf, z.dtype), pattern)
  value = lambda bits: jax.lax.bitcast_convert_type(bits, z.dtype)[:, None]

  def total(counts: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Sum of counts (N, 2) as a multiple of N and a rest: N^2 may be more than 2^31."""
    high, low = jnp.sum(counts // n, axis=0), jnp.sum(counts % n, axis=0)
    if axis_name is not None:
      high, low = jax.lax.psum((high, low), axis_name)
    return high + low // n, low % n

  def at_most(counts: jax.Array, rank: int) -> jax.Array:
    (high, low), (quotient, rest) = total(counts), divmod(rank, n)
    return (high < quotient) | ((high == quotient) & (low <= rest))

  def find(step: jax.Array, found: jax.Array) -> jax.Array:
    bits = found | (jnp.ones((), pattern) << (width - 2 - step).astype(pattern))
    below = lambda inputs: jnp.sum(distances(*inputs) < value(bits), axis=1)
    fits = (bits < infinite) & at_most(jax.lax.map(below, (z, index), **blocks), (n**2 - 1) // 2)
    return jnp.where(fits, bits, found)

  lower = value(jax.lax.fori_loop(0, width - 1, find, jnp.zeros(2, pattern)))

  def beyond(inputs: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
    found = distances(*inputs)
    above = found > lower
    return jnp.sum(~above, axis=1), jnp.min(jnp.where(above, found, jnp.inf), axis=1)

  counts, following = jax.lax.map(beyond, (z, index), **blocks)
  following = jnp.min(following, axis=0)
  following = following if axis_name is None else jax.lax.pmin(following, axis_name)
  upper = jnp.where(at_most(counts, n**2 // 2), following, lower[:, 0])
  return 0.5 * (lower[:, 0] + upper)
