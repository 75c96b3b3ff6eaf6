"""Importance-weighted bounds on log p(x).

They take log importance weights `log_w[k, b]` = log p(x_b, z_kb) - log q(z_kb | x_b) with z_kb
drawn from q.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_float, check_positive_int, check_rank, wide_dtype

__all__ = ["iwae_bound", "log_marginal_bound"]


def iwae_bound(log_w: ArrayLike) -> jax.Array:
  r"""Importance-weighted lower bound on log p(x) per example, in nats; to be maximised.

  .. math:: \mathcal{L}_K(x) = \log \frac1K \sum_{k=1}^K w_k

  Its expectation is at most log p(x), rises with K and tends to log p(x); for K = 1 it is the ELBO
  with sampled divergence.

  Args:
    log_w: log importance weights, shape (K, B).

  Returns:
    Lower bound in nats, shape (B,), float32 or wider. Gradient flows to every weight, in proportion
    to the normalised weights (section 3).

  Raises:
    TypeError: if log_w is not floating point.
    ValueError: if log_w is not of rank 2, or K is 0.

  Example:
    >>> iwae_bound(jnp.array([[0.0], [jnp.log(3.0)]])).tolist()  # log 2
    [0.693147...]

  References:
    Burda et al., Importance Weighted Autoencoders, 2016, eq. 8. arXiv:1509.00519
  """
  check_float(log_w=log_w)
  check_rank(2, log_w=log_w)
  log_w = jnp.asarray(log_w, wide_dtype(log_w))
  if log_w.shape[0] == 0:
    raise ValueError(f"log_w must have at least one sample along axis 0, got shape {log_w.shape}")
  return jax.nn.logsumexp(log_w, axis=0) - math.log(log_w.shape[0])


def log_marginal_bound(
  key: jax.Array,
  log_w_fn: Callable[[jax.Array, int], jax.Array],
  *,
  num_samples: int = 5000,
  block_size: int = 100,
) -> jax.Array:
  r"""`iwae_bound` with thousands of samples, drawn block by block, to estimate a test likelihood.

  .. math:: \log p(x) \ge E\left[\log \frac1K \sum_{k=1}^K w_k\right], \quad K = \text{num\_samples}

  Memory is that of one block, and one number per block and example. The bound does not depend on
  `block_size` except through which samples are drawn.

  Args:
    key: random key; block i uses `fold_in(key, i)`.
    log_w_fn: draws log importance weights, `log_w_fn(key, num_samples)` of shape (num_samples, B).
    num_samples: number of samples in all, K.
    block_size: number of samples at a time; the last block is smaller if it does not divide
      `num_samples`.

  Returns:
    Lower bound in nats, shape (B,), float32 or wider. Gradient flows to whatever log_w_fn depends
    on.

  Raises:
    TypeError: if the weights are not floating point, or a size is not an integer.
    ValueError: if a size is below 1 or the weights are not of shape (num_samples, B).

  Example:
    >>> log_w_fn = lambda key, num_samples: jax.random.normal(key, (num_samples, 2)) - 0.5
    >>> log_marginal_bound(jax.random.key(0), log_w_fn, num_samples=1000).shape  # near 0
    (2,)

  References:
    Burda et al., Importance Weighted Autoencoders, 2016, eq. 8, section 5 (5,000 samples).
      arXiv:1509.00519
  """
  check_positive_int(num_samples=num_samples, block_size=block_size)
  block_size = min(block_size, num_samples)
  num_blocks, rest = divmod(num_samples, block_size)

  def log_sum(index: ArrayLike, size: int) -> jax.Array:
    log_w = log_w_fn(jax.random.fold_in(key, index), size)
    check_float(log_w=log_w)
    if log_w.ndim != 2 or log_w.shape[0] != size:
      raise ValueError(f"log_w must have shape ({size}, B), got {log_w.shape}")
    return jax.nn.logsumexp(log_w.astype(wide_dtype(log_w)), axis=0)

  log_sums = jax.lax.map(lambda index: log_sum(index, block_size), jnp.arange(num_blocks))
  if rest:
    log_sums = jnp.concatenate([log_sums, log_sum(num_blocks, rest)[None]])
  return jax.nn.logsumexp(log_sums, axis=0) - math.log(num_samples)
