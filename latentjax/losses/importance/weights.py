"""Self-normalised importance weights, how many samples they are worth, and the chi-square of q."""

import math

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.losses.importance._log_weights import as_log_weights
from latentjax.losses.importance.bounds import cubo_bound

__all__ = [
  "chi2_divergence_bound",
  "chi2_proposal_loss",
  "effective_sample_size",
  "normalized_weights",
]


def normalized_weights(log_w: ArrayLike) -> jax.Array:
  r"""Self-normalised importance weights.

  .. math:: \tilde w_k = \frac{w_k}{\sum_{j=1}^K w_j}

  Args:
    log_w: log importance weights, shape (K, B).

  Returns:
    Weights in [0, 1] that sum to 1 over axis 0, shape (K, B), float32 or wider. Gradient flows to
    log_w.

  Raises:
    TypeError: if log_w is not floating point.
    ValueError: if log_w is not of rank 2, or K is 0.

  Example:
    >>> normalized_weights(jnp.zeros((2, 1)))[:, 0].tolist()
    [0.5, 0.5]

  References:
    Burda et al., Importance Weighted Autoencoders, 2016. arXiv:1509.00519
  """
  return jax.nn.softmax(as_log_weights(log_w), axis=0)


def effective_sample_size(log_w: ArrayLike) -> jax.Array:
  r"""Number of equally weighted samples that the weighted ones are worth, by Kish's formula.

  .. math:: \mathrm{ESS} = \frac{(\sum_k w_k)^2}{\sum_k w_k^2} = \frac{1}{\sum_k \tilde w_k^2}

  Args:
    log_w: log importance weights, shape (K, B).

  Returns:
    A number in [1, K] per example, shape (B,), float32 or wider. Gradient flows to log_w.

  Raises:
    TypeError: if log_w is not floating point.
    ValueError: if log_w is not of rank 2, or K is 0.

  Example:
    >>> effective_sample_size(jnp.zeros((4, 1))).tolist()
    [4.0]

  References:
    Kong, A Note on Importance Sampling using Standardized Weights, 1992.
    Owen, Monte Carlo theory, methods and examples, 2013 (effective sample size).
  """
  return 1 / jnp.sum(jnp.square(normalized_weights(log_w)), axis=0)


def chi2_divergence_bound(log_w: ArrayLike) -> jax.Array:
  r"""Forward chi-square divergence of q, as log(1 + chi2) in nats: a bound on KL(p(z|x) || q).

  .. math::

    \log \frac{\frac1K \sum_k w_k^2}{(\frac1K \sum_k w_k)^2}
    \approx \log(1 + \chi^2(p(z|x) \| q)) \ge KL(p(z|x) \| q)

  Twice the gap between CUBO_2 and log p(x), with log p(x) replaced by `iwae_bound`; also
  log K - log ESS, so it lies in [0, log K]. The inequality is that of the exact values. The estimate
  is biased, downward as soon as chi2 is not small against K.

  Args:
    log_w: log importance weights, shape (K, B).

  Returns:
    Estimate in nats, shape (B,), float32 or wider. Gradient flows to log_w; to train q on samples
    without a gradient use `chi2_proposal_loss`.

  Raises:
    TypeError: if log_w is not floating point.
    ValueError: if log_w is not of rank 2, or K is 0.

  Example:
    >>> chi2_divergence_bound(jnp.array([[0.0], [jnp.log(3.0)]])).tolist()  # log 5/4
    [0.22314...]

  References:
    Li, Wang, Li & Wu, Forward chi-square Divergence Based Variational Importance Sampling, 2024.
      arXiv:2311.02516
  """
  log_ess = jnp.log(effective_sample_size(log_w))
  return math.log(jnp.shape(log_w)[0]) - log_ess


def chi2_proposal_loss(log_w: ArrayLike) -> jax.Array:
  r"""Second moment of the weights in log space, to train the proposal q; to be minimised.

  .. math::

    \ell = \log \frac1K \sum_k w_k^2, \qquad
    \nabla_\phi \ell = -\sum_k \frac{w_k^2}{\sum_j w_j^2} \nabla_\phi \log q_\phi(z_k|x)

  Up to 2 log p(x), which does not depend on q, it is log(1 + chi2(p(z|x) || q)). The value is twice
  CUBO_2; the gradient is that of the expectation over samples that do not carry one, where the
  samples' own dependence on q cancels half of the derivative of log w^2. So call it with z detached
  and log p(x, z) detached; the generative model ascends `iwae_bound` of the same weights. Value and
  gradient are self-normalised estimates: consistent, biased at finite K (the value downward).

  Args:
    log_w: log importance weights at detached samples, shape (K, B).

  Returns:
    Loss in nats, shape (B,), float32 or wider. The gradient with respect to log_w is the normalised
    squared weights, half of the derivative of the value.

  Raises:
    TypeError: if log_w is not floating point.
    ValueError: if log_w is not of rank 2, or K is 0.

  Example:
    >>> chi2_proposal_loss(jnp.array([[0.0], [jnp.log(3.0)]])).tolist()  # log 5
    [1.609437...]

  References:
    Li, Wang, Li & Wu, Forward chi-square Divergence Based Variational Importance Sampling, 2024.
      arXiv:2311.02516
  """
  half = cubo_bound(log_w, order=2.0)
  return half + jax.lax.stop_gradient(half)
