"""Mutual information against scikit-learn, and against counting by hand in float64."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from contract import check_kernel, fast_jit
from scipy.special import digamma
from sklearn.feature_selection import mutual_info_classif
from sklearn.metrics import mutual_info_score

from latentjax.metrics import label_information, label_number_information
from latentjax.metrics.mutual_information import information_of_numbers

N = 64
RNG = np.random.default_rng(0)
LABELS = RNG.integers(5, size=N)
X = np.float32(RNG.standard_normal(N) + 0.8 * LABELS)


def ross(labels, x, num_neighbours=3):
  keep = np.array([np.sum(labels == label) > 1 for label in labels])
  labels, x, terms = labels[keep], x[keep], []
  for label, point in zip(labels, x):
    distances = np.sort(np.abs(x[labels == label] - point))
    k = min(num_neighbours, len(distances) - 1)
    inside = np.sum((np.abs(x - point) < distances[k]) | (x == point))
    terms.append(digamma(k) - digamma(len(distances)) - digamma(inside))
  return np.array(max(0, digamma(len(x)) + np.mean(terms)))


def test_label_number_information():
  check_kernel(
    label_number_information,
    (LABELS, X),
    oracle=ross,
    kwargs={"num_neighbours": 4},
    detached=[1],
    batch_coupled=True,
    bfloat16=False,  # rounding makes ties
    extreme=[(LABELS, 1e38 * np.sign(X)), (LABELS, 0 * X)],
    bad_inputs=[
      ((LABELS, LABELS), {}, TypeError, "x must be a floating point array"),
      ((LABELS[:, None], X), {}, ValueError, "labels must have 1 axes"),
      ((LABELS[1:], X), {}, ValueError, "labels and x must have the same shape"),
      ((LABELS, X), {"num_neighbours": 0}, ValueError, "num_neighbours must be a positive"),
    ],
  )


def test_rare_labels_constant_numbers_and_scikit_learn():
  rare = np.r_[np.arange(20), RNG.integers(3, size=N - 20)]
  many = np.r_[np.zeros(N // 2, int), np.ones(N // 2, int)]
  run = fast_jit(partial(label_number_information, num_neighbours=4))
  np.testing.assert_allclose(run(rare, X), ross(rare, X, 4), rtol=1e-5)
  np.testing.assert_allclose(run(np.arange(N), X), 0)
  np.testing.assert_allclose(run(LABELS, 0 * X), 0)
  np.testing.assert_allclose(run(many, np.sort(X)), ross(many, np.sort(X), 4), rtol=1e-5)
  theirs = mutual_info_classif(
    np.sort(X)[:, None], many, n_neighbors=4, discrete_features=False, random_state=0
  )
  np.testing.assert_allclose(run(many, np.sort(X)), theirs[0], atol=0.02)  # they add noise


def test_all_pairs_at_once():
  """Labels of one example, of few, of none, and equal numbers."""
  labels = np.stack([LABELS + 1, np.r_[np.arange(8), RNG.integers(3, size=N - 8)]], axis=1)
  x = np.stack([X, np.round(X), 0 * X], axis=1)
  run = fast_jit(partial(information_of_numbers, num_values=9, num_neighbours=4))
  expected = [[ross(label, column, 4) for column in x.T] for label in labels.T]
  np.testing.assert_allclose(run(labels, x), expected, rtol=1e-5, atol=1e-6)


def test_label_information():
  others = RNG.integers(3, size=N) * (LABELS > 1)
  run = fast_jit(label_information)
  for a, b in [(LABELS, others), (LABELS, LABELS), (LABELS, 0 * LABELS)]:
    np.testing.assert_allclose(run(a, b), mutual_info_score(a, b), rtol=1e-5, atol=1e-6)
  np.testing.assert_allclose(run(X, X), np.log(N), rtol=1e-6)
  split = lambda array: jnp.asarray(array).reshape(8, -1)
  each = jax.pmap(partial(label_information, axis_name="i"), "i")(split(LABELS), split(others))
  np.testing.assert_allclose(each, mutual_info_score(LABELS, others), rtol=1e-5)
