"""What every function of log importance weights checks."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_float, check_rank, wide_dtype


def as_log_weights(log_w: ArrayLike, rank: int = 2) -> jax.Array:
  """Log weights in float32 or wider, with K >= 1 samples (and M >= 1 groups) before the batch.

  Raises:
    TypeError: if log_w is not floating point.
    ValueError: if log_w does not have `rank` axes, or is empty.
  """
  check_float(log_w=log_w)
  check_rank(rank, log_w=log_w)
  return jnp.asarray(log_w, wide_dtype(log_w))
