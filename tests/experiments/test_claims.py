"""When a claim holds, and how it is told."""

import json
import math

import numpy as np
import pytest
from scipy import stats

from experiments.harness import Claim, claims, report


def claim(measured, relation="within", tolerance=0.5, expected=10.0):
  return Claim("q", expected, measured, "a table", relation, tolerance)


@pytest.mark.parametrize(
  ("measured", "relation", "holds"),
  [
    ([10.4, 10.6], "within", True),
    ([10.5, 10.7], "within", False),
    ([9.4, 9.4], "within", False),
    ([9.6], "at least", True),
    ([9.4], "at least", False),
    ([99.0], "at least", True),
    ([10.4], "at most", True),
    ([10.6], "at most", False),
    ([math.nan], "within", False),
    ([math.nan], "at most", False),
    ([10.0, math.inf], "at least", True),
  ],
)
def test_holds(measured, relation, holds):
  assert claim(measured, relation).holds is holds


def test_mean_and_standard_error():
  values = np.random.default_rng(0).normal(size=5)
  found = claim(values)
  np.testing.assert_allclose(found.mean, values.mean())
  np.testing.assert_allclose(found.standard_error, stats.sem(values))
  assert claim([1.0]).standard_error is None
  assert claim([1.0, 2.0, 3.0]).measured_text() == "2 ± 0.58 nats (3 seeds)"
  assert claim(np.float32(1.5)).measured_text() == "1.5 nats (1 seed)"


def test_a_claim_without_a_value_is_an_error():
  with pytest.raises(ValueError, match="measured: got no value for 'q'"):
    claim([])


def test_failure_is_told():
  assert "verdict   FAILS" in claims.show([claim([0.0])], judged=True)
  assert "verdict   HOLDS" in claims.show([claim([10.0])], judged=True)
  assert "not judged" in claims.show([claim([0.0])], judged=False)


def test_table_shows_what_fails(tmp_path):
  result = {
    "experiment": "x",
    "papers": {"91": "Title"},
    "functions": ["losses.elbo.elbo"],
    "claims": [claim([10.0]).to_json(), claim([0.0, 1.0]).to_json()],
    "versions": {"python": "3", "jax": "0", "flax": "0", "optax": "0"},
    "date": "2000-01-01",
    "git": "abc",
    "device": "1 x cpu",
    "cpu_count": 2,
    "seconds": 1.0,
  }
  (tmp_path / "x.json").write_text(json.dumps(result))
  report.write(tmp_path, tmp_path / "README.md")
  table = [
    line for line in (tmp_path / "README.md").read_text().splitlines() if line.startswith("| 91")
  ]
  assert len(table) == 2 and all(line.count("|") == 9 for line in table)
  assert table[0].endswith("| 10 nats (1 seed) | yes |")
  assert table[1].endswith("| 0.5 ± 0.5 nats (2 seeds) | **no** |")
