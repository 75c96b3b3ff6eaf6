"""The mean correlation coefficient against a search over all matchings."""

import itertools
from functools import partial

import jax
import numpy as np
import pytest
from contract import check_kernel, fast_jit
from scipy import stats

from latentjax.metrics import identifiability_r2, mean_correlation_coefficient

N, D, Z = 16, 3, 4
RNG = np.random.default_rng(0)
SOURCES = RNG.standard_normal((N, D))
LATENTS = SOURCES @ RNG.standard_normal((D, Z)) + 0.3 * RNG.standard_normal((N, Z))


def oracle(sources, z, kind="pearson", **_):
  correlate = {"pearson": stats.pearsonr, "spearman": stats.spearmanr}[kind]
  table = [[abs(correlate(s, latent)[0]) for latent in z.T] for s in sources.T]
  matchings = itertools.permutations(range(z.shape[1]), sources.shape[1])
  return np.array(max(np.mean([table[d][j] for d, j in enumerate(m)]) for m in matchings))


def test_mean_correlation_coefficient():
  check_kernel(
    mean_correlation_coefficient,
    (SOURCES, LATENTS),
    oracle=oracle,
    batch_coupled=True,
    bfloat16=False,  # its casts compile the matching once more
    extreme=[(1e30 * SOURCES, LATENTS), (1e-25 * SOURCES, 0 * LATENTS), (SOURCES + 1e4, LATENTS)],
    bad_inputs=[
      ((SOURCES.astype(int), LATENTS), {}, TypeError, "sources must be a floating point"),
      ((SOURCES[0], LATENTS), {}, ValueError, "sources must have 2 axes"),
      ((LATENTS, SOURCES), {}, ValueError, "with Z >= D, got \\(16, 4\\) and \\(16, 3\\)"),
      ((SOURCES[1:], LATENTS), {}, ValueError, "sources and z must have shapes"),
      ((SOURCES, LATENTS), {"kind": "kendall"}, ValueError, "kind must be one of"),
    ],
  )


@pytest.fixture(scope="module")
def coefficients():
  """Both kinds, and the gradient of the second, of as many latents as LATENTS."""
  ranks = jax.value_and_grad(partial(mean_correlation_coefficient, kind="spearman"))
  run = fast_jit(lambda s, z: (mean_correlation_coefficient(s, z), *ranks(s, z)))
  wide = lambda z: np.pad(z, ((0, 0), (0, Z - z.shape[1])))  # a dead latent has no part
  return lambda s, z: run(np.float32(s), np.float32(wide(z)))


def test_rank_correlation(coefficients):
  _, got, grad = coefficients(SOURCES, LATENTS)
  np.testing.assert_allclose(got, oracle(SOURCES, LATENTS, kind="spearman"), rtol=1e-5)
  assert not np.any(grad)


def test_a_greedy_matching_is_not_enough(coefficients):
  """Both sources correlate most with latent 0; the source that does so more must take latent 1."""
  basis = np.linalg.qr(np.hstack([np.ones((N, 1)), RNG.standard_normal((N, 4))]))[0][:, 1:]
  latents = basis[:, [0, 1, 3]]
  sources = basis @ np.array([[0.8, 0.6, 0, 0], [0.7, 0.1, 0.7, 0], [0, 0, 0, 1.0]]).T
  table = np.abs(np.corrcoef(sources.T, latents.T)[:3, 3:])
  assert table[0].argmax() == table[1].argmax() == 0 and table[0, 0] > table[1, 0]
  got = coefficients(sources, latents)[0]
  np.testing.assert_allclose(got, (table[0, 1] + table[1, 0] + 1) / 3, rtol=1e-5)


def test_order_sign_and_scale_do_not_matter_and_monotone_functions_do_not_for_ranks(coefficients):
  moved = SOURCES[:, [2, 0, 1]] * np.array([-1.0, 3.0, 0.1])
  np.testing.assert_allclose(coefficients(SOURCES, moved)[:2], 1, rtol=1e-6)
  linear, ranks, _ = coefficients(SOURCES, np.exp(moved))
  np.testing.assert_allclose(ranks, 1, rtol=1e-6)
  assert linear < 0.99
  assert coefficients(SOURCES, 0 * moved)[0] == 0


def test_r2_up_to_order_and_up_to_affine_maps():
  run = fast_jit(
    lambda s, z: [identifiability_r2(s, z, up_to=m) for m in ("affine", "permutation")]
  )
  affine, permuted = run(SOURCES, LATENTS)
  design = np.hstack([LATENTS, np.ones((N, 1))])
  rest = SOURCES - design @ np.linalg.lstsq(design, SOURCES, rcond=None)[0]
  np.testing.assert_allclose(affine, np.mean(1 - rest.var(0) / SOURCES.var(0)), rtol=1e-5)
  table = np.square(np.corrcoef(SOURCES.T, LATENTS.T)[:D, D:])
  best = max(table[range(D), list(m)].mean() for m in itertools.permutations(range(Z), D))
  np.testing.assert_allclose(permuted, best, rtol=1e-5)
  wide = lambda sources: np.pad(sources, ((0, 0), (0, 1)))  # a dead latent
  moved = SOURCES[:, [2, 0, 1]] * np.array([-1.0, 3.0, 0.1]) + 4
  np.testing.assert_allclose(run(SOURCES, wide(moved)), [1, 1], rtol=1e-5)
  mixed = run(SOURCES, wide(moved @ RNG.standard_normal((D, D))))
  assert abs(mixed[0] - 1) < 1e-4 and mixed[1] < 0.95
  assert not np.any(run(SOURCES, 0 * LATENTS))
  with pytest.raises(ValueError, match="z must have more rows than columns"):
    identifiability_r2(SOURCES[:4], LATENTS[:4])
