"""Every family of independent variables through one battery, against scipy or a float64 transcription."""

import battery
import numpy as np
import pytest
from battery import B, D, Family
from scipy import special, stats

from latentjax.densities import (
  categorical,
  continuous_bernoulli,
  discretized_logistic,
  laplace,
  negative_binomial,
  poisson,
  student_t,
  zero_inflated_negative_binomial,
)

RNG = np.random.default_rng(0)
NORMAL = RNG.standard_normal((6, B, D))
COUNTS = RNG.integers(0, 9, (B, D))
COUNTS[0] = 0
FULL = np.full((B, D), 1.0)
SIGNS = np.where(RNG.integers(0, 2, (B, D)), 1.0, -1.0)


def around(mean, log_scale, *_):
  """Nodes that reach far into heavy tails, with one at the mean, where a density may have a kink."""
  t, step = np.linspace(-5, 5, 2001, retstep=True)
  scale = np.exp(log_scale)
  return mean + scale * np.sinh(t), scale * np.cosh(t) * step


def counts(*_):
  return np.arange(300), np.ones(300)


def unit_interval(*_):
  nodes, weights = np.polynomial.legendre.leggauss(100)
  return (nodes + 1) / 2, weights / 2


def pixels(*_):
  return np.arange(256) / 255, np.ones(256)


def tilted(x, eta):
  """Continuous Bernoulli by lambda and the paper's normaliser 2 artanh(1 - 2 l) / (1 - 2 l)."""
  p = special.expit(eta)
  log_c = np.log(2 * np.arctanh(1 - 2 * p) / (1 - 2 * p))
  return log_c + special.xlogy(x, p) + special.xlog1py(1 - x, -p)


def binned(x, mean, log_scale):
  upper = np.where(x > 0.999, np.inf, (x + 0.5 / 255 - mean) / np.exp(log_scale))
  lower = np.where(x < 0.001, -np.inf, (x - 0.5 / 255 - mean) / np.exp(log_scale))
  # By the survival function on the far side, so that a difference near one keeps its digits.
  return np.log(
    np.where(
      upper + lower > 0,
      stats.logistic.sf(lower) - stats.logistic.sf(upper),
      stats.logistic.cdf(upper) - stats.logistic.cdf(lower),
    )
  )


def negative_binomial_log_p(x, log_rate, log_concentration):
  r = np.exp(log_concentration)
  return stats.nbinom.logpmf(x, r, r / (r + np.exp(log_rate)))


def zero_inflated_log_p(x, log_rate, log_concentration, logits):
  gate = special.expit(logits)
  count = np.exp(negative_binomial_log_p(x, log_rate, log_concentration))
  return np.log(gate * (np.asarray(x) == 0) + (1 - gate) * count)


def chosen(x, logits):
  log_p = special.log_softmax(logits, -1)
  return (
    log_p[np.asarray(x)] if log_p.ndim == 1 else np.take_along_axis(log_p, x[..., None], -1)[..., 0]
  )


LOG_SCALE = 0.5 * NORMAL[1]
COUNT_EXTREMES = tuple(
  (x, *(40.0 * s * FULL for s in signs), 1e4 * SIGNS)
  for x in (COUNTS, 1000 * COUNTS)
  for signs in ((1, 1), (1, -1), (-1, 1), (-1, -1))
)
FAMILIES = {
  "laplace": Family(
    laplace,
    NORMAL[0],
    (NORMAL[2], LOG_SCALE),
    lambda x, m, s: stats.laplace.logpdf(x, m, np.exp(s)),
    around,
    extreme=tuple((a * NORMAL[0], NORMAL[2], s * FULL) for a in (1, 1e4) for s in (40, -40)),
    reparameterised=True,
  ),
  "student_t": Family(
    student_t,
    NORMAL[0],
    (NORMAL[2], LOG_SCALE, np.log(RNG.uniform(8, 12, (B, D)))),
    lambda x, m, s, df: stats.t.logpdf(x, np.exp(df), m, np.exp(s)),
    around,
    extreme=tuple((NORMAL[0], NORMAL[2], s * FULL, v * FULL) for s in (40, -40) for v in (40, -20)),
    reparameterised=True,
  ),
  "continuous_bernoulli": Family(
    continuous_bernoulli,
    special.expit(NORMAL[0]),
    (np.where(np.abs(NORMAL[1]) < 0.2, 1.5, 2 * NORMAL[1]),),
    tilted,
    unit_interval,
    extreme=((special.expit(NORMAL[0]), 1e4 * SIGNS), (0 * FULL, 0 * FULL), (FULL, 1e-4 * SIGNS)),
    reparameterised=True,
  ),
  "discretized_logistic": Family(
    discretized_logistic,
    RNG.integers(0, 256, (B, D)) / 255,
    (0.5 + 0.5 * NORMAL[2], LOG_SCALE - 3),
    binned,
    pixels,
    extreme=tuple(
      (x, m * FULL, s * FULL)
      for x in (0 * FULL, FULL, 0.2 * FULL)
      for m, s in ((0.5, 40), (0.5, -40), (1e4, -3), (-1e4, 0))
    ),
  ),
  "poisson": Family(
    poisson,
    COUNTS,
    (1 + 0.5 * NORMAL[0],),
    lambda x, log_rate: stats.poisson.logpmf(x, np.exp(log_rate)),
    counts,
    extreme=tuple(args[:2] for args in COUNT_EXTREMES),
  ),
  "negative_binomial": Family(
    negative_binomial,
    COUNTS,
    (1 + 0.5 * NORMAL[0], 1 + NORMAL[1]),
    negative_binomial_log_p,
    counts,
    extreme=tuple(args[:3] for args in COUNT_EXTREMES),
  ),
  "zero_inflated_negative_binomial": Family(
    zero_inflated_negative_binomial,
    COUNTS,
    (1 + 0.5 * NORMAL[0], 1 + NORMAL[1], NORMAL[2]),
    zero_inflated_log_p,
    counts,
    extreme=COUNT_EXTREMES,
  ),
  "categorical": Family(
    categorical,
    RNG.integers(0, 5, (B, D)),
    (RNG.standard_normal((B, D, 5)),),
    chosen,
    lambda _: (np.arange(5), np.ones(5)),
    extreme=tuple(
      (RNG.integers(0, 5, (B, D)), 1e4 * sign)
      for sign in (np.where(RNG.integers(0, 2, (B, D, 5)), 1.0, -1.0), np.ones((B, D, 5)))
    ),
    encode=lambda x: np.eye(5)[np.asarray(x, int)],
  ),
}


def having(verb):
  cases = [family for family in FAMILIES.values() if hasattr(family.module, verb)]
  names = [family.module.__name__.rpartition(".")[2] for family in cases]
  return pytest.mark.parametrize("family", cases, ids=names)


@having("log_prob")
def test_log_prob(family):
  # The zero-inflated one contains the negative binomial.
  check = (
    battery.check_log_prob_alone if family.module is negative_binomial else battery.check_log_prob
  )
  check(family)


@having("log_prob")
def test_normalised(family):
  battery.check_normalised(family)


@having("kl")
def test_kl(family):
  battery.check_kl(family)


@having("entropy")
def test_entropy(family):
  battery.check_entropy(family)


@having("mean")
def test_mean(family):
  battery.check_mean(family)


@having("sample")
def test_sample(family):
  # Whose rows and batches are the Poisson's and the Bernoulli's.
  composed = family.module in (negative_binomial, zero_inflated_negative_binomial)
  battery.check_sample(family, rows=not composed)
