"""Bounds between the ELBO and IWAE, which keep the encoder's gradient from drowning in noise."""

import math

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_alike, check_range
from latentjax.losses.importance._log_weights import as_log_weights
from latentjax.losses.importance.bounds import iwae_bound

__all__ = ["ciwae_bound", "miwae_bound", "piwae_bound"]


def miwae_bound(log_w: ArrayLike) -> jax.Array:
  r"""Mean of M importance-weighted bounds of K samples each, in nats; to be maximised.

  .. math:: \mathcal{L}_{M,K}(x) = \frac1M \sum_{m=1}^M \log \frac1K \sum_{k=1}^K w_{mk}

  Its expectation is that of `iwae_bound` with K samples, so at most log p(x); the mean over groups
  lowers its variance and that of the encoder's gradient. M = 1 is IWAE, K = 1 the ELBO.

  Args:
    log_w: log importance weights, shape (M, K, B).

  Returns:
    Lower bound in nats, shape (B,), float32 or wider. Gradient flows to every weight.

  Raises:
    TypeError: if log_w is not floating point.
    ValueError: if log_w is not of rank 3, or M or K is 0.

  Example:
    >>> log_w = jnp.log(jnp.array([[[1.0], [3.0]], [[4.0], [4.0]]]))
    >>> miwae_bound(log_w).tolist()  # (log 2 + log 4) / 2
    [1.039720...]

  References:
    Rainforth et al., Tighter Variational Bounds are Not Necessarily Better, 2018, MIWAE.
      arXiv:1802.04537
  """
  log_w = as_log_weights(log_w, rank=3)
  log_means = jax.nn.logsumexp(log_w, axis=1) - math.log(log_w.shape[1])
  return jnp.mean(log_means, axis=0)


def ciwae_bound(log_w: ArrayLike, *, beta: ArrayLike) -> jax.Array:
  r"""Convex combination of the ELBO and the importance-weighted bound, in nats; to be maximised.

  .. math:: \beta \, \frac1K \sum_k \log w_k + (1 - \beta) \log \frac1K \sum_k w_k

  In expectation a lower bound on log p(x); both terms use the same samples.

  Args:
    log_w: log importance weights, shape (K, B).
    beta: weight of the ELBO, in [0, 1]; 0.05 in the paper's comparison. Can be traced.

  Returns:
    Lower bound in nats, shape (B,), float32 or wider. Gradient flows to every weight.

  Raises:
    TypeError: if log_w is not floating point.
    ValueError: if log_w is not of rank 2, K is 0, or beta is not in [0, 1].

  Example:
    >>> ciwae_bound(jnp.log(jnp.array([[1.0], [3.0]])), beta=0.5).tolist()
    [0.621226...]

  References:
    Rainforth et al., Tighter Variational Bounds are Not Necessarily Better, 2018, CIWAE.
      arXiv:1802.04537
  """
  check_range(0.0, 1.0, beta=beta)
  log_w = as_log_weights(log_w)
  beta = jnp.asarray(beta, log_w.dtype)
  return beta * jnp.mean(log_w, axis=0) + (1 - beta) * iwae_bound(log_w)


def piwae_bound(log_w_model: ArrayLike, log_w_inference: ArrayLike) -> jax.Array:
  r"""IWAE of all M K samples for the generative network, MIWAE for the inference network.

  .. math::

    \nabla_\theta = \nabla_\theta \log \frac{1}{MK} \sum_{m,k} w_{mk}, \qquad
    \nabla_\phi = \nabla_\phi \frac1M \sum_m \log \frac1K \sum_k w_{mk}

  Both arguments are the log weights of the same samples. `log_w_model` is computed from detached
  samples and detached inference parameters, `log_w_inference` from detached generative parameters;
  their values are then equal and their gradients routed by one backward pass. Under `jit` the
  compiler evaluates what the two have in common once.

  Args:
    log_w_model: log importance weights that depend on the generative network, shape (M, K, B).
    log_w_inference: log importance weights that depend on the inference network, the same shape.

  Returns:
    `iwae_bound` of log_w_model over all M K samples, a lower bound in nats, shape (B,), float32 or
    wider. The gradient with respect to log_w_model is that of this bound, with respect to
    log_w_inference that of `miwae_bound`.

  Raises:
    TypeError: if an argument is not floating point.
    ValueError: if the shapes differ, are not of rank 3, or M or K is 0.

  Example:
    >>> log_w = jnp.log(jnp.array([[[1.0], [3.0]], [[4.0], [4.0]]]))
    >>> piwae_bound(log_w, log_w).tolist()  # log 3
    [1.098612...]

  References:
    Rainforth et al., Tighter Variational Bounds are Not Necessarily Better, 2018, PIWAE.
      arXiv:1802.04537
  """
  check_alike(3, log_w_model=log_w_model, log_w_inference=log_w_inference)
  log_w_model = as_log_weights(log_w_model, rank=3)
  inference = miwae_bound(log_w_inference)
  generative = iwae_bound(log_w_model.reshape(-1, log_w_model.shape[-1]))
  return generative + (inference - jax.lax.stop_gradient(inference))
