"""Scores of information against scikit-learn's tables of counts, and on codes whose scores are known."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import fast_jit
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from scipy.stats import entropy
from sklearn.metrics import mutual_info_score

from latentjax.metrics import (
  column_entropies,
  dcimig,
  discretize,
  dmig,
  mig,
  modularity,
  mutual_information_matrix,
)

BINS = 7
CROSSED = np.array(list(itertools.product(range(4), repeat=3)))  # every combination once: 64 rows
RNG = np.random.default_rng(0)
NOISY = np.float32(CROSSED @ RNG.standard_normal((3, 6)) + RNG.standard_normal((64, 6)))
UNEVEN = np.stack([RNG.integers(2, size=64), RNG.integers(4, size=64), CROSSED[:, 0] // 3], axis=1)


def information(labels, others):
  return np.array([[mutual_info_score(a, b) for b in others.T] for a in labels.T])


def bins_of(codes, num_bins=BINS):
  codes = np.asarray(codes, np.float64)
  edges = [np.histogram(column, num_bins)[1][:-1] for column in codes.T]
  return np.stack([np.digitize(c, e) for c, e in zip(codes.T, edges)], axis=1)


def oracle(codes, factors):
  """By the definitions, one latent and one factor after the other."""
  table, between = information(bins_of(codes), factors), information(factors, factors)
  heights, own = np.diag(between), table.argmax(axis=0)
  gaps, fair = [], []
  for f, column in enumerate(table.T):
    order = np.argsort(column)
    gaps.append(column[order[-1]] - column[order[-2]])
    sharing = [g for g in range(len(own)) if own[g] == order[-2] and g != f]
    known = between[f, max(sharing, key=lambda g: table[order[-2], g])] if sharing else 0
    fair.append(gaps[-1] / (heights[f] - known))
  best = dict.fromkeys(range(len(own)), 0.0)
  modular = []
  for row in table:
    rest = np.sort(row)[:-1]
    best[row.argmax()] = max(best[row.argmax()], row.max() - rest[-1])
    modular.append(1 - np.sum((rest / (row.max() or np.inf)) ** 2) / len(rest))
  return np.mean(gaps / heights), fair, sum(best.values()) / heights.sum(), np.mean(modular)


@pytest.fixture(scope="module")
def scores():
  kwargs = {"num_bins": BINS, "num_values": 4}
  run = lambda z, v: tuple(fn(z, v, **kwargs) for fn in (mig, dmig, dcimig, modularity))
  return fast_jit(run)


def assert_scores(got, *expected, atol=1e-5):
  for a, b in zip(got, expected, strict=True):
    np.testing.assert_allclose(a, b, atol=atol)


def test_scores_against_scikit_learn(scores):
  for codes, factors in ((NOISY, CROSSED), (NOISY, UNEVEN), (RNG.permutation(NOISY), UNEVEN)):
    assert_scores(scores(codes, factors), *oracle(codes, factors))


def test_without_jit_and_over_devices(scores):
  expected = scores(NOISY, CROSSED)
  np.testing.assert_allclose(mig(NOISY, CROSSED, num_bins=BINS), expected[0], rtol=1e-5)
  rows = NamedSharding(Mesh(np.array(jax.devices()), ("i",)), PartitionSpec("i"))
  assert_scores(scores(*jax.device_put((NOISY, CROSSED), rows)), *expected)
  mapped = partial(dcimig, num_bins=BINS, num_values=4, axis_name="i")
  each = jax.pmap(mapped, "i")(NOISY.reshape(8, 8, 6), CROSSED.reshape(8, 8, 3))
  np.testing.assert_allclose(each, np.full(8, expected[2]), rtol=1e-5)


def test_over_seeds(scores):
  pair = np.stack([NOISY, NOISY[::-1]])
  together = fast_jit(jax.vmap(partial(mig, num_bins=BINS, num_values=4), (0, None)))(pair, CROSSED)
  np.testing.assert_allclose(together, [scores(z, CROSSED)[0] for z in pair], rtol=1e-5)


def test_codes_whose_scores_are_known(scores):
  """Order, sign, scale and shift of latents do not matter."""
  perfect, dead = (3.0 - CROSSED[:, [2, 0, 1]]) * np.array([1, 10, 0.1]), 0.0 * CROSSED
  stack = lambda *parts: np.float32(np.concatenate(parts, axis=1))
  assert_scores(scores(stack(perfect, dead), CROSSED), 1, [1, 1, 1], 1, 1 / 2)
  assert_scores(scores(stack(perfect, -perfect), CROSSED), 0, [0, 0, 0], 1, 1)
  assert_scores(scores(stack(dead, dead), CROSSED), 0, [0, 0, 0], 0, 0)
  # Sum and difference of the first two factors know the same of both, and nothing of the third.
  triangle = np.array([1, 2, 3, 4, 3, 2, 1]) / 16
  known = (entropy(triangle) - np.log(4)) / np.log(4)
  turned = CROSSED @ np.array([[1, 1, 0], [1, -1, 0], [0, 0, 1]])
  third = (0 + 0 + 1) / 3
  assert_scores(
    scores(stack(turned, dead), CROSSED), third, [0, 0, 1], third, (1 / 2 + 1 / 2 + 1) / 6
  )
  table = mutual_information_matrix(turned + 3, CROSSED)
  np.testing.assert_allclose(table[0] / np.log(4), [known, known, 0], atol=1e-6)


def test_dependent_factors(scores):
  """A perfect code of two factors: what they share lowers MIG to H(a | b) / H(a), and not DMIG."""
  rows = {(0, 0): 24, (0, 1): 8, (1, 0): 8, (1, 1): 24}
  pairs = np.repeat(list(rows), list(rows.values()), axis=0)
  factors = np.concatenate([pairs, CROSSED[:, 2:]], axis=1)
  codes = np.float32(np.concatenate([factors, 0 * factors], axis=1))
  # The third factor knows next to nothing of the others, but not nothing.
  got = scores(codes, factors)
  left = entropy([1 / 4, 3 / 4]) / np.log(2)
  np.testing.assert_allclose(got[0], (left + left + 1) / 3, atol=0.02)
  np.testing.assert_allclose(got[1], 1, atol=0.02)
  np.testing.assert_allclose(got[1], oracle(codes, factors)[1], atol=1e-5)
  # By the names of the latents: another latent knows more of two factors than the one they are given.
  given = dmig(codes, factors, latent_of_factor=(1, 0, 2), num_bins=BINS)
  shared = np.log(2) - entropy([1 / 4, 3 / 4])
  np.testing.assert_allclose(given[:2], (shared - np.log(2)) / (np.log(2) - shared), atol=1e-5)
  # More than 1: a latent of l that knows of v_l only what is not of v_f, of which nothing is taken off.
  bits = CROSSED % 2
  whole = np.stack([bits[:, 0] + 2 * bits[:, 1], bits[:, 0] + 2 * CROSSED[:, 2]], axis=1)
  codes = np.float32(np.stack([whole[:, 0], CROSSED[:, 2]], axis=1))
  np.testing.assert_allclose(dmig(codes, whole, num_bins=BINS)[0], 2, atol=1e-5)
  # A factor that another determines has nothing of its own.
  whole = np.stack([CROSSED[:, 0], CROSSED[:, 0] // 2], axis=1)
  fair = dmig(np.float32(whole), whole, latent_of_factor=(0, 1), num_bins=BINS)
  np.testing.assert_allclose(fair, [1, 0], atol=1e-5)


def test_a_constant_factor_is_left_out_and_nan_stays(scores):
  codes = np.float32(np.concatenate([CROSSED, 0 * CROSSED], axis=1))
  factors = CROSSED * np.array([1, 0, 1])
  assert_scores(scores(codes, factors), 1, [1, 0, 1], 1, (1 + 0 + 1) / 6)
  # Shares of an odd number of rows do not add up to 1 exactly; a dead latent still knows nothing.
  odd = RNG.integers(4, size=(100, 2))
  np.testing.assert_array_equal(mutual_information_matrix(0 * odd, odd), 0)
  np.testing.assert_array_equal(mutual_information_matrix(odd, 0 * odd), 0)
  codes[3, 4] = np.nan
  assert all(np.isnan(np.min(score)) for score in scores(codes, CROSSED))


def test_discretize():
  x = np.float32(RNG.standard_normal((64, 3)) ** 3)
  np.testing.assert_array_equal(discretize(x, num_bins=BINS) + 1, bins_of(x))
  even = discretize(x, num_bins=4, method="quantile")
  assert all(np.bincount(column).tolist() == [16] * 4 for column in np.asarray(even.T))
  np.testing.assert_array_equal(even, discretize(np.exp(x), num_bins=4, method="quantile"))
  np.testing.assert_array_equal(np.ptp(discretize(0 * x + 5, num_bins=4), axis=0), 0)
  heights = column_entropies(np.asarray(even))
  np.testing.assert_allclose(heights, np.log(4), rtol=1e-6)
  beyond = jax.jit(partial(column_entropies, num_values=3))(np.array([[-1], [1], [9], [9]]))
  np.testing.assert_allclose(beyond, entropy([1, 1, 2]), rtol=1e-6)


@pytest.mark.parametrize(
  ("codes", "factors", "kwargs", "error", "match"),
  [
    (NOISY, NOISY, {}, TypeError, "factors must be integers"),
    (NOISY[0], CROSSED, {}, ValueError, "codes must have 2 axes"),
    (NOISY[1:], CROSSED, {}, ValueError, "codes and factors must have equally many rows"),
    (NOISY[:5], CROSSED[:5], {}, ValueError, "num_bins must be at most the number of rows, 5"),
    (NOISY[:, :1], CROSSED, {}, ValueError, "codes must have at least 2 columns"),
    (np.where(np.arange(6) == 2, np.inf, NOISY), CROSSED, {}, ValueError, "infinity in column 2"),
    (NOISY, CROSSED - 1, {}, ValueError, r"factors must be in \[0, 3\), got -1 to 2"),
    (NOISY, CROSSED, {"num_values": 3}, ValueError, r"factors must be in \[0, 3\), got 0 to 3"),
    (NOISY, CROSSED, {"discretizer": "median"}, ValueError, "method must be one of"),
    (NOISY, CROSSED, {"latent_of_factor": (0, 1, 1)}, ValueError, "3 different latents below 6"),
  ],
)
def test_bad_inputs(codes, factors, kwargs, error, match):
  with pytest.raises(error, match=match):
    dmig(codes, factors, **{"num_bins": BINS, **kwargs})


def test_traced_factors_do_not_show_their_values():
  with pytest.raises(ValueError, match="number of values must be given where they are traced"):
    jax.eval_shape(partial(mig, num_bins=BINS), NOISY, jnp.asarray(CROSSED))
  for score in (dcimig, modularity):
    with pytest.raises(ValueError, match="factors must have at least 2 columns"):
      score(NOISY, CROSSED[:, :1], num_bins=BINS)
