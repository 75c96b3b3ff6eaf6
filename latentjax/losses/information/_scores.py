"""Critic scores of all pairs of a batch, of which a device holds its own rows."""

import math

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_float, check_rank, wide_dtype
from latentjax.collectives import row_offset


def split_scores(
  scores: ArrayLike, axis_name: str | None
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """(scores in a wide dtype, those of joint samples (B,), which of them are of product samples)."""
  check_float(scores=scores)
  check_rank(2, scores=scores)
  scores = jnp.asarray(scores, wide_dtype(scores))
  num_rows, num_columns = scores.shape
  batch_size = num_rows * (1 if axis_name is None else jax.lax.axis_size(axis_name))
  if num_columns != batch_size:
    raise ValueError(
      f"scores must have one column for each of the {batch_size} rows of the whole batch, "
      f"got shape {scores.shape}"
    )
  if batch_size < 2:
    raise ValueError(f"scores must have at least 2 rows, got shape {scores.shape}")
  own = row_offset(num_rows, axis_name) + jnp.arange(num_rows)
  is_joint = own[:, None] == jnp.arange(num_columns)
  return scores, jnp.sum(scores, axis=1, where=is_joint), ~is_joint


def product_mean(values: jax.Array, is_product: jax.Array) -> jax.Array:
  """Mean of every row's product samples, shape (B,)."""
  return jnp.sum(values, axis=1, where=is_product) / (values.shape[1] - 1)


def product_log_mean_exp(values: jax.Array, is_product: jax.Array) -> jax.Array:
  """Logarithm of the mean exponential of every row's product samples, shape (B,)."""
  return jax.nn.logsumexp(values, axis=1, where=is_product) - math.log(values.shape[1] - 1)
