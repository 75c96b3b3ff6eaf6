"""SAP against scikit-learn's machines, IRS against numpy's quantiles, and codes whose scores are known."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import fast_jit
from sklearn.svm import LinearSVC

from latentjax.metrics import irs, sap

CROSSED = np.array(list(itertools.product(range(2), range(4), range(2), range(4))))[:, [0, 1, 3]]
RNG = np.random.default_rng(0)
NOISY = np.float32(CROSSED @ RNG.standard_normal((3, 4)) + 0.5 * RNG.standard_normal((64, 4)))
NOISY[:, 3] += 20  # a penalty on the intercept matters
TEST = RNG.permutation(64)[:40]


def gap(table):
  top = np.sort(table, axis=0)
  return np.mean(top[-1] - top[-2])


def accuracies(z, v, z_test, v_test):
  machine = lambda: LinearSVC(C=0.01, class_weight="balanced", tol=1e-10, max_iter=100_000)
  judge = lambda j, f: machine().fit(z[:, [j]], v[:, f]).score(z_test[:, [j]], v_test[:, f])
  return np.array([[judge(j, f) for f in range(v.shape[1])] for j in range(z.shape[1])])


def robustness(z, v, quantile=0.9):
  z = np.asarray(z, np.float64)[:, np.ptp(z, axis=0) > 0]
  largest = np.abs(z - z.mean(axis=0)).max(axis=0)
  moved = lambda rows: np.percentile(np.abs(rows - rows.mean(axis=0)), 100 * quantile, axis=0)
  table = [np.mean([moved(z[s == value]) for value in np.unique(s)], axis=0) for s in v.T]
  return np.average(1 - np.min(table, axis=0) / largest, weights=largest)


@pytest.fixture(scope="module")
def scores():
  def run(z, v, z_test, v_test):
    discrete = sap(z, v, test_codes=z_test, test_factors=v_test, num_values=4)
    return discrete, sap(z, v, continuous=True), irs(z, v, quantile=0.9)

  return fast_jit(run)


@pytest.fixture
def sap_and_irs(scores):
  rows = slice(0, len(TEST))
  return lambda z, v: np.array(scores(np.float32(z), v, np.float32(z)[rows], v[rows]))


def test_against_scikit_learn(scores):
  args = NOISY, CROSSED, NOISY[TEST], CROSSED[TEST]
  got = scores(*args)
  np.testing.assert_allclose(got[0], gap(accuracies(*args)), atol=1e-6)
  correlations = np.corrcoef(NOISY.T.astype(float), CROSSED.T)[:4, 4:]
  np.testing.assert_allclose(got[1], gap(correlations**2), rtol=1e-4)
  np.testing.assert_allclose(got[2], robustness(NOISY, CROSSED), rtol=1e-4)
  np.testing.assert_allclose(irs(NOISY, CROSSED), robustness(NOISY, CROSSED, 0.99), rtol=1e-4)


def test_codes_whose_scores_are_known(sap_and_irs):
  """The order and sign of latents do not matter; the machines want them near 0, at a scale that is large."""
  dead = 0.0 * CROSSED[:, :1]
  perfect = np.concatenate([30.0 * (CROSSED - 0.5)[:, [1, 0, 2]], dead], axis=1)
  got = sap_and_irs(perfect, CROSSED)
  np.testing.assert_allclose(got[1:], 1, atol=1e-5)
  rows = slice(0, len(TEST))
  np.testing.assert_allclose(
    got[0], gap(accuracies(perfect, CROSSED, perfect[rows], CROSSED[rows])), atol=1e-6
  )
  np.testing.assert_allclose(sap_and_irs(-perfect[:, ::-1], CROSSED), got, atol=1e-5)
  # Duplicates do not separate, and are robust.
  pairs = np.concatenate([CROSSED[:, :2], CROSSED[:, :2]], axis=1)
  twice = sap_and_irs(pairs, CROSSED)
  np.testing.assert_allclose(twice, [0, 0, 1], atol=1e-5)
  # Nothing varies; what does is not the factors'.
  constants = np.tile([0.1, 0.3, -0.7, 1.1], (len(CROSSED), 1))  # whose means are rounded
  np.testing.assert_allclose(sap_and_irs(constants, CROSSED), 0, atol=1e-6)
  still = sap_and_irs(perfect, 0 * CROSSED)
  np.testing.assert_allclose(still, [0, 0, robustness(perfect, 0 * CROSSED)], atol=1e-5)


@pytest.mark.parametrize(
  ("fn", "codes", "factors", "kwargs", "error", "match"),
  [
    (sap, NOISY, NOISY[:, :3], {}, TypeError, "factors must be integers"),
    (sap, NOISY, CROSSED, {"test_codes": NOISY}, ValueError, "must be given together"),
    (sap, NOISY[:, :1], CROSSED, {}, ValueError, "codes must have at least two rows and columns"),
    (sap, NOISY, CROSSED, {"penalty": 0.0}, ValueError, "penalty must be in"),
    (sap, NOISY, CROSSED[1:], {}, ValueError, "codes and factors must have equally many rows"),
    (sap, NOISY, CROSSED, {"num_values": 2**26}, ValueError, "rows times values must be below"),
    (sap, np.nan * NOISY, CROSSED, {}, ValueError, "codes must be finite"),
    (irs, NOISY, np.nan * NOISY, {}, ValueError, "factors must be finite"),
    (irs, NOISY[:9], CROSSED[:9], {}, ValueError, "num_bins must be at most the number of rows, 9"),
    (irs, NOISY, CROSSED, {"quantile": 1.1}, ValueError, "quantile must be in"),
  ],
)
def test_bad_inputs(fn, codes, factors, kwargs, error, match):
  with pytest.raises(error, match=match):
    fn(codes, factors, **kwargs)
  columns = {"test_codes": NOISY, "test_factors": CROSSED[:, :2]}
  with pytest.raises(ValueError, match="must have the columns of codes and factors"):
    sap(NOISY, CROSSED, **columns)


def test_inside_shard_map():
  """Traced, not compiled: loops must know that what they begin with differs between devices."""
  mesh = jax.make_mesh((8,), ("i",), axis_types=(jax.sharding.AxisType.Auto,))

  def local(z, v):
    return jnp.stack([sap(z, v, num_values=4, axis_name="i"), irs(z, v, axis_name="i")])[None]

  spec = jax.sharding.PartitionSpec("i")
  mapped = jax.shard_map(local, mesh=mesh, in_specs=(spec, spec), out_specs=spec)
  assert jax.eval_shape(mapped, NOISY, CROSSED).shape == (8, 2)


def test_nan_stays(sap_and_irs):
  codes = np.where(np.arange(4) == 2, np.nan, NOISY)
  assert np.isnan(sap_and_irs(codes, CROSSED)).all()
