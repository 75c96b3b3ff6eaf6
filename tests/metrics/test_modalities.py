"""The gap between two modalities against numpy and scikit-learn, and where it is known."""

import jax
import numpy as np
from contract import check_kernel
from scipy.spatial import distance
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from latentjax.metrics import modality_gap

N, D = 16, 3
RNG = np.random.default_rng(0)
A = RNG.standard_normal((N, D)) * [0.3, 1, 1] + [0.3, 0, 0]
B = RNG.standard_normal((N, D)) * [0.3, 1, 1] - [0.3, 0, 0]


SHARES = np.array([1.0, 2.0, 4.0], np.float32)


def scalars(a, b, axis_name=None):
  gap = modality_gap(a, b, axis_name=axis_name)
  return gap._replace(explained_variance=gap.explained_variance @ SHARES)


def oracle(a, b):
  a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (a, b))
  scores = []
  for fit, test in (([0, 2], [1, 2]), ([1, 2], [0, 2])):
    rows = [np.concatenate([x[start::step] for x in (a, b)]) for start, step in (fit, test)]
    labels = np.repeat([0, 1], N // 2)
    lda = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=1e-3).fit(rows[0], labels)
    scores.append(lda.score(rows[1], labels))
  potential = lambda d: np.log(np.mean(np.exp(-2 * d**2)))
  return (
    distance.euclidean(a.mean(0), b.mean(0)),
    np.mean(scores),
    potential(distance.pdist(a)),
    potential(distance.pdist(b)),
    potential(distance.cdist(a, b)[~np.eye(N, dtype=bool)]),
    np.cumsum(PCA().fit(np.concatenate([a, b])).explained_variance_ratio_) @ SHARES,
  )


def test_modality_gap():
  check_kernel(
    scalars,
    (A, B),
    oracle=oracle,
    detached=(0, 1),
    batch_coupled=True,
    bfloat16=False,
    extreme=[(0 * A, 0 * B), (1e30 * A, -1e-30 * B)],
    bad_inputs=[
      ((A.astype(int), B), {}, TypeError, "a must be a floating point"),
      ((A[0], B[0]), {}, ValueError, "a must have 2 axes"),
      ((A, B[:5]), {}, ValueError, "a and b must have the same shape"),
      ((A[:3], B[:3]), {}, ValueError, "a must have at least 4 rows"),
    ],
  )


def test_none_between_equal_modalities_and_all_between_opposite_ones():
  run = jax.jit(modality_gap)
  same, opposite = run(A, A), run(np.abs(A), -np.abs(A))
  assert same.centroid_distance == 0 and same.separability == 0.5
  assert opposite.separability == 1 and opposite.centroid_distance > 1.5
