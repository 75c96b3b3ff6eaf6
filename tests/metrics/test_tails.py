"""Hill's estimator against scipy's fit of an exponential, and the light tails of Lipschitz networks."""

import jax
import numpy as np
from contract import check_kernel
from scipy import stats

from latentjax.metrics import lipschitz_tail_bound, tail_index

RNG = np.random.default_rng(0)
X = RNG.standard_t(2, (16, 2))


def oracle(x, num_tail):
  """Log-excesses of a power law are exponential."""

  def of_column(column):
    column = np.sort(np.abs(column))[::-1]
    excess = np.log(column[:num_tail] / column[num_tail])
    return 1 / stats.expon.fit(excess, floc=0)[1]

  return np.apply_along_axis(of_column, 0, x)


def test_tail_index():
  check_kernel(
    tail_index,
    (X,),
    oracle=oracle,
    kwargs={"num_tail": 5},
    out_axes=None,
    extreme=[(1e30 * X,), (1e-30 * X,)],
    bad_inputs=[
      ((X.astype(int),), {}, TypeError, "x must be a floating point"),
      ((X[0, 0],), {}, ValueError, r"x must have shape \(N, ...\)"),
      ((X,), {"num_tail": 16}, ValueError, "num_tail must be less than the 16 samples"),
      ((X,), {"num_tail": 0}, ValueError, "num_tail must be a positive integer"),
    ],
  )
  run = jax.jit(lambda x: tail_index(x, num_tail=1000))
  laws = {"pareto": stats.pareto(3.0), "t": stats.t(2.0)}
  draws = [law.rvs(100_000, random_state=0) for law in laws.values()]
  found = run(np.float32(np.stack([*draws, RNG.standard_normal(100_000)], axis=1)))
  np.testing.assert_allclose(found[:2], [3.0, 2.0], rtol=4 / np.sqrt(1000))
  assert found[2] > 6  # no index, so a large one
  columns = np.array([[1.0, 0.0, np.nan], [1.0, 0.0, 1.0], [1.0, 2.0, 1.0]])
  np.testing.assert_array_equal(
    jax.jit(lambda x: tail_index(x, num_tail=1))(columns), [np.inf, np.nan, np.nan]
  )


def test_lipschitz_tail_bound():
  t = np.linspace(0, 9, 8)
  width = 1.5 * 2.0  # a Rayleigh law has half of the bound as its tail
  check_kernel(
    lipschitz_tail_bound,
    (t,),
    oracle=lambda t, **_: np.minimum(1, 2 * stats.rayleigh.sf(t, scale=width)),
    kwargs={"lipschitz": 1.5, "scale": 2.0},
    extreme=[(0 * t,), (1e18 * t,)],
    bad_inputs=[
      ((t.astype(int),), {}, TypeError, "t must be a floating point"),
      ((t,), {"lipschitz": 0.0}, ValueError, "lipschitz must be in"),
      ((t,), {"scale": -1.0}, ValueError, "scale must be in"),
    ],
  )


def test_networks_keep_the_tails_of_their_latents():
  """Exceedances of every coordinate, as shares of 20,000: under the bound, unless latents are heavy."""
  weights = [RNG.standard_normal((3, 16)), RNG.standard_normal((16, 2))]
  lipschitz = np.prod([np.linalg.norm(w, 2) for w in weights])
  t = np.linspace(0, 6 * lipschitz, 50)
  bound = np.asarray(lipschitz_tail_bound(t, lipschitz=lipschitz))[:, None]
  for z in (RNG.standard_normal((20_000, 3)), RNG.standard_t(1.5, (20_000, 3))):
    out = np.maximum(z @ weights[0], 0) @ weights[1]
    found = np.mean(np.abs(out - np.mean(out, axis=0)) > t[:, None, None], axis=1)
    excess = found - 4 * np.sqrt(found * (1 - found) / len(z)) - bound
    assert (excess.max() > 0) == (np.abs(z).max() > 10)
