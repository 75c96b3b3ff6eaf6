"""Intrinsic dimension, hubness and isotropy against scikit-learn's neighbours and numpy."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import fast_jit
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P
from scipy import stats
from sklearn.neighbors import NearestNeighbors

from latentjax.metrics import hubness, mle_intrinsic_dimension, partition_isotropy, two_nn

N, D, K = 64, 5, 4
RNG = np.random.default_rng(0)
Z = RNG.standard_normal((N, D)) * [1.0, 2, 1, 0.5, 0.1] + 0.3


def measures(z, axis_name=None):
  run = {"axis_name": axis_name}
  blocks = {"block_size": 8, **run}
  return {
    "two_nn": two_nn(z, **blocks),
    "mle": mle_intrinsic_dimension(z, num_neighbours=K, **blocks),
    "mean": mle_intrinsic_dimension(z, num_neighbours=K, average="mean", **blocks),
    "hubness": hubness(z, num_neighbours=K, **blocks),
    "partition": partition_isotropy(z, **run),
  }


def oracle(z):
  distances, rows = NearestNeighbors(n_neighbors=K).fit(z).kneighbors()
  ratio = np.sort(distances[:, 1] / distances[:, 0])[: int(0.9 * N)]
  empirical = -np.log(1 - np.arange(1, len(ratio) + 1) / N)
  each = (K - 1) / np.log(distances[:, -1:] / distances).sum(1)
  count = np.bincount(rows.ravel(), minlength=N)
  sums = np.exp(z @ np.linalg.eigh(z.T @ z)[1] @ np.hstack([np.eye(D), -np.eye(D)])).sum(0)
  return {
    "two_nn": np.linalg.lstsq(np.log(ratio)[:, None], empirical, rcond=None)[0][0],
    "mle": 1 / np.mean(1 / each),
    "mean": each.mean(),
    "hubness": (
      stats.skew(count),
      np.abs(count - count.mean()).sum() / 2 / count.sum(),
      np.mean(count == 0),
      count,
    ),
    "partition": sums.min() / sums.max(),
  }


@pytest.fixture(scope="module")
def run():
  compiled = fast_jit(measures)
  return lambda z: jax.device_get(compiled(np.float32(z)))


def assert_same(found, expected):
  assert 0 < expected["partition"] < 0.9 and expected["hubness"][2] > 0
  for got, wanted in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
    np.testing.assert_allclose(got, wanted, rtol=1e-4)


def test_measures_on_one_device_and_on_four(run):
  assert_same(run(Z), oracle(Z))
  mesh = Mesh(np.array(jax.devices()[:4]), ("devices",))
  local = lambda z: jax.tree.map(lambda a: a[None], measures(z, axis_name="devices"))
  spread = fast_jit(jax.shard_map(local, mesh=mesh, in_specs=P("devices"), out_specs=P("devices")))
  on_each = jax.device_get(spread(np.float32(Z)))
  for device in range(4):
    assert_same(jax.tree.map(lambda a, device=device: a[device], on_each), oracle(Z))


def test_shift_scale_and_rotation_do_not_matter(run):
  moved = run(1e3 - 20 * Z @ stats.ortho_group.rvs(D, random_state=0))
  for name in ("two_nn", "mle", "mean"):
    np.testing.assert_allclose(moved[name], run(Z)[name], rtol=5e-3)
  np.testing.assert_array_equal(moved["hubness"].occurrences, run(Z)["hubness"].occurrences)
  for scale in (1e18, 1e-18):
    np.testing.assert_allclose(run(scale * Z)["two_nn"], run(Z)["two_nn"], rtol=1e-4)


def test_known_dimensions():
  """Of uniform points: no curvature, borders aside no bias; and the bias that the mean of inverses mends."""
  points = np.random.default_rng(1).uniform(size=(8, 400, 3))
  estimates = fast_jit(
    jax.vmap(
      lambda z: jnp.stack(
        [two_nn(z)]
        + [mle_intrinsic_dimension(z, num_neighbours=4, average=a) for a in ("inverse", "mean")]
      )
    )
  )
  for dim in (1, 3):
    embedded = points[..., :dim] @ np.random.default_rng(dim).standard_normal((dim, 6))
    nearest, inverse, mean = estimates(np.float32(embedded)).mean(axis=0)
    assert abs(nearest - dim) < 0.15 * dim and abs(inverse - dim) < 0.15 * dim
    # A mean of inverse gamma variables of shape k - 1 = 3: 3 / 2 of the truth.
    assert mean / inverse == pytest.approx(1.5, abs=0.15)


def test_copies_and_nan(run):
  copied = np.concatenate([Z[:60], Z[:4]])
  found, without = run(copied), run(Z)
  assert np.isfinite(found["two_nn"]) and abs(found["mle"] / without["mle"] - 1) < 0.2
  assert np.isnan(run(0 * Z)["two_nn"]) and np.isnan(run(0 * Z)["mle"])  # copies all
  assert run(0 * Z)["partition"] == 1
  broken = Z.copy()
  broken[7, 2] = np.nan
  found = run(broken)
  found["hubness"] = found["hubness"][:3]
  assert np.isnan(jax.tree.leaves(found)).all()


def test_share_left_out_may_be_less_than_a_point():
  for z in (Z, Z[:3]):
    distances, _ = NearestNeighbors(n_neighbors=2).fit(z).kneighbors()
    ratio = np.sort(distances[:, 1] / distances[:, 0])[:-1]
    empirical = -np.log(1 - np.arange(1, len(z)) / len(z))
    expected = np.linalg.lstsq(np.log(ratio)[:, None], empirical, rcond=None)[0][0]
    found = fast_jit(partial(two_nn, discard_fraction=1e-6))(np.float32(z))
    assert found == pytest.approx(expected, rel=1e-4)


def test_hubs_of_a_star_and_of_a_ring():
  angle = 2 * np.pi * np.arange(12) / 12
  ring = np.stack([np.cos(angle), np.sin(angle)], axis=1)
  star = np.concatenate([np.zeros((1, 12)), np.eye(12)])  # the centre is next to all
  of = lambda k: fast_jit(partial(hubness, num_neighbours=k))
  equal, unequal = of(2)(np.float32(ring)), of(1)(np.float32(star))
  assert equal.occurrences.tolist() == [2] * 12
  assert float(equal.skewness) == float(equal.robin_hood) == 0
  assert int(unequal.occurrences[0]) == 12 and float(unequal.skewness) > 3
  assert float(unequal.antihubs) == pytest.approx(11 / 13)


def test_refused():
  for call, exception, match in [
    (lambda: two_nn(Z[:2]), ValueError, "z must have more rows than num_neighbours = 2, got 2"),
    (lambda: two_nn(Z[0]), ValueError, "z must have 2 axes"),
    (lambda: two_nn(Z.astype(int)), TypeError, "z must be a floating point"),
    (lambda: two_nn(Z, discard_fraction=1.0), ValueError, r"discard_fraction must be in \(0.0"),
    (lambda: mle_intrinsic_dimension(Z, num_neighbours=1), ValueError, "num_neighbours must be in"),
    (lambda: mle_intrinsic_dimension(Z, average="median"), ValueError, "average must be one of"),
    (lambda: hubness(Z, num_neighbours=64), ValueError, "more rows than num_neighbours = 64"),
    (lambda: partition_isotropy(Z[0]), ValueError, "z must have 2 axes"),
  ]:
    with pytest.raises(exception, match=match):
      call()
