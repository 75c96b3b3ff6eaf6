"""BetaVAE and FactorVAE scores against numpy's votes and scikit-learn's classifier, and in known cases."""

import itertools

import jax
import numpy as np
import pytest
from contract import fast_jit
from sklearn.linear_model import LogisticRegression

from latentjax.metrics import beta_vae_score, factor_vae_score

FACTORS = np.tile(list(itertools.product(range(3), repeat=3)), (8, 1))
RNG = np.random.default_rng(0)
NOISE = np.float32(RNG.standard_normal((len(FACTORS), 4)))
DEAD = 0 * NOISE[:, :1]
SETTINGS = {"num_train": 400, "num_eval": 600, "batch_size": 16, "num_values": 3}


@pytest.fixture(scope="module")
def scores():
  run = lambda key, z: tuple(
    fn(key, z, FACTORS, **SETTINGS) for fn in (beta_vae_score, factor_vae_score)
  )
  run = fast_jit(run)
  return lambda codes, seed=0: np.array(run(jax.random.key(seed), np.float32(codes)))


def reference(codes):
  """Both scores by another generator, one example after the other."""
  rows = lambda f, value, n: RNG.choice(np.flatnonzero(FACTORS[:, f] == value), n)
  scale = codes.std(axis=0, ddof=1)

  def pair_example():
    f, first = RNG.integers(3), RNG.integers(len(FACTORS), size=16)
    second = [rows(f, value, 1)[0] for value in FACTORS[first, f]]
    return np.abs(codes[first] - codes[second]).mean(axis=0), f

  def vote():
    f = RNG.integers(3)
    batch = codes[rows(f, FACTORS[RNG.integers(len(FACTORS)), f], 16)]
    return np.argmin(batch.std(axis=0, ddof=1) / scale), f

  (x, y), (z, f) = (
    map(np.array, zip(*(draw() for _ in range(1000)))) for draw in (pair_example, vote)
  )
  machine = LogisticRegression(max_iter=1000).fit(x[:400], y[:400])
  table = np.zeros((codes.shape[1], 3))
  np.add.at(table, (z[:400], f[:400]), 1)
  return machine.score(x[400:], y[400:]), np.mean(table.argmax(axis=1)[z[400:]] == f[400:])


def test_against_numpy(scores):
  """Equal in distribution: the mean of some keys against one run of 600 examples, of deviation 0.02."""
  codes = np.float32(FACTORS @ RNG.standard_normal((3, 4)) + NOISE)
  got = np.mean([scores(codes, seed) for seed in range(8)], axis=0)
  assert np.all(np.abs(got - reference(codes)) < 0.07) and np.all((got > 0.4) & (got < 0.97))


def test_codes_whose_scores_are_known(scores):
  perfect = np.concatenate([FACTORS[:, [1, 2, 0]] * [-1, 10, 0.5], DEAD], axis=1)
  assert scores(perfect)[1] == 1
  # The smallest of the scales is what the penalty holds back; alike, all are found.
  np.testing.assert_allclose(scores(np.concatenate([3 * FACTORS, DEAD], axis=1)), 1)
  np.testing.assert_allclose(
    scores(np.concatenate([FACTORS, FACTORS[:, :1]], axis=1)), 1, atol=0.01
  )
  np.testing.assert_allclose(scores(NOISE), 1 / 3, atol=0.08)
  nothing = scores(np.repeat(DEAD, 4, axis=1))
  assert nothing[1] == 0 and abs(nothing[0] - 1 / 3) < 0.06
  # Sum and difference vary alike whichever of two factors is fixed, so that votes cannot tell them apart.
  turned = FACTORS @ np.array([[1, 1, 0], [1, -1, 0], [0, 0, 1]])
  votes = scores(np.concatenate([turned, DEAD], axis=1))[1]
  assert abs(votes - (1 / 2 + 1 / 2 + 1) / 3) < 0.06
  assert np.isnan(scores(np.where(np.arange(4) == 2, np.nan, NOISE))).all()


@pytest.mark.parametrize("fn", [beta_vae_score, factor_vae_score])
@pytest.mark.parametrize(
  ("codes", "factors", "kwargs", "error", "match"),
  [
    (NOISE, NOISE, {}, TypeError, "factors must be integers"),
    (NOISE[1:], FACTORS, {}, ValueError, "codes and factors must have equally many rows"),
    (np.nan * NOISE, FACTORS, {}, ValueError, "codes must be finite"),
    (NOISE, FACTORS, {"batch_size": 0}, ValueError, "batch_size must be a positive integer"),
    (NOISE, FACTORS, {"num_eval": 0}, ValueError, "num_eval must be a positive integer"),
  ],
)
def test_bad_inputs(key, fn, codes, factors, kwargs, error, match):
  with pytest.raises(error, match=match):
    fn(key, codes, factors, **kwargs)


def test_bad_settings(key):
  with pytest.raises(ValueError, match="batch_size and the rows of codes must be at least 2"):
    factor_vae_score(key, NOISE, FACTORS, batch_size=1)
  with pytest.raises(ValueError, match="threshold must be in"):
    factor_vae_score(key, NOISE, FACTORS, threshold=-1.0)
  with pytest.raises(ValueError, match="penalty must be in"):
    beta_vae_score(key, NOISE, FACTORS, penalty=0.0)
