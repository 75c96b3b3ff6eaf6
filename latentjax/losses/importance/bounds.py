"""Importance-weighted bounds on log p(x): IWAE, Renyi, CUBO, and a test likelihood in blocks."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_float, check_positive_int, check_range, wide_dtype
from latentjax.losses.importance._log_weights import as_log_weights

__all__ = ["cubo_bound", "iwae_bound", "log_marginal_bound", "renyi_bound"]

# Below this distance of alpha from 1 the log of the mean power is taken by log1p and expm1.
_NEAR_ONE = 0.1


def iwae_bound(log_w: ArrayLike) -> jax.Array:
  r"""Importance-weighted lower bound on log p(x) per example, in nats; to be maximised.

  .. math:: \mathcal{L}_K(x) = \log \frac1K \sum_{k=1}^K w_k

  Its expectation is at most log p(x), rises with K and tends to log p(x); for K = 1 it is the ELBO
  with sampled divergence.

  Args:
    log_w: log importance weights, shape (K, B).

  Returns:
    Lower bound in nats, shape (B,), float32 or wider. Gradient flows to every weight, in proportion
    to the normalised weights.

  Raises:
    TypeError: if log_w is not floating point.
    ValueError: if log_w is not of rank 2, or K is 0.

  Example:
    >>> iwae_bound(jnp.array([[0.0], [jnp.log(3.0)]])).tolist()  # log 2
    [0.693147...]

  References:
    Burda et al., Importance Weighted Autoencoders, 2016. arXiv:1509.00519
  """
  log_w = as_log_weights(log_w)
  return jax.nn.logsumexp(log_w, axis=0) - math.log(log_w.shape[0])


def renyi_bound(log_w: ArrayLike, *, alpha: float) -> jax.Array:
  r"""Variational Renyi bound of order alpha per example, in nats.

  .. math:: \hat{\mathcal{L}}_\alpha(x) = \frac{1}{1-\alpha} \log \frac1K \sum_k w_k^{1-\alpha}

  For K to infinity it is log p(x) - D_alpha(q || p(z|x)) and falls as alpha rises: alpha = 0 is the
  evidence (and `iwae_bound` at any K), alpha = 1 the ELBO, to which the formula is continued. The
  mean of the estimate rises with K for alpha < 1 and falls for alpha > 1, so the estimate is biased
  towards the ELBO. For alpha >= 0 it is, in expectation, a lower bound on log p(x) at every K; for
  alpha < 0 it is an upper bound only in the limit.

  Args:
    log_w: log importance weights, shape (K, B).
    alpha: order, any finite number.

  Returns:
    Bound in nats, shape (B,), float32 or wider. Gradient flows to every weight, in proportion to
    w^(1 - alpha).

  Raises:
    TypeError: if log_w is not floating point.
    ValueError: if log_w is not of rank 2, K is 0, or alpha is not finite.

  Example:
    >>> log_w = jnp.array([[0.0], [jnp.log(3.0)]])
    >>> [round(float(renyi_bound(log_w, alpha=a)[0]), 3) for a in (-1, 0, 1, 2)]
    [0.805, 0.693, 0.549, 0.405]

  References:
    Li & Turner, Renyi Divergence Variational Inference, 2016, theorem 1 (order of the bounds) and
      theorem 2 (bias of the estimate). arXiv:1602.02311
  """
  log_w = as_log_weights(log_w)
  check_range(-math.inf, math.inf, strict=True, alpha=alpha)
  power = 1 - alpha
  if power == 0:
    return jnp.mean(log_w, axis=0)
  # Powers of w / max(w), so that none exceeds 1. The result does not depend on the shift.
  extreme = jnp.max if power > 0 else jnp.min
  shift = jax.lax.stop_gradient(extreme(log_w, axis=0))
  powers = power * (log_w - shift)
  if abs(power) < _NEAR_ONE:
    # Keeps the digits of a logarithm that is about to be divided by a small number.
    return shift + jnp.log1p(jnp.mean(jnp.expm1(powers), axis=0)) / power
  return shift + (jax.nn.logsumexp(powers, axis=0) - math.log(log_w.shape[0])) / power


def cubo_bound(log_w: ArrayLike, *, order: float = 2.0) -> jax.Array:
  r"""Chi upper bound on log p(x) per example, in nats; to be minimised over q.

  .. math:: \mathrm{CUBO}_n(x) = \frac1n \log \frac1K \sum_{k=1}^K w_k^n \ge \log p(x)

  The inequality holds for the expectation of w^n. Its estimate from K samples is biased downward
  (Jensen), most at small K, where it can lie below log p(x); exp(n CUBO_n) is unbiased. It is
  `renyi_bound` of order 1 - n, rises with n, and is tight where q is the posterior. The expectation
  is infinite where q has lighter tails than w^n allows.

  Args:
    log_w: log importance weights of reparameterised samples, shape (K, B).
    order: n, at least 1; 2 is the chi-square divergence.

  Returns:
    Estimate of the upper bound in nats, shape (B,), float32 or wider. Gradient flows to every
    weight, in proportion to w^n. For samples without a gradient see `chi2_proposal_loss`.

  Raises:
    TypeError: if log_w is not floating point.
    ValueError: if log_w is not of rank 2, K is 0, or the order is below 1.

  Example:
    >>> cubo_bound(jnp.array([[0.0], [jnp.log(3.0)]])).tolist()  # log(5) / 2
    [0.804718...]

  References:
    Dieng et al., Variational Inference via chi Upper Bound Minimization (CUBO), 2017.
      arXiv:1611.00328
  """
  check_range(low=1.0, order=order)
  return renyi_bound(log_w, alpha=1 - order)


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
    Burda et al., Importance Weighted Autoencoders, 2016 (5,000 samples).
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
