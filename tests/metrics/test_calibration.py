"""Expected calibration error against a loop over bins, and on predictions of known calibration."""

from functools import partial

import jax
import numpy as np
from contract import check_kernel

from latentjax.metrics import expected_calibration_error

B, C = 16, 3
RNG = np.random.default_rng(0)
PROBS = RNG.dirichlet(np.ones(C), B)
LABELS = RNG.integers(C, size=B)


def oracle(probs, labels, num_bins):
  error = 0.0
  for m in range(num_bins):
    rows = [
      (row.max(), float(row.argmax() == label))
      for row, label in zip(probs, labels)
      if m < round(row.max() * num_bins, 5) <= m + 1
    ]
    if rows:
      error += len(rows) / len(probs) * abs(np.subtract(*np.mean(rows, axis=0)))
  return error


def test_against_a_loop_over_bins():
  args = (PROBS, LABELS)
  check_kernel(
    expected_calibration_error,
    args,
    kwargs={"num_bins": 4},
    oracle=oracle,
    batch_coupled=True,
    bfloat16=False,  # which bin a probability is in is a matter of its last digits
    bad_inputs=[
      ((LABELS[:, None], LABELS), {}, TypeError, "probs must be a floating point"),
      ((PROBS[0], LABELS), {}, ValueError, "probs must have 2 axes"),
      ((PROBS, PROBS[:, 0]), {}, TypeError, "labels must be integers"),
      ((PROBS, LABELS[:4]), {}, ValueError, "labels must have one entry for each row"),
      (args, {"num_bins": 0}, ValueError, "num_bins must be a positive"),
    ],
  )


def test_calibrated_and_overconfident():
  """Labels drawn from the probabilities, and a classifier that is always sure."""
  probs = RNG.dirichlet(np.ones(4), 20_000).astype(np.float32)
  probs[:4] = [[0.5, 0.5, 0, 0], [0.2, 0.8, 0, 0], [0.2, 0.4, 0.4, 0], [1, 0, 0, 0]]  # on edges
  labels = (probs.cumsum(1) < RNG.uniform(size=(len(probs), 1))).sum(1)
  error = jax.jit(partial(expected_calibration_error, num_bins=10))
  assert error(probs, labels) < 0.02
  np.testing.assert_allclose(error(probs, labels), oracle(probs, labels, 10), rtol=1e-4)
  sure = np.eye(4, dtype=np.float32)[probs.argmax(1)]
  np.testing.assert_allclose(error(sure, labels), 1 - np.mean(probs.argmax(1) == labels), rtol=1e-5)
