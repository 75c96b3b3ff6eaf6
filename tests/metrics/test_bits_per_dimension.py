"""Bits per dimension: what levels cost under a density that is constant within each."""

import numpy as np
from contract import check_kernel

from latentjax.metrics import bits_per_dimension


def test_bits_of_levels():
  """A density on [-1, 1] in 8 bins: the code length of the bins themselves."""
  rng = np.random.default_rng(0)
  share = rng.dirichlet(np.ones(8))
  levels = rng.integers(0, 8, (16, 5))
  density = share / (2 / 8)
  nll = -np.log(density)[levels].sum(1).astype(np.float32)
  check_kernel(
    bits_per_dimension,
    [nll],
    oracle=np.mean(-np.log2(share)[levels], axis=1),
    kwargs={"num_dims": 5, "bin_width": 2 / 8},
    bad_inputs=[
      ([levels[:, 0]], {}, TypeError, "nll must be a floating"),
      ([nll], {"num_dims": 0}, ValueError, "num_dims must be a positive"),
      ([nll], {"bin_width": 0.0}, ValueError, "bin_width must be in"),
    ],
  )
