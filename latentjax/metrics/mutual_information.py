"""Mutual information of columns of numbers: of two labels, and of a label and a real number."""

from functools import partial

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import (
  check_float,
  check_positive_int,
  check_rank,
  check_same_shape,
  wide_dtype,
)
from latentjax.collectives import all_gather_rows

__all__ = ["label_information", "label_number_information"]


def label_information(
  labels: ArrayLike, other_labels: ArrayLike, *, axis_name: str | None = None
) -> jax.Array:
  r"""Mutual information of two labels in nats, by their frequencies.

  .. math:: I(a; b) = H(a) + H(b) - H(a, b), \qquad H(a) = -\sum_v \frac{n_v}{N} \log \frac{n_v}{N}

  That of the empirical distribution exactly; as an estimate it is biased upwards, by about
  (A - 1) (B - 1) / (2 N) for A and B values. I(a; a) is the entropy.

  Args:
    labels: a, shape (N,), integers or numbers of which equal ones are one label.
    other_labels: b, shape (N,).
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`.

  Returns:
    A scalar, float32 or wider. Detached.

  Raises:
    ValueError: if an array is not of rank 1 or their lengths differ.

  Example:
    >>> a = jnp.array([0, 0, 1, 1])
    >>> label_information(a, a).item(), label_information(a, jnp.array([0, 1, 0, 1])).item()
    (0.6931471..., 0.0)

  References:
    Cover & Thomas, Elements of Information Theory, 1991, chapter 2.
  """
  a, b = _gathered(axis_name, labels=labels, other_labels=other_labels)
  # The joint entropy is the largest of the three; rounding must not make independence negative.
  return jnp.maximum(_entropy(a) + _entropy(b) - _entropy(a, b), 0)


def label_number_information(
  labels: ArrayLike,
  x: ArrayLike,
  *,
  num_neighbours: int = 3,
  axis_name: str | None = None,
) -> jax.Array:
  r"""Mutual information of a label and a real number in nats, by nearest neighbours (Ross).

  .. math::

    I(y; x) = \max\Big(0, \psi(N) + \frac1N \sum_i \psi(k_i) - \psi(n_i) - \psi(m_i)\Big), \qquad
    m_i = \#\{j : |x_j - x_i| < r_i\}

  where n_i examples have the label of example i, r_i is the distance of its k_i-th neighbour among
  them, k_i = min(k, n_i - 1), and m counts the example itself. A label that occurs once is left out,
  as scikit-learn does. A bound in neither direction. Equal numbers have distance 0: a column with
  many of them is a label, for which `label_information` is made.

  Args:
    labels: y, shape (N,), integers or numbers of which equal ones are one label.
    x: shape (N,), floating point. Its scale does not matter.
    num_neighbours: k. More of them: less variance, more bias.
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`.

  Returns:
    A scalar, float32 or wider; 0 if no label occurs twice. A count has no gradient: detached.

  Raises:
    TypeError: if x is not floating point or num_neighbours is not an integer.
    ValueError: if an array is not of rank 1, their lengths differ, or a number is below 1.

  Example:
    >>> y, x = jnp.array([0, 0, 0, 1, 1, 1]), jnp.array([0.0, 1.0, 2.0, 7.0, 8.0, 9.0])
    >>> round(label_number_information(y, x, num_neighbours=1).item(), 4)  # psi(6) - psi(3)
    0.7833

  References:
    Ross, Mutual Information between Discrete and Continuous Data Sets, 2014.
  """
  check_float(x=x)
  check_positive_int(num_neighbours=num_neighbours)
  y, x = _gathered(axis_name, labels=labels, x=x)
  x = jax.lax.stop_gradient(x).astype(wide_dtype(x))
  ascending = jnp.argsort(x)
  rank = jnp.zeros_like(ascending).at[ascending].set(jnp.arange(len(x)))
  order = jnp.lexsort((x, y))
  start, end = (jnp.searchsorted(y[order], y[order], side=side) for side in ("left", "right"))
  return _ross(x[ascending], rank[order], start, end, num_neighbours)


def information_of_numbers(
  labels: jax.Array, x: jax.Array, num_values: int, num_neighbours: int
) -> jax.Array:
  """`label_number_information` of labels in [0, num_values), (N, F), and numbers (N, Z), shape (F, Z).

  Labels and ranks are sorted together, as integers below N num_values.
  """
  num_rows = x.shape[0]
  labels = jnp.clip(labels.T.astype(jnp.int32), 0, num_values - 1)
  sizes = jax.vmap(lambda label: jnp.zeros(num_values, jnp.int32).at[label].add(1))(labels)
  ends = jnp.cumsum(sizes, axis=1)

  def of_latent(x: jax.Array) -> jax.Array:
    ascending = jnp.argsort(x)
    keys = jnp.sort(labels[:, ascending] * num_rows + jnp.arange(num_rows, dtype=jnp.int32))
    group = keys // num_rows
    end, size = (jnp.take_along_axis(counts, group, axis=1) for counts in (ends, sizes))
    of_pair = partial(_ross, x[ascending], num_neighbours=num_neighbours)
    return jax.vmap(of_pair)(keys - group * num_rows, end - size, end)

  return jax.lax.map(of_latent, x.T).T


def _ross(
  x: jax.Array, place: jax.Array, start: jax.Array, end: jax.Array, num_neighbours: int
) -> jax.Array:
  """Information of ascending numbers, and of labels whose rows, in order within each, lie at place in x.

  The rows of the label of row i are those from start[i] to end[i].
  """
  count = end - start
  k = jnp.minimum(num_neighbours, count - 1)
  repeated = count > 1
  m = _num_within(x, place, _radius(x[place], k, start, end, num_neighbours), repeated)
  digamma = jax.scipy.special.digamma(jnp.arange(1, len(x) + 1, dtype=x.dtype))
  of = lambda n: digamma[jnp.maximum(n, 1) - 1]
  terms = jnp.where(repeated, of(k) - of(count) - of(m), 0)
  total = jnp.sum(repeated)
  return jnp.maximum(of(total) + jnp.sum(terms) / jnp.maximum(total, 1), 0)


def _radius(
  inner: jax.Array, k: jax.Array, start: jax.Array, end: jax.Array, num_neighbours: int
) -> jax.Array:
  """Distance of the k-th neighbour of the same label.

  On a line the k nearest and the point itself are k + 1 rows in sequence: the shortest such window.
  """
  padded, rows = jnp.pad(inner, num_neighbours), jnp.arange(len(inner))

  def shorter(offset: jax.Array, radius: jax.Array) -> jax.Array:
    first = rows - offset
    of_row = lambda shift: jax.lax.dynamic_slice(padded, (shift - offset,), inner.shape)
    reach = jnp.maximum(inner - of_row(num_neighbours), of_row(2 * num_neighbours) - inner)
    fits = (first >= start) & (first + num_neighbours < end)
    return jnp.where(fits, jnp.minimum(radius, reach), radius)

  whole = jnp.maximum(inner - inner[start], inner[end - 1] - inner)
  nearest = jax.lax.fori_loop(0, num_neighbours + 1, shorter, whole)
  return jnp.where(k < num_neighbours, whole, nearest)


def _num_within(x: jax.Array, place: jax.Array, radius: jax.Array, counts: jax.Array) -> jax.Array:
  """How many ascending x that count lie closer to that at every place than its radius, or at no distance.

  Both ends are found by bisection of the rounded distances themselves: those that equal the radius
  exactly are many.
  """
  counted = jnp.zeros(len(x), jnp.int32).at[place].set(counts.astype(jnp.int32))
  before = jnp.concatenate([jnp.zeros(1, jnp.int32), jnp.cumsum(counted)])
  point = x[place]

  def is_within(row: jax.Array) -> jax.Array:
    distance = jnp.abs(x.at[row].get(mode="clip") - point)
    return (distance < radius) | (distance == 0)

  def halve(_: int, ends: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
    """The first row within is in (low, first], the last in [last, high)."""
    low, first, last, high = ends
    left, right = (low + first) // 2, (last + high) // 2
    in_left, in_right = is_within(left) & (left > low), is_within(right) & (right < high)
    first, low = jnp.where(in_left, left, first), jnp.where(in_left, low, left)
    last, high = jnp.where(in_right, right, last), jnp.where(in_right, high, right)
    return low, first, last, high

  num_steps = len(x).bit_length() + 1
  ends = (place * 0 - 1, place, place, place * 0 + len(x))
  _, first, last, _ = jax.lax.fori_loop(0, num_steps, halve, ends)
  return before[last + 1] - before[first]


def _entropy(*columns: jax.Array) -> jax.Array:
  """Entropy of the rows' frequencies: equal rows are neighbours once sorted."""
  order = jnp.lexsort(columns)
  changes = [jnp.diff(column[order]) != 0 for column in columns]
  group = jnp.cumsum(jnp.any(jnp.stack(changes), axis=0), dtype=jnp.int32)
  group = jnp.concatenate([jnp.zeros(1, jnp.int32), group])
  num_rows = group.shape[0]
  count = jax.ops.segment_sum(jnp.ones(num_rows), group, num_rows)
  return jnp.sum(jax.scipy.special.entr(count / num_rows))


def _gathered(axis_name: str | None, **columns: ArrayLike) -> tuple[jax.Array, ...]:
  check_rank(1, **columns)
  check_same_shape(**columns)
  return tuple(all_gather_rows(jnp.asarray(column), axis_name) for column in columns.values())
