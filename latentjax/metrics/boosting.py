"""Gradient-boosted trees that classify all factors at once, and which codes they split on."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_float, check_positive_int, check_range, check_rank, wide_dtype
from latentjax.metrics.probes import check_same_rows

__all__ = ["BoostedTrees", "boosted_trees"]


class BoostedTrees(NamedTuple):
  """What boosted trees make of codes.

  Attributes:
    importance: share of each code in what the trees of a factor gain, shape (Z, F), columns sum to 1.
    predictions: factors of the codes trained on, int32, shape (N, F).
    test_predictions: factors of the test codes, int32, shape (M, F).
  """

  importance: jax.Array
  predictions: jax.Array
  test_predictions: jax.Array


def boosted_trees(
  codes: ArrayLike,
  factors: ArrayLike,
  test_codes: ArrayLike,
  *,
  num_values: Sequence[int],
  num_stages: int = 100,
  depth: int = 3,
  learning_rate: ArrayLike = 0.1,
  num_bins: int = 64,
) -> BoostedTrees:
  r"""Classifies factors by gradient boosting, with the impurity importance of every code.

  .. math::

    F_{k} \leftarrow F_k + \eta \sum_l 1[z \in R_l] \,
      \frac{K - 1}{K} \frac{\sum_{n \in R_l} r_{nk}}{\sum_{n \in R_l} p_{nk} (1 - p_{nk})}, \qquad
    r_{nk} = 1[y_n = k] - p_{nk}

  The leaves R_l are those of a tree of least squares for r, one tree for each value k in each stage.
  The importance of a code is the sum of the squares that its splits explain.

  scikit-learn's `GradientBoostingClassifier` with its defaults, on codes of at most num_bins different
  values; others are split only at num_bins - 1 quantiles, as histogram boosting does. Of equally good
  splits the first code's is taken, where scikit-learn draws; of two equal codes one is never used.

  The trees of all factors and values grow together, level by level: sums over the left side of every
  possible split are one matrix product with N x Z num_bins indicators.

  Args:
    codes: z, shape (N, Z), floating point. Increasing functions of a code change nothing, up to
      rounding of the thresholds between test codes.
    factors: y, integers in [0, num_values[i]), shape (N, F).
    test_codes: further codes to predict factors of, shape (M, Z).
    num_values: number of values of every factor; time and memory are linear in their sum.
    num_stages: number of boosting stages.
    depth: of the trees.
    learning_rate: eta, in (0, 1]. Can be traced.
    num_bins: largest number of intervals of a code.

  Returns:
    BoostedTrees. The importance of a constant factor is zero. Detached.

  Raises:
    TypeError: if codes are not floating point or factors are not integers.
    ValueError: if the shapes do not fit or a number is out of range.

  Example:
    >>> factors = jnp.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    >>> codes = jnp.stack([factors[:, 1], factors[:, 0]], axis=1) * 1.0
    >>> found = boosted_trees(codes, factors, codes, num_values=(2, 2), num_stages=2)
    >>> found.importance.round(3).tolist(), found.predictions.tolist()
    ([[0.0, 1.0], [1.0, 0.0]], [[0, 0], [0, 1], [1, 0], [1, 1]])

  References:
    Friedman, Greedy Function Approximation: A Gradient Boosting Machine, 2001.
  """
  _check(codes, factors, test_codes, num_values)
  check_positive_int(num_stages=num_stages, depth=depth, num_bins=num_bins)
  check_range(0.0, strict=True, learning_rate=learning_rate)
  check_range(high=1.0, learning_rate=learning_rate)
  dtype = wide_dtype(codes)
  codes, test_codes = (jax.lax.stop_gradient(jnp.asarray(z, dtype)).T for z in (codes, test_codes))
  edges = jax.vmap(lambda column: _edges(column, num_bins))(codes)
  left, test_left = (_left_of(z, edges) for z in (codes, test_codes))
  target = jnp.concatenate(
    [jax.nn.one_hot(y, n, dtype=dtype).T for y, n in zip(jnp.asarray(factors).T, num_values)]
  )
  frequency = jnp.mean(target, axis=1, keepdims=True)
  start = jnp.log(jnp.maximum(frequency, jnp.finfo(dtype).tiny))
  count = _of_each_factor(lambda p: jnp.sum(p > 0) + 0 * p, frequency, num_values)

  def stage(state: tuple, _: None) -> tuple[tuple, None]:
    logits, test_logits, gains = state
    probs = _of_each_factor(lambda f: jax.nn.softmax(f, axis=0), logits, num_values)
    residual = target - probs
    leaf, test_leaf, gain = _grow(left, test_left, residual, depth, len(codes))
    inside = leaf[:, None] == jnp.arange(2**depth)[:, None]
    above = jnp.sum(jnp.where(inside, residual[:, None], 0), axis=2)
    below = jnp.sum(jnp.where(inside, (probs * (1 - probs))[:, None], 0), axis=2)
    value = jnp.where(below > 1e-30, above / jnp.where(below > 1e-30, below, 1), 0)
    value *= learning_rate * (1 - 1 / count)
    logits = logits + jnp.take_along_axis(value, leaf, axis=1)
    test_logits = test_logits + jnp.take_along_axis(value, test_leaf, axis=1)
    return (logits, test_logits, gains + gain), None

  broadcast = lambda indicators: jnp.broadcast_to(start, (len(start), indicators.shape[1]))
  state = (broadcast(left), broadcast(test_left), jnp.zeros((len(target), len(codes)), dtype))
  (logits, test_logits, gains), _ = jax.lax.scan(stage, state, length=num_stages)
  importance = jnp.stack([jnp.sum(g, axis=0) for g in _split(gains, num_values)], axis=1)
  total = jnp.sum(importance, axis=0)
  answer = lambda f: jnp.stack(
    [jnp.argmax(part, axis=0).astype(jnp.int32) for part in _split(f, num_values)], axis=1
  )
  return BoostedTrees(
    importance / jnp.where(total > 0, total, 1), answer(logits), answer(test_logits)
  )


def _grow(
  left: jax.Array, test_left: jax.Array, residual: jax.Array, depth: int, num_codes: int
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Leaves (T, N) and (T, M) of one tree for each row of residual (T, N), and gains (T, Z)."""
  num_trees, rows = residual.shape
  num_splits = len(left) - 1  # the last row of left is all ones: no split
  bins = num_splits // num_codes
  node = jnp.zeros((num_trees, rows), jnp.int32)
  test_node = jnp.zeros((num_trees, test_left.shape[1]), jnp.int32)
  gains = jnp.zeros((num_trees, num_codes), residual.dtype)
  # A gain of the size of rounding is none.
  least = 1e-6 * jnp.sum(jnp.square(residual), axis=1, keepdims=True)
  sums = jnp.matmul(residual, left.T, precision="highest")[:, None]
  count = jnp.broadcast_to(jnp.sum(left, axis=1), sums.shape)
  for level in range(depth):
    if level > 0:
      # Of two siblings one is summed, the other is what remains of the parent.
      right = (node[:, None] == 2 * jnp.arange(2 ** (level - 1))[:, None] + 1).astype(left.dtype)
      both = jnp.stack([right, right * residual[:, None]])
      of_right = jnp.matmul(both, left.T, precision="highest")
      count, sums = _children(count, of_right[0]), _children(sums, of_right[1])
    gain = _gain(sums, count)
    gained = jnp.max(gain[..., :-1], axis=2)
    # The first of those that are equally good up to rounding, which otherwise would choose.
    best = jnp.argmax(gain >= (1 - 1e-5) * gained[..., None], axis=2)
    valid = gained > least
    best = jnp.where(valid, best, num_splits)
    chosen = (best[..., None] // bins == jnp.arange(num_codes)) & valid[..., None]
    gains = gains + jnp.sum(jnp.where(chosen, gained[..., None], 0), axis=1)
    node = _descend(left, best, node)
    test_node = _descend(test_left, best, test_node)
  return node, test_node, gains


def _children(whole: jax.Array, right: jax.Array) -> jax.Array:
  """Sums (T, 2 P, S) of both children of every node, of sums (T, P, S) of it and of the right one."""
  return jnp.stack([whole - right, right], axis=2).reshape(len(whole), -1, whole.shape[2])


def _gain(sums: jax.Array, count: jax.Array) -> jax.Array:
  """Squares explained by every split, -inf if a side is empty; the last entry is the whole node."""
  right, right_count = sums[..., -1:] - sums, count[..., -1:] - count
  whole = jnp.square(sums[..., -1:]) / jnp.maximum(count[..., -1:], 1)
  sides = jnp.square(sums) / jnp.maximum(count, 1) + jnp.square(right) / jnp.maximum(right_count, 1)
  return jnp.where((count > 0.5) & (right_count > 0.5), sides - whole, -jnp.inf)


def _descend(left: jax.Array, best: jax.Array, node: jax.Array) -> jax.Array:
  """Child of every row: 2 i if its node i's split has it on the left, else 2 i + 1."""
  split = jnp.take_along_axis(best, node, axis=1)
  return 2 * node + 1 - left[split, jnp.arange(left.shape[1])].astype(jnp.int32)


def _edges(column: jax.Array, num_bins: int) -> jax.Array:
  """Thresholds between the intervals of a code, shape (num_bins - 1,); inf where there is none."""
  order = jnp.sort(column)
  rank = jnp.cumsum(jnp.concatenate([jnp.zeros(1, int), (order[1:] > order[:-1]).astype(int)]))
  values = jnp.full(num_bins, jnp.inf, column.dtype).at[rank].set(order, mode="drop")
  cut = jnp.arange(1, num_bins) * len(column) // num_bins
  every = rank[-1] < num_bins
  low = jnp.where(every, values[:-1], order[jnp.maximum(cut - 1, 0)])
  high = jnp.where(every, values[1:], order[cut])
  middle = low + (high - low) / 2
  return jnp.where(jnp.isfinite(high), jnp.where(middle < high, middle, low), jnp.inf)


def _left_of(z: jax.Array, edges: jax.Array) -> jax.Array:
  """Indicators of z (Z, N) on the left of every edge (Z, B), shape (Z B + 1, N); the last: ones."""
  left = (z[:, None] <= edges[:, :, None]).reshape(-1, z.shape[1])
  return jnp.concatenate([left, jnp.ones_like(left[:1])]).astype(z.dtype)


def _split(rows: jax.Array, num_values: Sequence[int]) -> list[jax.Array]:
  """The rows of every factor."""
  ends = [sum(num_values[: i + 1]) for i in range(len(num_values))]
  return [rows[end - n : end] for end, n in zip(ends, num_values)]


def _of_each_factor(
  fn: Callable[[jax.Array], jax.Array], rows: jax.Array, num_values: Sequence[int]
) -> jax.Array:
  return jnp.concatenate([fn(part) for part in _split(rows, num_values)])


def _check(
  codes: ArrayLike, factors: ArrayLike, test_codes: ArrayLike, num_values: Sequence[int]
) -> None:
  check_float(codes=codes, test_codes=test_codes)
  check_rank(2, codes=codes, factors=factors, test_codes=test_codes)
  check_same_rows(codes=codes, factors=factors)
  if not jnp.issubdtype(jnp.result_type(factors), jnp.integer):
    raise TypeError(f"factors must be integers, got {jnp.result_type(factors)}")
  if jnp.shape(codes)[1] != jnp.shape(test_codes)[1]:
    raise ValueError(
      "codes and test_codes must have the same width, got "
      f"{jnp.shape(codes)} and {jnp.shape(test_codes)}"
    )
  if len(num_values) != jnp.shape(factors)[1]:
    raise ValueError(
      f"num_values must have one entry for each of {jnp.shape(factors)[1]} factors, got {num_values}"
    )
  for number in num_values:
    check_positive_int(num_values=number)
