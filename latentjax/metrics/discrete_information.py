"""Columns of labels: bins of numbers, entropies, and the mutual information of every pair of columns."""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from latentjax.checks import check_choice, check_positive_int, check_rank, wide_dtype
from latentjax.collectives import all_gather_rows

__all__ = ["column_entropies", "discretize", "mutual_information_matrix"]


def discretize(
  x: ArrayLike, *, num_bins: int = 20, method: str = "histogram", axis_name: str | None = None
) -> jax.Array:
  r"""Bins of the numbers of every column, as labels.

  .. math:: b(x) = \#\{i : x \ge e_i\} - 1, \qquad e_i = \min x + \tfrac{i}{n} (\max x - \min x)

  for i = 0, ..., n - 1 and the method "histogram": bins of equal width, as disentanglement_lib has them.
  For "quantile" e_i is the number of rank i N / n instead: bins equally full, which do not depend on the
  scale of a column or any increasing function of it. Equal numbers are in one bin.

  Args:
    x: shape (N, D), floating point or integer.
    num_bins: n, at most N.
    method: "histogram" or "quantile".
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`.

  Returns:
    Labels in [0, num_bins), int32, shape (N, D); on every device those of all rows. A constant column
    has a single label. Detached.

  Raises:
    TypeError: if num_bins is not an integer.
    ValueError: if x is not of rank 2, has fewer rows than there are bins, or, unless traced, holds a
      number that is not finite (traced, the labels of its column mean nothing); or the method is unknown.

  Example:
    >>> discretize(jnp.array([[0.0], [0.4], [0.6], [1.0]]), num_bins=2).T.tolist()
    [[0, 0, 1, 1]]

  References:
    Locatello et al., Challenging Common Assumptions in the Unsupervised Learning of Disentangled
      Representations, 2019, appendix C. arXiv:1811.12359
  """
  x = check_codes("x", x, axis_name)
  check_bins(x, num_bins)
  check_choice(("histogram", "quantile"), method=method)
  return _discretize(x, num_bins, method)


def column_entropies(
  labels: ArrayLike, *, num_values: int | Sequence[int] | None = None, axis_name: str | None = None
) -> jax.Array:
  r"""Entropy of every column of labels in nats, by their frequencies.

  .. math:: H(a) = -\sum_v \frac{n_v}{N} \log \frac{n_v}{N}

  Args:
    labels: integers in [0, num_values), shape (N, A).
    num_values: number of values of every column, or of all the largest; None: what the labels show,
      which traced ones cannot.
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`.

  Returns:
    Shape (A,), float32 or wider. Labels out of range, where traced, count as the nearest that are in it.

  Raises:
    TypeError: if the labels are not integers.
    ValueError: if they are not of rank 2, are out of range (unless traced), or num_values is missing.

  Example:
    >>> column_entropies(jnp.array([[0, 0], [1, 0]]), num_values=2).tolist()
    [0.6931..., 0.0]

  References:
    Cover & Thomas, Elements of Information Theory, 1991, chapter 2.
  """
  labels, num_values = check_labels("labels", labels, num_values, axis_name)
  return _entropies(labels, num_values)


def mutual_information_matrix(
  labels: ArrayLike,
  other_labels: ArrayLike,
  *,
  num_values: int | Sequence[int] | None = None,
  num_other_values: int | Sequence[int] | None = None,
  axis_name: str | None = None,
) -> jax.Array:
  r"""Mutual information of every column of one array with every one of another, in nats.

  .. math:: I(a; b) = \sum_{v, w} \frac{n_{vw}}{N} \log \frac{N n_{vw}}{n_v n_w}

  That of the frequencies exactly; as an estimate it is biased upwards, by about (V - 1) (W - 1) / (2 N)
  for V and W values. One pass over the rows for all pairs, where `label_information` sorts them for one.

  Args:
    labels: integers in [0, num_values), shape (N, A).
    other_labels: integers in [0, num_other_values), shape (N, B).
    num_values: number of values of every column, or of all the largest; None: what the labels show,
      which traced ones cannot.
    num_other_values: of the other labels.
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`.

  Returns:
    Shape (A, B), float32 or wider, at least 0. Labels out of range, where traced, count as the nearest
    that are in it.

  Raises:
    TypeError: if an array does not hold integers.
    ValueError: if an array is not of rank 2, their rows differ, labels are out of range (unless traced),
      or a number of values is missing.

  Example:
    >>> a = jnp.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    >>> mutual_information_matrix(a, a, num_values=2, num_other_values=2).tolist()
    [[0.6931..., 0.0], [0.0, 0.6931...]]

  References:
    Cover & Thomas, Elements of Information Theory, 1991, chapter 2.
  """
  labels, num_values = check_labels("labels", labels, num_values, axis_name)
  others, num_others = check_labels("other_labels", other_labels, num_other_values, axis_name)
  check_rows(labels=labels, other_labels=others)
  return _information(labels, others, num_values, num_others)


def check_codes(name: str, codes: ArrayLike, axis_name: str | None) -> jax.Array:
  """Numbers of all rows, detached; refuses what is not finite, unless traced."""
  check_rank(2, **{name: codes})
  seen = _seen(codes)
  if seen is not None and not np.isfinite(seen).all():
    column = int(np.argmin(np.isfinite(seen).all(axis=0)))
    raise ValueError(f"{name} must be finite, got nan or infinity in column {column}")
  wide = jnp.asarray(codes, wide_dtype(codes))
  return jax.lax.stop_gradient(all_gather_rows(wide, axis_name))


def check_labels(
  name: str, labels: ArrayLike, num_values: int | Sequence[int] | None, axis_name: str | None
) -> tuple[jax.Array, int]:
  """Labels of all rows and how many values they have, which only labels that are not traced show."""
  check_rank(2, **{name: labels})
  if not jnp.issubdtype(jnp.result_type(labels), jnp.integer):
    raise TypeError(f"{name} must be integers, got {jnp.result_type(labels)}")
  seen = _seen(labels)
  if num_values is None:
    if seen is None or axis_name is not None:
      raise ValueError(f"{name}: their number of values must be given where they are traced")
    num_values = int(seen.max(initial=0)) + 1
  num_values = max(num_values) if isinstance(num_values, Sequence) else num_values
  check_positive_int(num_values=num_values)
  if seen is not None and seen.size and not 0 <= seen.min() <= seen.max() < num_values:
    span = f"{seen.min()} to {seen.max()}"
    raise ValueError(f"{name} must be in [0, {num_values}), got {span}")
  return all_gather_rows(jnp.asarray(labels), axis_name), num_values


def check_rows(**arrays: jax.Array) -> None:
  """Refuses arrays that differ in their numbers of rows, or have none."""
  rows = {array.shape[0] for array in arrays.values()}
  if len(rows) > 1 or 0 in rows:
    got = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
    raise ValueError(f"{' and '.join(arrays)} must have equally many rows, got {got}")


def check_bins(codes: jax.Array, num_bins: int) -> None:
  """Refuses more bins than rows, of which nothing can be estimated."""
  check_positive_int(num_bins=num_bins)
  if num_bins > codes.shape[0]:
    raise ValueError(
      f"num_bins must be at most the number of rows, {len(codes)}, of codes, got {num_bins}"
    )


def _seen(array: ArrayLike) -> np.ndarray | None:
  """What can be read on this host now."""
  if isinstance(array, jax.core.Tracer) or not getattr(array, "is_fully_addressable", True):
    return None
  return np.asarray(array)


@partial(jax.jit, static_argnums=(1, 2))
def _discretize(x: jax.Array, num_bins: int, method: str) -> jax.Array:
  if method == "quantile":
    edges = jnp.sort(x, axis=0)[np.ceil(np.arange(num_bins) * len(x) / num_bins).astype(int)]
  else:
    low, high = jnp.min(x, axis=0), jnp.max(x, axis=0)
    edges = low + (high - low) * (jnp.arange(num_bins, dtype=x.dtype) / num_bins)[:, None]
  # Edges are compared, not divided by: a number on an edge is in the bin above, whatever the rounding.
  place = partial(jnp.searchsorted, side="right", method="compare_all")
  return jnp.clip(jax.vmap(place, 1, 1)(edges, x) - 1, 0, num_bins - 1)


@partial(jax.jit, static_argnums=1)
def _entropies(labels: jax.Array, num_values: int) -> jax.Array:
  counts = _counts(jnp.clip(labels.T, 0, num_values - 1), num_values)
  return jnp.sum(jax.scipy.special.entr(counts / labels.shape[0]), axis=1)


@partial(jax.jit, static_argnums=(2, 3))
def _information(a: jax.Array, b: jax.Array, num_values: int, num_others: int) -> jax.Array:
  a, b = jnp.clip(a.T, 0, num_values - 1), jnp.clip(b.T, 0, num_others - 1)
  pair = a[:, None] * num_others + b
  joint = _counts(pair.reshape(-1, pair.shape[-1]), num_values * num_others)
  joint = joint.reshape(len(a), len(b), num_values, num_others)
  rows, columns = (jnp.sum(joint, axis=axis, keepdims=True).astype(float) for axis in (3, 2))
  # Of counts, not of their shares: the ratio is then exactly 1 where a column has a single value.
  ratio = jnp.where(joint > 0, joint * float(a.shape[1]) / jnp.maximum(rows * columns, 1), 1)
  return jnp.maximum(jnp.sum(joint * jnp.log(ratio), axis=(2, 3)) / a.shape[1], 0)


def _counts(labels: jax.Array, num_values: int) -> jax.Array:
  """Of every value in the rows of labels (A, N), shape (A, num_values). Integers, whatever N."""
  return jax.vmap(lambda row: jnp.zeros(num_values, jnp.int32).at[row].add(1))(labels)
