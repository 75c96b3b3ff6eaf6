"""Probes against scikit-learn's solvers run to the end, and where nothing can be fitted."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import fast_jit
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from sklearn.linear_model import Lasso, LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsClassifier

from latentjax.metrics import (
  knn_predict,
  lasso_probe,
  logistic_probe,
  ridge_probe,
  sparse_logistic_probe,
)

N, F, C = 64, 3, 4
RNG = np.random.default_rng(0)
X = (RNG.standard_normal((N, F)) * [0.3, 1.0, 20.0] + [5.0, 0.0, -3.0]).astype(np.float32)
TRUE = RNG.standard_normal((F, C)) / np.array([[0.3], [1.0], [20.0]])
LABELS = np.argmax((X - X.mean(0)) @ TRUE + RNG.gumbel(size=(N, C)), axis=1)
TARGETS = (X @ TRUE[:, :2] + RNG.standard_normal((N, 2))).astype(np.float32)


@pytest.fixture(scope="module")
def fit():
  return fast_jit(partial(logistic_probe, num_classes=C))


def log_probs(probe, x=X):
  return np.asarray(jax.nn.log_softmax(jnp.asarray(x @ probe.weight + probe.bias)))


def test_logistic_regression_is_that_of_scikit_learn(fit):
  for labels, l2 in ((LABELS, 1.0), (LABELS, 1e-3), (3 * (LABELS % 2), 0.5)):
    probe, values = fit(X, labels, l2=l2), np.unique(labels)
    known = LogisticRegression(C=1 / l2, tol=1e-10, solver="newton-cholesky")
    known.fit(X.astype(float), labels)
    np.testing.assert_allclose(log_probs(probe)[:, values], known.predict_log_proba(X), atol=1e-4)
    weight = np.asarray(probe.weight)
    if len(values) == 2:  # two classes out of four: scikit-learn has one column, their difference
      np.testing.assert_allclose(weight[:, 3] - weight[:, 0], known.coef_[0], atol=1e-4)
      assert np.isneginf(probe.bias[1:3]).all() and not weight[:, 1:3].any()
    else:
      np.testing.assert_allclose(weight.T, known.coef_, atol=2e-4 * np.abs(known.coef_).max())
      assert float(probe.bias.mean()) == pytest.approx(0, abs=1e-5)


def test_logistic_regression_where_there_is_little_to_fit(fit):
  alone = fit(X, 0 * LABELS + 2, l2=1.0)
  np.testing.assert_array_equal(alone.bias, [-np.inf, -np.inf, 0, -np.inf])
  assert not np.any(alone.weight)
  # Features that never change: the frequencies are what is left.
  constant = fit(0 * X + 1e30, LABELS, l2=1.0)
  np.testing.assert_allclose(
    np.exp(log_probs(constant, 0 * X))[0], np.bincount(LABELS) / N, atol=1e-5
  )
  separable = fit(np.eye(N, F, dtype=np.float32), np.minimum(np.arange(N), 3), l2=0.0)
  assert all(np.isfinite(leaf).all() for leaf in separable)
  wide = fit(X * np.float32(1e25), LABELS, l2=0.0)
  np.testing.assert_allclose(log_probs(wide, X * np.float32(1e25)), log_probs(fit(X, LABELS, l2=0.0)),
    atol=1e-3)  # fmt: skip


def test_sharded_rows_and_a_map_over_labels(fit):
  rows = NamedSharding(Mesh(np.array(jax.devices()[:8]), ("rows",)), P("rows"))
  whole = fast_jit(jax.vmap(lambda y: logistic_probe(X, y, num_classes=C)))(np.stack([LABELS] * 2))
  parts = fit(jax.device_put(X, rows), jax.device_put(LABELS, rows), l2=1.0)
  for a, b, c in zip(whole, parts, fit(X, LABELS, l2=1.0)):
    for other in (a[0], a[1], b):
      np.testing.assert_allclose(other, c, atol=1e-4)
  gradient = jax.grad(lambda x: jnp.sum(ridge_probe(x, TARGETS).weight))(X)
  assert not np.any(gradient)


def test_regressions_are_those_of_scikit_learn():
  twice = np.concatenate([X, X[:, :1], 0 * X[:, :1]], axis=1)
  ridge, lasso = fast_jit(ridge_probe), fast_jit(lasso_probe)
  for probe, known in (
    (ridge(twice, TARGETS, l2=3.0), Ridge(alpha=3.0)),
    (lasso(twice, TARGETS, l1=0.3), Lasso(alpha=0.3, tol=1e-10)),
    (lasso(twice, TARGETS, l1=1e-3), Lasso(alpha=1e-3, tol=1e-12, max_iter=100000)),
  ):
    known = known.fit(twice.astype(float), TARGETS)
    np.testing.assert_allclose(probe.weight.T, known.coef_, atol=2e-4 * np.abs(known.coef_).max())
    np.testing.assert_allclose(
      twice @ probe.weight + probe.bias, known.predict(twice), atol=1e-3 * np.abs(TARGETS).max()
    )
  # What the penalty allows a feature of small scale is far below what others carry.
  scales = np.float32([1e-7, 1, 1, 1, 1])
  known = Ridge(alpha=3.0).fit((twice * scales).astype(float), TARGETS)
  np.testing.assert_allclose(
    ridge(twice * scales, TARGETS, l2=3.0).weight.T, known.coef_, atol=1e-3
  )
  least = ridge(twice, TARGETS, l2=0.0)  # the norm is smallest where two equal features share
  np.testing.assert_allclose(least.weight[0], least.weight[3], rtol=1e-3)
  np.testing.assert_array_equal(least.weight[4], 0)


def test_sparse_logistic_regression_is_that_of_scikit_learn():
  x = (X - X.mean(0)) / X.std(0)
  run = fast_jit(partial(sparse_logistic_probe, num_classes=C))
  for labels, l1 in ((LABELS, 4.0), (LABELS % 2, 2.0)):
    known = LogisticRegression(l1_ratio=1, solver="saga", C=1 / l1, tol=1e-9, max_iter=20000)
    known.fit(x.astype(float), labels)
    probe = run(x, labels, l1=l1)
    np.testing.assert_allclose(
      log_probs(probe, x)[:, np.unique(labels)], known.predict_log_proba(x), atol=1e-3
    )
    np.testing.assert_array_equal(
      np.abs(probe.weight).max(1) > 1e-3, np.abs(known.coef_).max(0) > 1e-3
    )


def test_neighbours_by_distance_are_those_of_scikit_learn():
  vote = fast_jit(partial(knn_predict, num_classes=C, num_neighbours=5, metric="euclidean"))
  known = KNeighborsClassifier(5).fit(X + 100, LABELS)
  np.testing.assert_array_equal(
    vote(X[::2] + 100.1, X + 100, LABELS, temperature=None), known.predict(X[::2] + 100.1)
  )
  weighted = KNeighborsClassifier(5, weights=lambda d: np.exp(-(d**2) / 2.0)).fit(X, LABELS)
  np.testing.assert_array_equal(
    vote(X[::2] + 0.1, X, LABELS, temperature=2.0), weighted.predict(X[::2] + 0.1)
  )


@pytest.mark.parametrize(
  ("probe", "args", "kwargs", "error", "match"),
  [
    (
      logistic_probe,
      (LABELS[:, None], LABELS),
      {"num_classes": C},
      TypeError,
      "features must be a",
    ),
    (logistic_probe, (X, X[:, 0]), {"num_classes": C}, TypeError, "labels must be integers"),
    (logistic_probe, (X, LABELS[1:]), {"num_classes": C}, ValueError, r"labels must have shape"),
    (logistic_probe, (X, LABELS), {"num_classes": C, "l2": -1.0}, ValueError, "l2 must be in"),
    (sparse_logistic_probe, (X, LABELS), {"num_classes": 0}, ValueError, "num_classes must be"),
    (ridge_probe, (X, LABELS), {}, TypeError, "targets must be a floating point"),
    (ridge_probe, (X, TARGETS[1:]), {}, ValueError, "equally many rows"),
    (lasso_probe, (X[0], TARGETS), {}, ValueError, "features must have 2 axes"),
    (knn_predict, (X, X, LABELS), {"num_classes": C, "metric": "l1"}, ValueError, "metric must be"),
  ],
)
def test_refusals(probe, args, kwargs, error, match):
  with pytest.raises(error, match=match):
    jax.eval_shape(partial(probe, **kwargs), *args)
