"""Squared distances against scipy's, and where products lose what differences keep."""

import jax
import numpy as np
from contract import check_kernel
from scipy.spatial import distance

from latentjax.distances import squared_distances, squared_distances_to

RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((8, 3)), RNG.standard_normal((5, 3))


def all_ways(x, y):
  to_y = squared_distances_to(y)
  return (
    squared_distances(x, y),
    squared_distances(x, y, exact=True),
    jax.vmap(to_y)(x),
    squared_distances(x[:, None], y)[:, 0],
    squared_distances(x[:, None], y, exact=True)[:, 0],
  )


def test_all_ways():
  check_kernel(
    all_ways,
    (X, Y),
    oracle=lambda x, y: (distance.cdist(x, y, "sqeuclidean"),) * 5,
    batch_axes=(0, None),
    extreme=[(0 * X, 0 * Y), (1e15 * X, 1e15 * Y)],
    bfloat16=False,  # callers widen
    bad_inputs=[((X, Y[:, :2]), {}, ValueError, "x and y must have the same width")],
  )
  tight = np.float32(X + 1e5)
  exact = np.asarray(squared_distances(tight, tight, exact=True))
  wide = tight.astype(float)
  np.testing.assert_allclose(exact, distance.cdist(wide, wide, "sqeuclidean"), rtol=1e-6)
  np.testing.assert_array_equal(exact, exact.T)
  clusters = np.float32(1e-2 * X + 1e4 * (np.arange(8) % 2)[:, None])
  near = distance.cdist(*2 * [clusters.astype(float)], "sqeuclidean") < 1
  by_products, by_differences = jax.jit(all_ways)(clusters, clusters)[:2]
  expected = distance.cdist(*2 * [clusters.astype(float)], "sqeuclidean")
  np.testing.assert_allclose(by_differences, expected, rtol=1e-5)
  assert np.max(np.abs(by_products - expected)[near]) > 0.1 * np.max(expected[near])


def test_no_array_holds_the_differences():
  for exact in (True, False):
    total = lambda x, y, exact=exact: squared_distances(x, y, exact=exact).sum()
    program = str(jax.make_jaxpr(jax.value_and_grad(total, (0, 1)))(X, Y))
    assert "[8,5]" in program and not any(s in program for s in ("[8,5,3]", "[3,8,5]"))
