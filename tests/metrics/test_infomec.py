"""InfoMEC and its probes against scikit-learn and against codes whose scores are known."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import check_kernel, fast_jit
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import log_loss, mutual_info_score

from latentjax.metrics import infomec, predictive_information

SIZES = (4, 3, 2)
SOURCES = np.array(list(itertools.product(*map(range, SIZES))))
ROWS, NUM_VALUES = np.repeat(SOURCES, 4, axis=0), 4
RNG = np.random.default_rng(0)
NOISY = ROWS @ RNG.standard_normal((3, 4)) + RNG.standard_normal((len(ROWS), 4))
NOISY = np.concatenate([NOISY, NOISY[:, :1]], axis=1).astype(np.float32)  # one is redundant


def entropy(s):
  return mutual_info_score(s, s)


def shares(sources, features, probe="logistic", **_):
  if probe == "linear":
    return np.array([LinearRegression().fit(features, s).score(features, s) for s in sources.T])
  fit = lambda s: LogisticRegression(C=np.inf, max_iter=5000, tol=1e-10).fit(features, s)
  losses = [log_loss(s, fit(s).predict_proba(features)) for s in sources.T]
  return np.array([1 - loss / entropy(s) for loss, s in zip(losses, sources.T)])


def test_predictive_information():
  def one_number(sources, features, **kwargs):  # as the contract knows for what devices share
    return jnp.dot(predictive_information(sources, features, **kwargs), jnp.array([1, 2, 4]))

  check_kernel(
    one_number,
    (ROWS, NOISY),
    oracle=lambda *args, **kwargs: shares(*args, **kwargs) @ [1, 2, 4],
    kwargs={"num_values": NUM_VALUES, "num_steps": 50},
    detached=[1],
    batch_coupled=True,
    bfloat16=False,  # half a percent, since that is how far apart the inputs are
    extreme=[(ROWS, 1e30 * NOISY), (ROWS, 0 * NOISY)],
    rtol=1e-4,
    bad_inputs=[
      ((ROWS, ROWS), {}, TypeError, "features must be a floating point array"),
      ((NOISY, NOISY), {}, TypeError, "sources of a logistic probe must be integers"),
      ((ROWS[1:], NOISY), {}, ValueError, "equally many rows"),
      ((ROWS, NOISY), {"num_values": None}, ValueError, "num_values must be the number"),
      ((ROWS, NOISY), {"probe": "mlp"}, ValueError, "probe must be one of"),
    ],
  )
  linear = fast_jit(partial(predictive_information, probe="linear"))
  np.testing.assert_allclose(linear(ROWS, NOISY), shares(ROWS, NOISY, "linear"), rtol=1e-4)
  np.testing.assert_allclose(linear(0 * ROWS, NOISY), 0, atol=1e-6)


def test_many_values_in_a_row():
  """Their probe needs weights that a method of first order does not reach in hundreds of steps."""
  steps = np.arange(300)[:, None] % 15
  place = steps + 0.5 * np.random.default_rng(0).standard_normal(steps.shape)
  place = np.float32((place - place.mean()) / place.std())
  got = fast_jit(partial(predictive_information, num_values=15))(steps, place)
  np.testing.assert_allclose(got, shares(steps, place), rtol=1e-4)


def scores(nmi, active, explicitness):
  """The definitions in numpy, on the active latents alone."""
  nmi = nmi[:, active]
  m, c = nmi.max(axis=0) / nmi.sum(axis=0), nmi.max(axis=1) / nmi.sum(axis=1)
  rescale = lambda ratio, n: (ratio.mean() - 1 / n) / (1 - 1 / n)
  return rescale(m, nmi.shape[0]), rescale(c, nmi.shape[1]), explicitness


@pytest.fixture(scope="module")
def discrete():
  run = fast_jit(partial(infomec, num_values=4, num_codes=8))
  return lambda factors, codes: [np.asarray(score) for score in run(codes, factors)]


def test_discrete_codes(discrete):
  copies = np.concatenate([SOURCES, SOURCES], axis=1)
  constant, joint = np.zeros_like(SOURCES), SOURCES[:, :1] + 4 * SOURCES[:, 2:]
  pad = lambda *columns: np.concatenate([*columns, constant, constant], axis=1)[:, :6]
  identity = discrete(SOURCES, pad(SOURCES[:, [2, 0, 1]]))
  np.testing.assert_allclose(identity[:3], 1, atol=1e-3)
  np.testing.assert_array_equal(identity[4], [1, 1, 1, 0, 0, 0])
  # A copy of every source leaves one latent for one source, but each source in two of six.
  np.testing.assert_allclose(
    discrete(SOURCES, copies)[:3], [1, (1 / 2 - 1 / 6) * 6 / 5, 1], atol=1e-3
  )
  # One latent with two sources, one with the third: NMI rows (1, 0), (0, 1), (1, 0).
  np.testing.assert_allclose(
    discrete(SOURCES, pad(joint, SOURCES[:, 1:2]))[:3], [0.625, 1, 1], atol=1e-3
  )
  # Nothing varies: nothing is modular, compact or explicit; a single latent is compact.
  np.testing.assert_allclose(discrete(SOURCES, pad(constant))[:3], 0, atol=1e-6)
  np.testing.assert_allclose(discrete(SOURCES, pad(SOURCES[:, :1]))[:3], [1, 1, 1 / 3], atol=1e-3)


def test_random_codes_against_scikit_learn_and_over_devices(discrete):
  z = (SOURCES @ RNG.integers(3, size=(3, 6)) + RNG.integers(2, size=(len(SOURCES), 6))) % 8
  got = discrete(SOURCES, z)
  nmi = [[mutual_info_score(s, column) / entropy(s) for column in z.T] for s in SOURCES.T]
  np.testing.assert_allclose(got[3], nmi, rtol=1e-5, atol=1e-6)
  np.testing.assert_allclose(got[:3], scores(np.array(nmi), [True] * 6, got[2]), rtol=1e-5)
  one_device = partial(infomec, num_values=4, num_codes=8, axis_name="i")
  each = jax.pmap(one_device, "i")(z.reshape(8, 3, 6), SOURCES.reshape(8, 3, 3))
  for leaf, expected in zip(each, got):
    np.testing.assert_allclose(leaf, np.broadcast_to(expected, leaf.shape), rtol=1e-5, atol=1e-6)


def test_continuous_codes():
  """A rotation mixes sources: explicit as before, no longer modular; what hardly varies is pruned."""
  sources = RNG.integers(4, size=(256, 2))
  spread = sources + RNG.uniform(-0.2, 0.2, sources.shape)
  angle = np.array([[1, -1], [1, 1]]) / np.sqrt(2)
  small = 0.01 * RNG.standard_normal((256, 1))
  run = fast_jit(partial(infomec, num_values=4))
  straight, turned = (run(np.float32(np.c_[z, small]), sources) for z in (spread, spread @ angle))
  np.testing.assert_array_equal(straight.active, [True, True, False])
  assert min(straight[:2]) > 0.9 and max(turned[:2]) < 0.3
  assert straight.explicitness > 0.97 and turned.explicitness > 0.97
  broken = run(np.float32(np.c_[spread, np.inf * small]), sources)
  assert np.isnan(broken[:3]).all() and np.isnan(broken.nmi).all()
  for got in (straight, turned):
    expected = scores(np.asarray(got.nmi, np.float64), np.asarray(got.active), got.explicitness)
    np.testing.assert_allclose(got[:3], expected, rtol=1e-4)


@pytest.mark.parametrize(
  ("codes", "factors", "kwargs", "error", "match"),
  [
    (NOISY, NOISY, {}, TypeError, "factors must be integers"),
    (ROWS, ROWS, {}, TypeError, "codes, without num_codes, must be a floating point"),
    (NOISY, ROWS, {"num_codes": 4}, TypeError, "codes must be integers"),
    (NOISY, ROWS[:, :1], {}, ValueError, "factors must have at least 2 columns"),
    (NOISY, ROWS[1:], {}, ValueError, "codes and factors must have equally many rows"),
  ],
)
def test_bad_inputs(codes, factors, kwargs, error, match):
  with pytest.raises(error, match=match):
    infomec(codes, factors, **kwargs)
