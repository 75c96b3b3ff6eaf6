"""Distances between categorical posteriors."""

from functools import partial

import numpy as np
import pytest

from latentjax.losses.elbo import simplex_distance
from tests.contract import check_kernel

B, C = 8, 3
RNG = np.random.default_rng(0)
A, OTHER = RNG.standard_normal((2, B, C)).astype(np.float32)


def probabilities(logits):
  return np.exp(logits) / np.exp(logits).sum(1, keepdims=True)


def oracle(a, b, kind):
  """Aitchison by its pairwise log-ratios; the scaled form one class after the other."""
  p, q = probabilities(a), probabilities(b)
  if kind == "aitchison":
    pairs = [
      (np.log(p[:, i] / p[:, j]) - np.log(q[:, i] / q[:, j])) ** 2
      for i in range(C)
      for j in range(C)
    ]
    return sum(pairs) / (2 * C)
  return sum(
    (np.log(p[:, c]) / p[:, c].std() - np.log(q[:, c]) / q[:, c].std()) ** 2 for c in range(C)
  )


@pytest.mark.parametrize("kind", ["scaled", "aitchison"])
def test_contract(kind):
  wide = (1e4 * A, 1e4 * OTHER)
  flat = (0 * A, OTHER)  # a class that does not vary
  check_kernel(
    partial(simplex_distance, kind=kind),
    (A, OTHER),
    oracle=partial(oracle, kind=kind),
    batch_coupled=kind == "scaled",
    extreme=[wide, flat] if kind == "aitchison" else [wide],
    bfloat16=False,  # the variance of a class has too few digits
    rtol=1e-4,
    bad_inputs=[
      ((A, OTHER[:4]), {}, ValueError, "logits_a and logits_b must have the same shape"),
      ((A, OTHER), {"kind": "l2"}, ValueError, "kind must be one of"),
      ((A, OTHER), {"eps": 0.0}, ValueError, "eps must be in"),
    ],
  )


def test_collapse_onto_one_class_costs_more_than_a_wrong_class():
  """Two arms that both put all in one class differ little, but any doubt is magnified."""
  labels = np.arange(B) % C
  right = 4.0 * np.eye(C, dtype=np.float32)[labels]
  collapsed = 4.0 * np.eye(C, dtype=np.float32)[np.zeros(B, int)]
  doubt = 0.1 * A
  spread = simplex_distance(right, right + doubt).mean()
  assert simplex_distance(collapsed, collapsed + doubt).mean() > 10 * spread
  near = simplex_distance(right, right + doubt, kind="aitchison").mean()
  same = simplex_distance(collapsed, collapsed + doubt, kind="aitchison").mean()
  np.testing.assert_allclose(near, same, rtol=1e-3)
