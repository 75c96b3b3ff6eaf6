"""UDR against scikit-learn and SciPy, model by model, and on models that are known to agree."""

from functools import partial

import numpy as np
import pytest
from contract import fast_jit
from scipy.stats import spearmanr
from sklearn.linear_model import Lasso
from sklearn.preprocessing import StandardScaler

from latentjax.metrics import udr

M, N, Z = 3, 64, 4
RNG = np.random.default_rng(0)
CODES = RNG.standard_normal((M, N, Z)).astype(np.float32)
CODES[1] = CODES[0, :, ::-1] + 0.3 * CODES[1]
CODES[2, :, :2] = np.round(CODES[0, :, :2])  # ties
KL = np.array([[1, 0.02, 0.3, 0.2], [0.1, 0.1, 0.0, 2.0], [1, 1, 1, 1]], np.float32)


def relative_strength(r):
  with np.errstate(invalid="ignore"):
    means = [np.mean(np.nan_to_num(r.max(axis) ** 2 / r.sum(axis))) for axis in (0, 1)]
  return np.mean(means)


def oracle(codes, keep, method):
  """The loops of disentanglement_lib, in float64."""
  codes = [StandardScaler().fit_transform(z.astype(float)) * k for z, k in zip(codes, keep)]
  pairs = np.zeros((M, M))
  for i in range(M):
    for j in range(M):
      if method == "lasso":
        r = np.abs(Lasso(alpha=0.1, tol=1e-10).fit(codes[i], codes[j]).coef_.T)
      else:
        r = np.array([[abs(spearmanr(a, b).statistic) for b in codes[j].T] for a in codes[i].T])
      pairs[i, j] = relative_strength(r[keep[i]][:, keep[j]]) * (i != j)
  return np.array([np.median(np.delete(pairs[:, i], i)) for i in range(M)]), pairs


@pytest.fixture(scope="module")
def run():
  return {method: fast_jit(partial(udr, method=method)) for method in ("lasso", "spearman")}


@pytest.mark.filterwarnings("ignore::scipy.stats.ConstantInputWarning")
@pytest.mark.parametrize("method", ["lasso", "spearman"])
def test_scores_are_those_of_the_loops(run, method):
  found = run[method](CODES, kl=KL, kl_threshold=0.05)
  scores, pairs = oracle(CODES, KL > 0.05, method)
  np.testing.assert_allclose(found.pairs, pairs, atol=1e-4)
  np.testing.assert_allclose(found.scores, scores, atol=1e-4)
  # Neither the order, the sign nor the scale of a model's latents matters, for ranks no increasing map.
  changed = CODES[..., [2, 0, 3, 1]] * np.array([-3, 1, 2, 0.1], np.float32)
  again = run[method](changed, kl=KL[:, [2, 0, 3, 1]], kl_threshold=0.05)
  np.testing.assert_allclose(again.scores, found.scores, atol=1e-4)


def test_models_that_agree(run):
  z = np.linalg.qr(RNG.standard_normal((N, Z + 1)) - 0.0)[0]
  z = np.linalg.qr(np.c_[np.ones(N), z])[0][:, 1 : Z + 1].astype(np.float32)  # exactly uncorrelated
  same = np.stack([z, -z[:, ::-1], 5 * z])
  everything = np.ones((M, Z), np.float32)
  np.testing.assert_allclose(run["lasso"](same, kl=everything).scores, 0.9, atol=1e-3)
  ranks = run["spearman"](np.exp(same), kl=everything)
  assert float(ranks.scores.min()) > 0.6  # the ranks are not quite uncorrelated
  np.testing.assert_allclose(ranks.correlations[0, 2].diagonal(), 1, atol=1e-5)
  rotated = same.copy()
  rotated[2] = z @ np.linalg.qr(RNG.standard_normal((Z, Z)))[0]
  found = run["lasso"](rotated, kl=everything)
  assert np.argmin(found.scores) == 2
  # Dead latents count for nothing; a model that has only those agrees with none.
  dead = same * (np.arange(Z) < 2)
  dead[1] = 0
  np.testing.assert_allclose(run["lasso"](dead, kl=everything).scores, [0.45, 0, 0.45], atol=1e-3)
  collapsed = run["lasso"](same, kl=everything * np.array([[1], [0], [1]], np.float32))
  np.testing.assert_allclose(collapsed.pairs[1], 0)
  assert np.isfinite(collapsed.scores).all()
  # One that diverged scores nan, and the others without it.
  same[1, 3, 2] = np.nan
  np.testing.assert_allclose(
    run["lasso"](same, kl=everything).scores, [0.9, np.nan, 0.9], atol=1e-3
  )


@pytest.mark.parametrize(
  ("codes", "kwargs", "error", "match"),
  [
    (CODES[0], {}, ValueError, "codes must have 3 axes"),
    (CODES[:1], {}, ValueError, "at least 2 models"),
    (CODES.astype(int), {}, TypeError, "codes must be a floating point"),
    (CODES * np.nan, {}, ValueError, "codes must be finite"),
    (CODES, {"kl": KL[:2]}, ValueError, r"kl must have shape \(3, 4\)"),
    (CODES, {"method": "pearson"}, ValueError, "method must be one of"),
  ],
)
def test_refusals(codes, kwargs, error, match):
  with pytest.raises(error, match=match):
    udr(codes, **kwargs)
