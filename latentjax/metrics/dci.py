"""Disentanglement, completeness and informativeness: which codes a predictor of the factors needs."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_choice, check_float, check_range, check_rank, wide_dtype
from latentjax.metrics._pairs import scaled, unit_of
from latentjax.metrics.boosting import BoostedTrees, boosted_trees
from latentjax.metrics.probes import (
  LinearProbe,
  check_finite,
  check_same_rows,
  nan_unless_finite,
  numbers_of_values,
  standardised,
)
from latentjax.metrics.sparse_probes import lasso_probe, sparse_logistic_probe

__all__ = ["DCI", "dci", "dci_scores"]


class DCI(NamedTuple):
  """Scores of a code, scalars, and what they are made of.

  Attributes:
    disentanglement: 1 if every code matters to one factor only, 0 if to all alike.
    completeness: 1 if every factor is read off one code only, 0 if off all alike.
    informativeness: how well the factors are predicted on the test set, 1 at best.
    train_informativeness: the same on what the predictor was fitted to.
    importance: of every code for every factor, at least 0, shape (Z, F).
  """

  disentanglement: jax.Array
  completeness: jax.Array
  informativeness: jax.Array
  train_informativeness: jax.Array
  importance: jax.Array


def dci(
  codes: ArrayLike,
  factors: ArrayLike,
  *,
  test_codes: ArrayLike | None = None,
  test_factors: ArrayLike | None = None,
  estimator: str = "boosting",
  num_values: int | Sequence[int] | None = None,
  num_stages: int = 100,
  num_bins: int = 64,
  l1: ArrayLike = 0.01,
) -> DCI:
  r"""DCI scores of a code, from the importance of each of its numbers for a predictor of each factor.

  .. math::

    D = \sum_j \frac{R_{j\cdot}}{R_{\cdot\cdot}} \big(1 - H_F(R_{jk} / R_{j\cdot})\big), \qquad
    C = \sum_k \frac{R_{\cdot k}}{R_{\cdot\cdot}} \big(1 - H_Z(R_{jk} / R_{\cdot k})\big)

  H_F is the entropy to the base F. The importance R (Z, F) and the informativeness are, by estimator,

  - "boosting": the impurity importance of `boosted_trees`, and the accuracy. This is the choice, and
    num_stages the default, of disentanglement_lib, whose trees have no bins; more bins change little.
  - "logistic": the sum over the values of magnitudes of the weights of `sparse_logistic_probe`, on
    standardised codes, and the accuracy.
  - "lasso": the magnitudes of the weights of `lasso_probe`, on standardised codes and factors, and
    R^2; the paper's linear choice, for factors whose order matters.

  Trees see relations of any shape; linear probes only what lies along a line, but a code spread over
  two numbers counts as such whether or not a tree could do with one. For another predictor, hand its
  importances to `dci_scores`.

  Args:
    codes: z, such as means of q(z|x), shape (N, Z), floating point.
    factors: y, integers from 0, shape (N, F); for "lasso" any numbers.
    test_codes: codes to judge the predictor on, shape (M, Z); by default those that it was fitted to.
    test_factors: their factors, shape (M, F).
    estimator: "boosting", "logistic" or "lasso".
    num_values: number of values of every factor, or one for all; by default one more than the largest,
      read off the array, which therefore cannot be traced.
    num_stages: of boosting.
    num_bins: of boosting.
    l1: penalty of magnitudes, beside the mean loss of an example. Can be traced.

  Returns:
    DCI, float32 or wider. A constant factor is predicted and matters to nothing: its column of the
    importance is zero. If all are, disentanglement and completeness are 0. All nan if a traced number is
    not finite. Detached.

  Raises:
    TypeError: if codes are not floating point, or factors of a classifier are not integers.
    ValueError: if shapes do not fit, there is a test array without the other, a concrete code is not
      finite, factors are traced without num_values, or a choice is unknown.

  Example:
    >>> factors = jnp.stack(jnp.meshgrid(jnp.arange(4), jnp.arange(3)), axis=-1).reshape(-1, 2)
    >>> scores = dci(factors[:, ::-1] * 1.0, factors, num_values=(4, 3), num_stages=5)
    >>> [round(float(score), 3) for score in scores[:3]]
    [1.0, 1.0, 1.0]

  References:
    Eastwood & Williams, A Framework for the Quantitative Evaluation of Disentangled Representations,
      2018, section 2.
    Locatello et al., Challenging Common Assumptions in the Unsupervised Learning of Disentangled
      Representations, 2019. arXiv:1811.12359
  """
  if (test_codes is None) != (test_factors is None):
    raise ValueError("test_codes and test_factors must be given together, got one of them")
  if test_codes is None or test_factors is None:
    test_codes, test_factors = codes, factors
  check_choice(("boosting", "logistic", "lasso"), estimator=estimator)
  check_float(codes=codes, test_codes=test_codes)
  check_rank(2, codes=codes, factors=factors, test_codes=test_codes, test_factors=test_factors)
  check_same_rows(codes=codes, factors=factors)
  check_same_rows(test_codes=test_codes, test_factors=test_factors)
  check_finite(codes=codes, test_codes=test_codes)
  check_range(0.0, l1=l1)
  arrays = codes, factors, test_codes, test_factors
  if estimator == "lasso":
    return _linear(*arrays, l1)
  num_values = numbers_of_values(factors, num_values)
  return _classified(*arrays, l1, estimator, num_values, num_stages, num_bins)


def dci_scores(importance: ArrayLike) -> tuple[jax.Array, jax.Array]:
  r"""Disentanglement and completeness of a matrix of importances.

  .. math::

    D = \sum_j \frac{R_{j\cdot}}{R_{\cdot\cdot}} \big(1 - H_F(R_{jk} / R_{j\cdot})\big), \qquad
    C = \sum_k \frac{R_{\cdot k}}{R_{\cdot\cdot}} \big(1 - H_Z(R_{jk} / R_{\cdot k})\big)

  Invariant to a common scale and to the order of rows and columns. With a single factor D is 1, with
  a single code C is.

  Args:
    importance: R, at least 0, of codes (rows) for factors, shape (Z, F), floating point.

  Returns:
    Disentanglement and completeness, scalars in [0, 1], float32 or wider; both 0 if R is zero.
    Gradient flows.

  Raises:
    TypeError: if importance is not floating point.
    ValueError: if it is not of rank 2.

  Example:
    >>> d, c = dci_scores(jnp.array([[1.0, 0.0], [0.0, 0.5], [0.0, 0.5]]))
    >>> round(float(d), 3), round(float(c), 3)
    (1.0, 0.685)

  References:
    Eastwood & Williams, A Framework for the Quantitative Evaluation of Disentangled Representations,
      2018, section 2.
  """
  check_float(importance=importance)
  check_rank(2, importance=importance)
  r = jnp.asarray(importance, wide_dtype(importance))
  return _concentration(r), _concentration(r.T)


def _concentration(r: jax.Array) -> jax.Array:
  """Mean over rows, weighted by their sums, of 1 minus the relative entropy of the row."""
  r = scaled(r, None)
  sums = jnp.sum(r, axis=1, keepdims=True)
  # In units of the row's largest: the square of a small sum, by which a gradient is divided, would be 0.
  units = r / unit_of(r.T)[:, None]
  share = units / jnp.where(sums > 0, jnp.sum(units, axis=1, keepdims=True), 1)
  positive = share > 0
  terms = jnp.where(positive, share * jnp.log(jnp.where(positive, share, 1)), 0)
  base = jnp.log(jnp.maximum(r.shape[1], 2).astype(r.dtype))
  total = jnp.sum(sums)
  score = jnp.sum(sums[:, 0] * (1 + jnp.sum(terms, axis=1) / base))
  return jnp.where(total == 0, 0, score / jnp.where(total == 0, 1, total))


@partial(jax.jit, static_argnums=(5, 6, 7, 8))
def _classified(
  codes: ArrayLike,
  factors: ArrayLike,
  test_codes: ArrayLike,
  test_factors: ArrayLike,
  l1: ArrayLike,
  estimator: str,
  num_values: tuple[int, ...],
  num_stages: int,
  num_bins: int,
) -> DCI:
  if estimator == "boosting":
    found = boosted_trees(
      codes, factors, test_codes, num_values=num_values, num_stages=num_stages, num_bins=num_bins
    )
  else:
    found = _logistic(codes, factors, test_codes, max(num_values), l1)
  accuracy = lambda guess, y: jnp.mean(guess == jnp.asarray(y), dtype=found.importance.dtype)
  scores = DCI(
    *dci_scores(found.importance),
    accuracy(found.test_predictions, test_factors),
    accuracy(found.predictions, factors),
    found.importance,
  )
  return nan_unless_finite(scores, codes, test_codes)


@jax.jit
def _linear(
  codes: ArrayLike,
  factors: ArrayLike,
  test_codes: ArrayLike,
  test_factors: ArrayLike,
  l1: ArrayLike,
) -> DCI:
  z, centre, scale = standardised(codes)
  y, mean, spread = standardised(jnp.asarray(factors, z.dtype))
  probe = lasso_probe(z, y, l1=l1)

  def explained(z: jax.Array, y: jax.Array) -> jax.Array:
    guess = jnp.matmul(z, probe.weight, precision="highest") + probe.bias
    rest = jnp.mean(jnp.square(y - guess), axis=0)
    whole = jnp.var(y, axis=0)
    return jnp.mean(1 - jnp.where(whole > 0, rest / jnp.where(whole > 0, whole, 1), 0))

  test = explained(
    (jnp.asarray(test_codes, z.dtype) - centre) / scale,
    (jnp.asarray(test_factors, z.dtype) - mean) / spread,
  )
  importance = jnp.abs(probe.weight)
  scores = DCI(*dci_scores(importance), test, explained(z, y), importance)
  return nan_unless_finite(scores, codes, factors, test_codes, test_factors)


def _logistic(
  codes: ArrayLike, factors: ArrayLike, test_codes: ArrayLike, num_classes: int, l1: ArrayLike
) -> BoostedTrees:
  z, centre, scale = standardised(codes)
  l1 = jnp.asarray(l1, z.dtype) * len(z)
  fit = partial(sparse_logistic_probe, z, num_classes=num_classes, l1=l1)
  # One factor at a time: each takes its own number of steps.
  probe: LinearProbe = jax.lax.map(fit, jnp.asarray(factors).T)
  test = (jnp.asarray(test_codes, z.dtype) - centre) / scale
  answer = lambda z: jnp.argmax(
    jnp.einsum("nz,fzc->nfc", z, probe.weight, precision="highest") + probe.bias, axis=-1
  ).astype(jnp.int32)
  return BoostedTrees(jnp.sum(jnp.abs(probe.weight), axis=-1).T, answer(z), answer(test))
