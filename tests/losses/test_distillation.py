"""Alignment with another network's features."""

import numpy as np
from contract import check_kernel

from latentjax.losses.distillation import repa_loss

RNG = np.random.default_rng(0)
TOKENS, TARGET = (RNG.standard_normal((8, 4, 3)).astype(np.float32) for _ in range(2))


def angles(projected, target):
  """Cosines from the lengths of the sides of triangles."""
  length = lambda x: np.sqrt((x**2).sum(-1))
  a, b, c = length(projected), length(target), length(projected - target)
  return -((a**2 + b**2 - c**2) / (2 * a * b)).mean(-1)


def test_repa_loss_contract():
  check_kernel(
    repa_loss,
    (TOKENS, TARGET),
    oracle=angles,
    detached=(1,),
    extreme=[(np.zeros_like(TOKENS), TARGET), (1e4 * TOKENS, 1e-4 * TARGET)],
    bad_inputs=[
      ((TOKENS, TARGET[:, 1:]), {}, ValueError, "must have the same shape"),
      ((TOKENS[0], TARGET[0]), {}, ValueError, "projected must have 3 axes"),
      ((TOKENS, TARGET.astype(int)), {}, TypeError, "target must be a floating point array"),
    ],
  )
