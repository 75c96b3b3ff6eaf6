"""Depth against all cosine distances, its test against scipy's rank sums."""

import jax
import numpy as np
import pytest
from contract import check_kernel, fast_jit
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P
from scipy import stats
from scipy.spatial import distance

from latentjax.metrics import depth_rank_sum, tte_depth

N, M, D = 24, 16, 5
RNG = np.random.default_rng(0)
X = RNG.standard_normal((N, D)) + 1
Y = RNG.standard_normal((M, D)) + 0.7


def depths(x, y, axis_name=None):
  return tte_depth(x, x, own=True, axis_name=axis_name), tte_depth(y, x, axis_name=axis_name)


def oracle(x, y):
  own = distance.cdist(x, x, "cosine").sum(1) / (N - 1)
  return 2 - own, 2 - distance.cdist(y, x, "cosine").mean(1)


def test_depth():
  check_kernel(
    depths,
    (X, Y),
    oracle=oracle,
    bfloat16=False,
    extreme=[(1e18 * X, 1e-18 * Y), (0 * X, Y)],
    bad_inputs=[
      ((X.astype(int), Y), {}, TypeError, "z must be a floating point"),
      ((X, Y[:, 1:]), {}, ValueError, "z and reference must have the same width"),
      ((X[:1], Y), {}, ValueError, "z must be the reference, of at least 2 rows"),
    ],
  )
  order = np.argsort(fast_jit(tte_depth)(Y, X))
  unit = X / np.linalg.norm(X, axis=1, keepdims=True)
  np.testing.assert_array_equal(
    order, np.argsort(1 - distance.cdist(Y, [unit.mean(0)], "cosine")[:, 0])
  )


def test_rank_sum():
  run = fast_jit(depth_rank_sum)
  own, of_y = oracle(X, Y)
  expected = stats.ranksums(own, of_y, alternative="greater")
  q = np.mean(own[:, None] <= of_y)
  found = run(np.float32(X), np.float32(Y))
  np.testing.assert_allclose(found, [q, *expected], rtol=1e-4)
  mesh = Mesh(np.array(jax.devices()[:4]), ("devices",))
  spread = fast_jit(
    jax.shard_map(
      lambda x, y: jax.numpy.stack(depth_rank_sum(x, y, axis_name="devices"))[None],
      mesh=mesh,
      in_specs=P("devices"),
      out_specs=P("devices"),
    )
  )
  np.testing.assert_allclose(spread(np.float32(X), np.float32(Y)), [found] * 4, rtol=1e-5)


def test_ties_copies_and_opposites():
  run = fast_jit(depth_rank_sum)
  line = np.float32(np.outer(RNG.uniform(1, 2, N), np.ones(D)))
  same = run(line, line[:M])  # one direction: up to rounding all are equally deep
  assert 0 <= same.q <= 1
  grid = np.float32(np.eye(D)[np.arange(N) % D])  # depths are tied within and between the sets
  own, of_y = (np.round(depth, 6) for depth in oracle(grid, grid[:M]))
  expected = stats.ranksums(own, of_y, alternative="greater")
  np.testing.assert_allclose(run(grid, grid[:M])[1:], expected, rtol=1e-4)
  away = run(np.float32(X + 5), np.float32(-Y - 5))
  assert away.q == 0 and away.p_value < 1e-6
  nan = run(np.where(np.arange(N)[:, None] == 0, np.nan, np.float32(X)), np.float32(Y))
  assert np.isnan(nan).all()
  with pytest.raises(ValueError, match="same width"):
    depth_rank_sum(X, Y[:, :2])
