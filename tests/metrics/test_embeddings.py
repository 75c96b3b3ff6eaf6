"""Signs of collapse against numpy's singular values, neighbours against scikit-learn's."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import check_kernel
from scipy import stats
from sklearn.neighbors import KNeighborsClassifier

from latentjax.metrics import effective_rank, knn_predict, relative_scale, tolerance

N, D = 16, 4
RNG = np.random.default_rng(0)
Z = RNG.standard_normal((N, D)) @ np.diag([0.2, 0.5, 1.0, 3.0]) + 0.5


LABELS = RNG.integers(3, size=N)


def signs(z, labels, axis_name=None):
  run = {"axis_name": axis_name}
  return {
    "rank": effective_rank(z, **run),
    "scale": relative_scale(z, **run),
    "tolerance": tolerance(z, labels, num_classes=5, **run),
  }


def oracle(z, labels):
  unit = z / np.linalg.norm(z, axis=1, keepdims=True)
  values = np.linalg.svd(z, compute_uv=False)
  pairs = [
    unit[i] @ unit[j] for i, j in itertools.permutations(range(len(z)), 2) if labels[i] == labels[j]
  ]
  return {
    "rank": np.exp(stats.entropy(values)),
    "scale": unit.std(0).sum() / np.sqrt(z.shape[1]),
    "tolerance": np.mean(pairs),
  }


def test_signs_of_collapse():
  check_kernel(
    signs,
    (Z, LABELS),
    oracle=oracle,
    batch_coupled=True,
    detached=(0,),
    extreme=[(scale * Z, LABELS) for scale in (0, 1e18, 1e-18)],
    bad_inputs=[
      ((Z.astype(int), LABELS), {}, TypeError, "z must be a floating point"),
      ((Z[0], LABELS), {}, ValueError, "z must have 2 axes"),
      ((Z, LABELS[:3]), {}, ValueError, r"labels must have shape \(16,\)"),
    ],
  )


def test_effective_rank_of_few_wide_rows():
  few = RNG.standard_normal((5, 40)) @ np.diag(np.linspace(0.1, 2, 40))
  run = lambda z: effective_rank(z)
  assert float(jax.jit(run)(few)) == pytest.approx(oracle(few, LABELS[:5])["rank"], rel=1e-5)
  assert "40,40" not in str(jax.make_jaxpr(run)(few))
  spread = jax.shard_map(
    lambda z: effective_rank(z, axis_name="devices")[None],
    mesh=jax.sharding.Mesh(jax.devices()[:5], "devices"),
    in_specs=jax.sharding.PartitionSpec("devices"),
    out_specs=jax.sharding.PartitionSpec("devices"),
  )
  np.testing.assert_allclose(jax.jit(spread)(few), oracle(few, LABELS[:5])["rank"], rtol=1e-5)


def test_collapse_and_its_opposite():
  run = jax.jit(signs)
  line = np.outer(RNG.uniform(1, 2, N), np.ones(D))
  found = run(line, LABELS)
  assert float(found["rank"]) == pytest.approx(1, abs=1e-3)
  assert float(found["scale"]) == pytest.approx(0, abs=1e-3)
  assert float(found["tolerance"]) == pytest.approx(1, abs=1e-6)
  tail = Z @ np.linalg.inv(np.linalg.cholesky(Z.T @ Z).T) @ np.diag([1, 3e-4, 1e-4, 1e-5])
  assert float(run(tail, LABELS)["rank"]) == pytest.approx(oracle(tail, LABELS)["rank"], rel=1e-5)
  found = run(1e9 * np.eye(N, D), np.arange(N) // 2)
  assert float(found["rank"]) == pytest.approx(D, rel=1e-4)
  assert float(found["tolerance"]) == 0
  sphere = np.random.default_rng(1).standard_normal((4000, D))
  alone = run(sphere[:5], np.arange(5))
  assert float(alone["tolerance"]) == 0  # no pair
  assert float(jax.jit(relative_scale)(sphere)) == pytest.approx(1, abs=0.02)


def test_neighbours_are_those_of_scikit_learn():
  centres = RNG.standard_normal((3, D))
  labels = RNG.integers(3, size=(2, 60))
  points = (centres[labels] + 1.2 * RNG.standard_normal((2, 60, D))).astype(np.float32)
  known = KNeighborsClassifier(7, metric="cosine", weights=lambda d: np.exp((1 - d) / 0.07))
  expected = known.fit(points[0], labels[0]).predict(points[1])
  run = jax.jit(
    lambda queries, database: knn_predict(
      queries, database, labels[0], num_classes=3, num_neighbours=7, block_size=8
    )
  )
  np.testing.assert_array_equal(run(points[1], 5 * points[0]), expected)
  assert 0.5 < np.mean(expected == labels[1]) < 1


def test_nearest_within_far_clusters():
  far = 1e3 * (np.arange(60) % 2)[:, None] * [1.0, -1.0, 1.0, 0.0]
  points = np.float32(1e-2 * RNG.standard_normal((2, 60, D)) + far)
  labels = RNG.integers(3, size=60)
  expected = KNeighborsClassifier(1).fit(points[0].astype(float), labels).predict(points[1])
  settings = {"num_classes": 3, "num_neighbours": 1, "temperature": None, "metric": "euclidean"}
  found = jax.jit(lambda x, known: knn_predict(x, known, labels, **settings))(points[1], points[0])
  np.testing.assert_array_equal(found, expected)


def test_votes_of_bfloat16_embeddings_are_counted_in_float32():
  labels = np.repeat([0, 1], [300, 320])
  points = jnp.ones((620, 2), jnp.bfloat16)
  vote = jax.jit(lambda x: knn_predict(x[:1], x, labels, num_classes=2, num_neighbours=620))
  assert vote(points).tolist() == [1]  # in bfloat16 both counts stop at 256
  rows = jnp.asarray([[1.0, 0.0], [1.0, 0.03125]], jnp.bfloat16)
  nearest = jax.jit(lambda x: knn_predict(x[1:], x, np.arange(2), num_classes=2, num_neighbours=1))
  assert nearest(rows).tolist() == [1]  # cosines 0.9995 and 1, the same in bfloat16


@pytest.mark.parametrize(
  ("change", "exception", "match"),
  [
    ({"queries": np.ones((2, D), int)}, TypeError, "queries must be a floating point"),
    ({"labels": np.ones(N)}, TypeError, "labels must be integers"),
    ({"labels": np.ones(3, int)}, ValueError, r"labels must have shape \(16,\)"),
    ({"queries": np.ones((2, 3))}, ValueError, "must have the same width"),
    ({"num_neighbours": 17}, ValueError, "num_neighbours must be at most 16, got 17"),
    ({"temperature": 0.0}, ValueError, r"temperature must be in \(0.0"),
  ],
)
def test_neighbours_refuse(change, exception, match):
  args = {"queries": Z, "database": Z, "labels": np.ones(N, int), "num_classes": 2, **change}
  with pytest.raises(exception, match=match):
    jax.eval_shape(lambda: jnp.asarray(knn_predict(**args)))
