"""DCI and explicitness against scikit-learn's predictors, and on codes whose scores are known."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import fast_jit
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from scipy.stats import entropy
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.linear_model import Lasso, LogisticRegression
from sklearn.metrics import roc_auc_score

from latentjax.metrics import boosted_trees, dci, dci_scores, explicitness

SIZES, N = (3, 2), 48
RNG = np.random.default_rng(0)
FACTORS = np.stack([RNG.integers(n, size=N) for n in SIZES], axis=1)
NOISY = (FACTORS @ RNG.standard_normal((2, 3)) + 0.5 * RNG.standard_normal((N, 3))).astype(
  np.float32
)
TEST = NOISY + 0.1 * RNG.standard_normal(NOISY.shape).astype(np.float32)
GRID = np.array(list(itertools.product(*map(range, SIZES))) * 8)


def scores(importance):
  """As disentanglement_lib has it, in float64."""
  r = np.asarray(importance, np.float64)
  d = 1 - entropy(r.T + 1e-11, base=r.shape[1])
  c = 1 - entropy(r + 1e-11, base=r.shape[0])
  return d @ r.sum(1) / r.sum(), c @ r.sum(0) / r.sum()


def test_scores_of_a_matrix():
  run = fast_jit(dci_scores)
  for r in (RNG.uniform(size=(5, 3)), np.eye(5, 3), np.ones((5, 3)), RNG.uniform(size=(5, 3)) ** 9):
    np.testing.assert_allclose(run(r.astype(np.float32)), scores(r), atol=1e-5)
    np.testing.assert_allclose(run((1e-9 * r).astype(np.float32)), scores(r), atol=1e-5)
  np.testing.assert_array_equal(run(np.zeros((5, 3), np.float32)), 0)
  assert [float(x) for x in dci_scores(jnp.ones((1, 1)))] == [1, 1]
  gradient = fast_jit(jax.grad(lambda r: dci_scores(r)[0]))(np.eye(5, 3, dtype=np.float32))
  assert np.isfinite(gradient).all()


@pytest.fixture(scope="module")
def trees():
  """As many bins as codes have values, so that none shares one."""
  return fast_jit(partial(boosted_trees, num_values=SIZES, num_stages=8, num_bins=4 * N))


DATA = np.random.default_rng(3)
FACTORS_4N = np.stack([DATA.integers(n, size=4 * N) for n in SIZES], axis=1)
CODES_4N = (
  FACTORS_4N @ DATA.standard_normal((2, 3)) + 1.5 * DATA.standard_normal((4 * N, 3))
).astype(np.float32)


def test_trees_are_those_of_scikit_learn(trees):
  fit = lambda y: GradientBoostingClassifier(n_estimators=8, random_state=0).fit(CODES_4N, y)
  found = trees(CODES_4N, FACTORS_4N, CODES_4N[::2] + 0.1)
  # Splits of small nodes are often equally good, and scikit-learn draws one of them.
  for i, tolerance in enumerate((0.01, 1e-3)):
    known = fit(FACTORS_4N[:, i])
    np.testing.assert_allclose(found.importance[:, i], known.feature_importances_, atol=tolerance)
    assert np.mean(found.predictions[:, i] == known.predict(CODES_4N)) > 0.98
    agree = found.test_predictions[:, i] == known.predict(CODES_4N[::2] + 0.1)
    assert np.mean(agree) > 0.95
  # Two of the three values: scikit-learn then grows one tree where here are two.
  some = np.c_[2 * FACTORS_4N[:, 1], 0 * FACTORS_4N[:, 1]]
  found, known = trees(CODES_4N, some, CODES_4N), fit(some[:, 0])
  np.testing.assert_allclose(found.importance[:, 0], known.feature_importances_, atol=1e-3)
  np.testing.assert_array_equal(found.importance[:, 1], 0)  # a constant factor needs no code
  np.testing.assert_array_equal(found.predictions[:, 1], 0)


def test_trees_do_not_mind_devices_or_increasing_functions(trees):
  rows = NamedSharding(Mesh(np.array(jax.devices()[:8]), ("rows",)), P("rows"))
  arrays = (CODES_4N, FACTORS_4N, CODES_4N)
  expected = trees(*arrays)
  for found in (
    trees(*(jax.device_put(array, rows) for array in arrays)),
    trees(np.exp(CODES_4N), FACTORS_4N, np.exp(CODES_4N)),
  ):
    np.testing.assert_allclose(found.importance, expected.importance, atol=1e-3)
    np.testing.assert_array_equal(found.predictions, expected.predictions)


@pytest.fixture(scope="module")
def boosting():
  run = fast_jit(partial(dci, num_values=SIZES, num_stages=20))
  return lambda codes, y, test=None: run(
    codes, y, test_codes=codes if test is None else test, test_factors=y
  )


def test_codes_whose_scores_are_known(boosting):
  dead = np.zeros((len(GRID), 1))
  codes = lambda *columns: np.concatenate(columns, axis=1).astype(np.float32)
  perfect = boosting(codes(-GRID[:, 1:], GRID[:, :1] ** 2, dead), GRID)
  np.testing.assert_allclose(perfect[:4], 1, atol=1e-4)
  np.testing.assert_allclose(perfect.importance, [[0, 1], [1, 0], [0, 0]], atol=1e-6)
  # A copy is never split on: boosting takes the first.
  copies = boosting(codes(GRID, GRID[:, :1]), GRID)
  np.testing.assert_allclose(copies[:2], 1, atol=1e-4)
  # One number for both factors is complete, and disentangled for nobody.
  joint = boosting(codes(2 * GRID[:, :1] + GRID[:, 1:], dead, dead), GRID)
  assert float(joint.completeness) == pytest.approx(1, abs=1e-4)
  assert float(joint.disentanglement) == pytest.approx(0, abs=0.02)
  turned = boosting(codes(GRID @ np.array([[1, -1], [1, 1.0]]), dead), GRID)
  assert float(turned.disentanglement) < 0.5 and float(turned.informativeness) == 1
  nothing = boosting(codes(GRID, dead), 0 * GRID)
  np.testing.assert_array_equal(nothing[:2], 0)
  noise = RNG.standard_normal((2, len(GRID), 3)).astype(np.float32)
  guess = boosting(noise[0], GRID, noise[1])
  assert guess.train_informativeness > 0.9 and guess.informativeness < 0.65
  noise[1, 0, 0] = np.nan
  assert all(np.isnan(score).all() for score in boosting(noise[0], GRID, noise[1]))


def test_linear_predictors_are_those_of_scikit_learn():
  x = (NOISY - NOISY.mean(0)) / NOISY.std(0)
  y = (FACTORS - FACTORS.mean(0)) / FACTORS.std(0)
  lasso = Lasso(alpha=0.05, tol=1e-10).fit(x.astype(float), y)
  run = fast_jit(partial(dci, estimator="lasso", l1=0.05))
  found = run(NOISY, FACTORS, test_codes=TEST, test_factors=FACTORS)
  np.testing.assert_allclose(found.importance, np.abs(lasso.coef_.T), atol=1e-4)
  np.testing.assert_allclose(found[:2], scores(np.abs(lasso.coef_.T)), atol=1e-3)
  standard = (TEST - NOISY.mean(0)) / NOISY.std(0)
  np.testing.assert_allclose(found.informativeness, lasso.score(standard, y), atol=1e-4)
  np.testing.assert_allclose(found.train_informativeness, lasso.score(x, y), atol=1e-4)
  found = run(np.where(x > 2, np.inf, NOISY), FACTORS, test_codes=TEST, test_factors=FACTORS)
  assert (x > 2).any() and np.isnan(found[:4]).all()

  # Two classes have two columns of weights here, and one of twice the size there.
  known = [
    LogisticRegression(C=1 / (0.02 * N), l1_ratio=1, solver="saga", tol=1e-7, max_iter=5000)
    .fit(x, FACTORS[:, i])
    for i in range(2)
  ]  # fmt: skip
  importance = np.stack([np.abs(model.coef_).sum(axis=0) for model in known], axis=1)
  run = fast_jit(partial(dci, estimator="logistic", num_values=SIZES, l1=0.02))
  found = run(NOISY, FACTORS)
  np.testing.assert_allclose(found.importance, importance, atol=2e-3)
  accuracy = np.mean([model.score(x, FACTORS[:, i]) for i, model in enumerate(known)])
  assert float(found.informativeness) == pytest.approx(accuracy, abs=0.01)


def test_explicitness_is_the_area_under_scikit_learn_curves():
  area = fast_jit(partial(explicitness, num_values=SIZES, rescale=False))
  run = lambda codes, factors, **test: 2 * float(area(codes, factors, **test)) - 1
  x, test = ((z - NOISY.mean(0)) / NOISY.std(0) for z in (NOISY, TEST))
  expected = []
  for i, n in enumerate(SIZES):
    model = LogisticRegression(tol=1e-8).fit(x, FACTORS[:, i])
    expected.append(roc_auc_score(np.eye(n)[FACTORS[:, i]], model.predict_proba(test)))
  found = area(NOISY, FACTORS, test_codes=TEST, test_factors=FACTORS)
  assert float(found) == pytest.approx(np.mean(expected), abs=1e-3)  # one swap is 2 / N^2

  assert np.isnan(area(NOISY * np.nan, FACTORS, test_codes=TEST, test_factors=FACTORS))

  def on_itself(codes, factors):
    codes = np.concatenate([codes, np.zeros((N, 3))], axis=1)[:, :3].astype(np.float32)
    return run(codes, factors, test_codes=codes, test_factors=factors)

  # A rotation stays explicit; a constant factor says nothing; ties of a constant code are half won.
  assert on_itself(GRID @ np.array([[1, -1], [1, 1.0]]), GRID) == pytest.approx(1, abs=1e-6)
  assert on_itself(0 * GRID[:, :1] + 1.0, GRID) == pytest.approx(0, abs=1e-6)
  assert on_itself(GRID, GRID * [1, 0]) == pytest.approx(0.5, abs=1e-6)
  assert on_itself(1e-20 * GRID + 1, GRID) == pytest.approx(0, abs=1e-6)  # rounds to nothing


@pytest.mark.parametrize("metric", [dci, explicitness])
def test_refusals(metric):
  cases = [
    (TypeError, "codes must be a floating", {"codes": FACTORS}),
    (TypeError, "factors must be integers", {"factors": NOISY}),
    (ValueError, "equally many rows", {"factors": FACTORS[1:]}),
    (ValueError, "codes must be finite", {"codes": NOISY * np.nan}),
    (
      ValueError,
      "test_codes must be finite",
      {"test_codes": NOISY + np.inf, "test_factors": FACTORS},
    ),
    (ValueError, "must be given together", {"test_codes": TEST}),
    (ValueError, r"factors must be in \[0", {"factors": FACTORS - 1}),
    (ValueError, r"factors must be in \[0", {"num_values": (2, 2)}),
    (ValueError, "codes must not be empty", {"codes": NOISY[:0], "factors": FACTORS[:0]}),
  ]
  for error, match, changes in cases:
    args = {"codes": NOISY, "factors": FACTORS} | changes
    with pytest.raises(error, match=match):
      metric(args.pop("codes"), args.pop("factors"), **args)
  for rate in (0.0, 1.5):
    with pytest.raises(ValueError, match="learning_rate must be in"):
      boosted_trees(NOISY, FACTORS, NOISY, num_values=(4, 4), learning_rate=rate)
  with pytest.raises(ValueError, match="num_values must be given where factors are traced"):
    jax.eval_shape(metric, NOISY, FACTORS)
