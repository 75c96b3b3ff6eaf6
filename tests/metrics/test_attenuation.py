"""Slopes on estimated latents against numpy, in the limit of many rows, and over random halves."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import check_kernel, fast_jit

from latentjax.metrics import latent_slopes, split_half_slopes

N = 16
RNG = np.random.default_rng(0)
LATENT = RNG.standard_normal(N)
OUTCOME = 2 * LATENT + RNG.standard_normal(N)
FIRST, SECOND = (3 * LATENT + RNG.standard_normal(N) + 1 for _ in range(2))


def oracle(y, z_1, z_2):
  """By regressions: least squares and, for the instruments, two stages of it."""
  a, b = ((z - z.mean()) / z.std(ddof=1) for z in (z_1, z_2))
  rho = np.corrcoef(a, b)[0, 1]
  slope = lambda y, x: np.polyfit(x, y, 1)[0]
  fitted = lambda x, by: np.polyval(np.polyfit(by, x, 1), by)
  naive = (slope(y, a) + slope(y, b)) / 2
  iv = (slope(y, fitted(a, b)) + slope(y, fitted(b, a))) / 2
  assert iv * rho**0.5 == pytest.approx(naive / rho**0.5)
  return naive, iv, naive / rho**0.5, rho


def test_latent_slopes():
  check_kernel(
    latent_slopes,
    (OUTCOME, FIRST, SECOND),
    oracle=oracle,
    batch_coupled=True,
    bfloat16=False,
    extreme=[(OUTCOME, 1e18 * FIRST, 1e-18 * SECOND), (OUTCOME, 0 * FIRST, SECOND)],
    bad_inputs=[
      ((OUTCOME, FIRST.astype(int), SECOND), {}, TypeError, "z_1 must be a floating point"),
      ((OUTCOME, FIRST[1:], SECOND), {}, ValueError, "outcome, z_1 and z_2 must have one length"),
      ((OUTCOME[:1], FIRST[:1], SECOND[:1]), {}, ValueError, "of at least 2"),
      ((OUTCOME, FIRST[:, None], SECOND), {}, ValueError, "z_1 must have 1 axes"),
      (
        (OUTCOME, FIRST, SECOND),
        {"min_reliability": 0.0},
        ValueError,
        "min_reliability must be in",
      ),
    ],
  )


def test_sign_unit_and_floor():
  run = fast_jit(latent_slopes)
  found, turned = (run(OUTCOME, FIRST, sign * 7 * SECOND + 4) for sign in (1, -1))
  np.testing.assert_allclose(found, turned, rtol=1e-5)
  np.testing.assert_allclose(run(OUTCOME, -FIRST, SECOND).corrected, -found.corrected, rtol=1e-5)
  alike = run(OUTCOME, FIRST, FIRST)
  np.testing.assert_allclose(alike[:3], [alike.naive] * 3, rtol=1e-5)
  apart = run(OUTCOME, np.tile([1.0, -1.0], N // 2), np.repeat([1.0, -1.0], N // 2))
  assert apart.reliability == pytest.approx(0.01)
  assert apart.corrected == pytest.approx(10 * float(apart.naive), rel=1e-5)
  constant = run(OUTCOME, FIRST, np.full(N, 1 / 3))
  assert constant.reliability == pytest.approx(0.01)
  assert np.isnan(run(OUTCOME, np.where(LATENT > 1, np.nan, FIRST), SECOND)).all()


def test_halves_of_many_rows():
  """Slope 1.5 on a latent of variance 1, from 2 x 3 items of noise variance 2: reliability 3 / 5."""
  rng = np.random.default_rng(1)
  latent = rng.standard_normal(20_000)
  items = latent[:, None] + 2**0.5 * rng.standard_normal((20_000, 6))
  y = 1.5 * latent + rng.standard_normal(20_000)
  run = jax.jit(
    lambda y, items: split_half_slopes(
      jax.random.key(0), y, items, lambda part: jnp.mean(part, axis=1), num_partitions=5
    )
  )
  found = jax.tree.map(np.median, run(np.float32(y), np.float32(items)))
  rho = 3 / 5
  exact = [1.5 * rho**0.5, 1.5 / rho**0.5, 1.5, rho]
  np.testing.assert_allclose(found, exact, rtol=0.03)
  assert len(set(np.asarray(run(np.float32(y), np.float32(items)).naive))) > 1  # other halves
  for args, match in [
    ((items[:, :1],), "items must have at least 2 columns"),
    ((items[0],), "2 axes"),
  ]:
    with pytest.raises(ValueError, match=match):
      split_half_slopes(jax.random.key(0), y, *args, lambda part: part[:, 0])
