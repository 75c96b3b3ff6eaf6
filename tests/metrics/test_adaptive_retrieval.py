"""Shortlists by prefixes against sorting every candidate in numpy."""

from functools import partial

import jax
import numpy as np
import pytest
from scipy.spatial import distance

from latentjax.metrics import adaptive_retrieval, retrieval_cost

RNG = np.random.default_rng(0)
DATABASE = RNG.standard_normal((40, 8)).astype(np.float32)
QUERIES = RNG.standard_normal((5, 8)).astype(np.float32)


def by_sorting(dims, sizes):
  found = []
  for query in QUERIES:
    rows = np.arange(len(DATABASE))
    for dim, size in zip(dims, sizes):
      apart = distance.cdist(query[None, :dim], DATABASE[rows, :dim], "cosine")[0]
      rows = rows[np.argsort(apart)[:size]]
    found.append(rows)
  return np.array(found)


@pytest.mark.parametrize(
  ("short_dim", "num_candidates", "dims", "sizes"),
  [
    ((2, 4), (20, 6), (2, 4, 8), (20, 6, 3)),
    (2, 40, (8,), (3,)),  # all are let through: the full search
  ],
)
def test_against_sorting(short_dim, num_candidates, dims, sizes):
  run = jax.jit(
    partial(
      adaptive_retrieval,
      short_dim=short_dim,
      num_candidates=num_candidates,
      num_neighbours=3,
      block_size=2,
    )
  )
  np.testing.assert_array_equal(run(QUERIES, DATABASE), by_sorting(dims, sizes))


def test_bfloat16_embeddings_are_compared_in_float32():
  rows = np.array([[1.0, 0.0], [1.0, 0.03125]]).astype("bfloat16")
  run = jax.jit(partial(adaptive_retrieval, short_dim=1, num_candidates=2, num_neighbours=1))
  assert run(rows[1:], rows).tolist() == [[1]]  # cosines 0.9995 and 1, the same in bfloat16


def test_cost():
  assert retrieval_cost(num_rows=1000, dim=64, short_dim=(8, 16), num_candidates=(100, 10)) == (
    1000 * 8 + 100 * 16 + 10 * 64
  )


@pytest.mark.parametrize(
  ("args", "kwargs", "exception", "match"),
  [
    ((QUERIES.astype(int), DATABASE), {}, TypeError, "queries must be a floating point"),
    ((QUERIES[:, :4], DATABASE), {}, ValueError, "must have the same width"),
    ((QUERIES, DATABASE), {"short_dim": 9}, ValueError, r"short_dim must increase within \[1, 8\]"),
    ((QUERIES, DATABASE), {"num_candidates": 41}, ValueError, r"num_candidates must decrease"),
    ((QUERIES, DATABASE), {"num_neighbours": 21}, ValueError, r"decrease within \[21, 40\]"),
    ((QUERIES, DATABASE), {"short_dim": (2, 4)}, ValueError, "must be equally many"),
    ((QUERIES, DATABASE), {"short_dim": 2.0}, TypeError, "short_dim must be a positive integer"),
    ((QUERIES, DATABASE), {"block_size": 0}, ValueError, "block_size must be a positive integer"),
  ],
)
def test_bad_settings(args, kwargs, exception, match):
  with pytest.raises(exception, match=match):
    adaptive_retrieval(*args, **({"short_dim": 2, "num_candidates": 20} | kwargs))
