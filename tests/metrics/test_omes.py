"""OMES against the authors' loops, and on associations and encoders whose scores are known."""

import jax
import numpy as np
import pytest
from contract import fast_jit

from latentjax.metrics import factor_association, omes

F, P, Z = 3, 64, 4
RNG = np.random.default_rng(0)
FIRST = RNG.standard_normal((F, P, Z)).astype(np.float32)
SECOND = (0.5 * FIRST + RNG.standard_normal((F, P, Z))).astype(np.float32)


def scores(s, alpha, pooling):
  """Distances from the ideal matrix, entry by entry."""
  found = []
  for k in range(s.shape[1]):
    pools = []
    for axis in (1, 0):
      ideal = np.eye(s.shape[axis])
      values = np.array([
        1 - np.abs(ideal[k if axis else j] - (s[j] if axis else s[:, k])).mean() for j in range(len(s))
      ])  # fmt: skip
      values = values * s[:, k]
      pools.append(np.average(values, weights=s[:, k]) if pooling == "mean" else values.max())
    found.append([alpha * pools[0] + (1 - alpha) * pools[1], *pools])
  return np.array(found).T


def test_association_is_what_correlation_leaves():
  run = fast_jit(factor_association)
  where = np.arange(P) < np.array([[P], [40], [20]])
  found = run(7 * FIRST + 100, SECOND * np.float32(1e20), where=where)
  for k, count in enumerate((P, 40, 20)):
    for j in range(Z):
      expected = 1 - abs(np.corrcoef(FIRST[k, :count, j], SECOND[k, :count, j])[0, 1])
      assert float(found[j, k]) == pytest.approx(expected, abs=1e-4)
  constant = run(FIRST * (np.arange(Z) > 0), -FIRST, where=where)
  np.testing.assert_allclose(constant, 0, atol=1e-5)
  assert np.isnan(run(FIRST, SECOND * np.float32(np.inf), where=where)).all()


@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_scores_are_those_of_the_loops(pooling):
  run = fast_jit(lambda s, alpha, where: omes(s, alpha=alpha, pooling=pooling, where=where))
  s, everything = RNG.uniform(size=(Z, F)).astype(np.float32), np.ones(Z, bool)
  for alpha in (0.0, 0.3, 1.0):
    np.testing.assert_allclose(run(s, alpha, everything), scores(s, alpha, pooling), atol=1e-5)
  some = np.array([True, False, True, True])
  np.testing.assert_allclose(run(s, 0.5, some), scores(s[some], 0.5, pooling), atol=1e-5)
  assert not np.any(run(0 * s, 0.5, everything)) and not np.any(run(s, 0.5, ~everything))


def test_ideal_shared_and_split():
  score = fast_jit(lambda s: omes(s).score)
  ideal = np.eye(Z, F, dtype=np.float32)
  np.testing.assert_allclose(score(ideal), 1, atol=1e-6)
  np.testing.assert_allclose(score(ideal[::-1, [1, 0, 2]]), 1, atol=1e-6)
  shared, split = ideal.copy(), ideal.copy()
  shared[0, 1], split[3, 0] = 1, 1
  # One more entry of 1 is one F-th (Z-th) of the overlap (multiple encoding) of all in its row (column).
  np.testing.assert_allclose(score(split), [1 - 0.5 / Z, 1, 1], atol=1e-6)
  np.testing.assert_allclose(omes(shared).overlap, [1 - 1 / F, 1 - (1 / F) / 2, 1], atol=1e-6)
  gradient = fast_jit(jax.grad(lambda s: omes(s).score.sum()))(ideal)
  assert np.isfinite(gradient).all()


def test_encoders_of_pairs():
  """Of a linear encoder of normal factors, S is the share of its variance that factor k has."""
  y, other = RNG.standard_normal((2, F, 4000, F))
  changed = np.where(np.eye(F, dtype=bool)[:, None], other, y)
  matrix = RNG.standard_normal((F, Z))
  run = fast_jit(factor_association)
  found = run((y @ matrix).astype(np.float32), (changed @ matrix).astype(np.float32))
  np.testing.assert_allclose(found, (matrix**2 / (matrix**2).sum(0)).T, atol=0.05)


@pytest.mark.parametrize(
  ("call", "error", "match"),
  [
    (lambda: factor_association(FIRST, SECOND[:2]), ValueError, "must have the same shape"),
    (lambda: factor_association(FIRST[0], SECOND[0]), ValueError, "first must have 3 axes"),
    (lambda: factor_association(FIRST, SECOND * np.nan), ValueError, "second must be finite"),
    (lambda: factor_association(FIRST, SECOND, where=[True]), ValueError, "where must have shape"),
    (lambda: omes(FIRST), ValueError, "association must have 2 axes"),
    (lambda: omes(FIRST[0], alpha=2.0), ValueError, "alpha must be in"),
    (lambda: omes(FIRST[0], pooling="sum"), ValueError, "pooling must be one of"),
    (lambda: omes(FIRST[0], where=[True]), ValueError, "where must have shape"),
    (lambda: omes(np.eye(2, dtype=int)), TypeError, "association must be a floating point"),
  ],
)
def test_refusals(call, error, match):
  with pytest.raises(error, match=match):
    call()
