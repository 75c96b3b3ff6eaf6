"""How the study of disentanglement compares scores."""

import numpy as np
from scipy import stats

from experiments.harness.disentanglement import explained_variance, rank_correlations


def test_variance_explained_by_groups():
  rng = np.random.default_rng(0)
  methods, strengths, seeds = (
    rng.normal(size=shape) for shape in ((6, 1, 1), (6, 5, 1), (6, 5, 5))
  )
  assert explained_variance(methods + 0 * seeds, axes=(1, 2)) == 1
  assert np.isclose(explained_variance(methods + strengths + 0 * seeds, axes=(2,)), 1)
  # One way of variance with equal groups: the F statistic says the same.
  scores = (methods + 0.5 * seeds).reshape(6, 25)
  f = stats.f_oneway(*scores).statistic
  omega = 1 - (150 - 1) / (150 - 6 + (6 - 1) * f)
  assert np.isclose(explained_variance(scores, axes=(1,)), omega)
  noise = [explained_variance(rng.normal(size=(6, 5, 5)), axes=(2,)) for _ in range(200)]
  assert abs(np.mean(noise)) < 0.02, "groups of noise are credited with something"


def test_rank_correlations():
  rng = np.random.default_rng(1)
  table = {"a": rng.normal(size=30), "b": rng.integers(4, size=30), "flat": np.ones(30)}
  found = rank_correlations(table)
  assert np.isclose(found[0, 1], stats.spearmanr(table["a"], table["b"]).statistic)
  assert np.isclose(found[0, 0], 1)
  assert found[2].tolist() == [0, 0, 0]
