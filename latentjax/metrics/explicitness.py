"""Explicitness: how well a linear classifier tells every value of every factor from the others."""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_float, check_range, check_rank
from latentjax.metrics._within_labels import sortable
from latentjax.metrics.probes import (
  check_finite,
  check_same_rows,
  logistic_probe,
  nan_unless_finite,
  numbers_of_values,
  standardised,
)

__all__ = ["explicitness"]


def explicitness(
  codes: ArrayLike,
  factors: ArrayLike,
  *,
  test_codes: ArrayLike | None = None,
  test_factors: ArrayLike | None = None,
  num_values: int | Sequence[int] | None = None,
  l2: ArrayLike = 1.0,
  rescale: bool = True,
) -> jax.Array:
  r"""One-versus-rest ROC AUC of logistic regression from codes, averaged over factors and values.

  .. math::

    E = \frac1F \sum_i \frac1{K_i} \sum_k (2 \, \mathrm{AUC}_{ik} - 1), \qquad
    \mathrm{AUC}_{ik} = P(s_k(z) > s_k(z') \mid y_i = k, y_i' \ne k) + \tfrac12 P(s_k(z) = s_k(z'))

  s_k is the log odds of value k of factor i under `logistic_probe` of standardised codes. 1 if linear
  classifiers are always right, about 0 for noise on a test set; on the set that was fitted to, noise
  scores above 0. Without the rescaling it is the AUC of disentanglement_lib, where noise has 1/2.

  Args:
    codes: z, such as means of q(z|x), shape (N, Z), floating point.
    factors: y, integers from 0, shape (N, F).
    test_codes: codes to judge the classifier on, shape (M, Z); by default those that it was fitted to.
    test_factors: their factors, shape (M, F).
    num_values: number of values of every factor, or one for all; by default one more than the largest,
      read off the array, which therefore cannot be traced.
    l2: penalty of the classifier, as in `logistic_probe`. Can be traced.
    rescale: whether to map the AUC from [1/2, 1] to [0, 1].

  Returns:
    Scalar, float32 or wider. A value without examples to fit, or without test examples, or with no
    others, does not count; a factor without values that count scores as noise does. Nan if traced codes
    are not finite. Detached.

  Raises:
    TypeError: if codes are not floating point or factors are not integers.
    ValueError: if shapes do not fit, there is a test array without the other, a concrete code is not
      finite, or factors are traced without num_values.

  Example:
    >>> factors = jnp.stack(jnp.meshgrid(jnp.arange(2), jnp.arange(2)), axis=-1).reshape(-1, 2)
    >>> round(float(explicitness(factors * 1.0, factors, num_values=(2, 2))), 3)
    1.0

  References:
    Ridgeway & Mozer, Learning Deep Disentangled Embeddings With the F-Statistic Loss, 2018, section 3.
      arXiv:1802.05312
  """
  if (test_codes is None) != (test_factors is None):
    raise ValueError("test_codes and test_factors must be given together, got one of them")
  if test_codes is None or test_factors is None:
    test_codes, test_factors = codes, factors
  check_float(codes=codes, test_codes=test_codes)
  check_rank(2, codes=codes, factors=factors, test_codes=test_codes, test_factors=test_factors)
  check_same_rows(codes=codes, factors=factors)
  check_same_rows(test_codes=test_codes, test_factors=test_factors)
  check_finite(codes=codes, test_codes=test_codes)
  check_range(0.0, l2=l2)
  num_classes = max(numbers_of_values(factors, num_values))
  area = _area(codes, factors, test_codes, test_factors, l2, num_classes)
  return 2 * area - 1 if rescale else area


@partial(jax.jit, static_argnums=5)
def _area(
  codes: ArrayLike,
  factors: ArrayLike,
  test_codes: ArrayLike,
  test_factors: ArrayLike,
  l2: ArrayLike,
  num_classes: int,
) -> jax.Array:
  """Mean area over the factors."""
  z, centre, scale = standardised(codes)
  test = (jax.lax.stop_gradient(jnp.asarray(test_codes, z.dtype)) - centre) / scale

  def of_factor(columns: tuple[jax.Array, jax.Array]) -> jax.Array:
    y, y_test = columns
    probe = logistic_probe(z, y, num_classes=num_classes, l2=l2)
    logits = jnp.matmul(test, probe.weight, precision="highest") + probe.bias
    positive = y_test[:, None] == jnp.arange(num_classes)
    fitted = jnp.any(y[:, None] == jnp.arange(num_classes), axis=0)
    auc, defined = _auc(_log_odds(logits), positive)
    counts = defined & fitted
    total = jnp.sum(jnp.where(counts, auc, 0))
    return jnp.where(jnp.any(counts), total / jnp.maximum(jnp.sum(counts), 1), 0.5)

  # One factor at a time: each takes its own number of steps.
  columns = jnp.asarray(factors).T, jnp.asarray(test_factors).T
  return nan_unless_finite(jnp.mean(jax.lax.map(of_factor, columns)), codes, test_codes)


def _log_odds(logits: jax.Array) -> jax.Array:
  """log p_k - log(1 - p_k), to full precision also where p_k rounds to 1."""
  largest = jnp.max(logits, axis=1, keepdims=True)
  is_top = jnp.arange(logits.shape[1]) == jnp.argmax(logits, axis=1)[:, None]
  weights = jnp.exp(logits - largest)
  # What the largest has against it is summed without it, what the others have loses at most half.
  others = jnp.log(jnp.maximum(jnp.sum(weights, axis=1, keepdims=True) - weights, 0.5)) + largest
  of_top = jax.nn.logsumexp(jnp.where(is_top, -jnp.inf, logits), axis=1, keepdims=True)
  odds = logits - jnp.where(is_top, of_top, others)
  return jnp.where(jnp.isnan(odds), 0, odds)


def _auc(scores: jax.Array, positive: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Area under the ROC curve of every column (N, C), by ranks, and whether it is defined.

  Integers are sorted, several times as fast as pairs: the last bit of the score makes room for the label.
  """
  num_rows = len(positive)
  bits = sortable(jnp.where(scores == 0, 0, scores))  # no -0
  keys = jnp.sort((bits | 1) ^ (~positive).astype(bits.dtype), axis=0).T
  of_others = (keys & 1) == 0
  below = jnp.cumsum(of_others, axis=1, dtype=jnp.int32)
  # Of equal scores the others come first: all that lies before the first of them is less.
  is_first = jnp.pad(keys[:, 1:] >> 1 != keys[:, :-1] >> 1, ((0, 0), (1, 0)), constant_values=True)
  less = jax.lax.cummax(jnp.where(is_first, below - of_others, 0), axis=1)
  wins = jnp.sum(jnp.where(of_others, 0, (below + less).astype(scores.dtype) / num_rows), axis=1)
  num = jnp.sum(positive, axis=0)
  rest = jnp.maximum(num_rows - num, 1).astype(scores.dtype)
  auc = 0.5 * wins / jnp.maximum(num, 1) * (num_rows / rest)
  return auc, (num > 0) & (num < num_rows)
