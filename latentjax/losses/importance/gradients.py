"""Gradient estimators for q with less variance than the plain reparameterised one.

The plain gradient of log w = log p(x, z) - log q(z) with respect to q's parameters has a part
through the sample z and a part through the density's own parameters, the score, whose mean in the
ELBO is zero but whose variance is not. Both functions here compute log w themselves, so that they
can stop the score and keep the sample path.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_float, check_rank
from latentjax.losses.importance._log_weights import as_log_weights
from latentjax.losses.importance.bounds import iwae_bound
from latentjax.losses.importance.weights import normalized_weights
from latentjax.losses.routing import scale_gradient

__all__ = ["dreg_bound", "stl_bound"]

LogJointFn = Callable[[jax.Array], jax.Array]
LogQFn = Callable[[jax.Array, Any], jax.Array]


def stl_bound(z: ArrayLike, q_params: Any, log_joint_fn: LogJointFn, log_q_fn: LogQFn) -> jax.Array:
  r"""Sampled ELBO with the score of q left out of the gradient ("sticking the landing").

  .. math::

    \mathcal{L} = \frac1K \sum_k \log w_k, \qquad
    \nabla_\phi \mathcal{L} = \frac1K \sum_k
    \frac{\partial \log w_k}{\partial z_k} \frac{\partial z_k}{\partial \phi}

  The gradient is unbiased, and zero for every single sample once q is the posterior. The same trick
  inside an importance-weighted bound is biased for K > 1; `dreg_bound` is the unbiased form there.

  Args:
    z: reparameterised samples of q, shape (K, B, Z).
    q_params: parameters of q, any tree of arrays.
    log_joint_fn: log p(x, z) in nats, `log_joint_fn(z)` of shape (K, B).
    log_q_fn: log q(z|x) in nats, `log_q_fn(z, q_params)` of shape (K, B).

  Returns:
    Lower bound in nats, shape (B,), float32 or wider. Gradient flows to z and to whatever
    log_joint_fn depends on; q_params are detached.

  Raises:
    TypeError: if z or a callable's result is not floating point.
    ValueError: if z is not of rank 3, or a callable's result is not of shape (K, B).

  Example:
    >>> mean, z = jnp.zeros((1, 2)), jnp.ones((3, 1, 2))
    >>> log_q_fn = lambda z, mean: -0.5 * jnp.sum((z - mean) ** 2, -1)
    >>> stl_bound(z, mean, lambda z: -jnp.sum(z**2, -1), log_q_fn).tolist()
    [-1.0]

  References:
    Roeder, Wu & Duvenaud, Sticking the Landing: Simple, Lower-Variance Gradient Estimators for
      Variational Inference, 2017. arXiv:1703.09194
  """
  return jnp.mean(_path_log_weights(z, q_params, log_joint_fn, log_q_fn), axis=0)


def dreg_bound(
  z: ArrayLike, q_params: Any, log_joint_fn: LogJointFn, log_q_fn: LogQFn
) -> jax.Array:
  r"""`iwae_bound` with the doubly reparameterised gradient for q.

  .. math::

    \nabla_\theta = \sum_k \tilde w_k \nabla_\theta \log p_\theta(x, z_k), \qquad
    \nabla_\phi = \sum_k \tilde w_k^2
    \frac{\partial \log w_k}{\partial z_k} \frac{\partial z_k}{\partial \phi}

  Both are unbiased for the gradient of the expected bound; q's signal does not vanish as K grows,
  and it is zero for every sample once q is the posterior. log_joint_fn and log_q_fn are called
  twice with equal values; under `jit` the compiler evaluates them once.

  Args:
    z: reparameterised samples of q, shape (K, B, Z).
    q_params: parameters of q, any tree of arrays.
    log_joint_fn: log p(x, z) in nats, `log_joint_fn(z)` of shape (K, B).
    log_q_fn: log q(z|x) in nats, `log_q_fn(z, q_params)` of shape (K, B).

  Returns:
    Lower bound in nats, shape (B,), float32 or wider. Gradient flows to z with squared normalised
    weights and to whatever log_joint_fn depends on with normalised weights, both held fixed;
    q_params are detached.

  Raises:
    TypeError: if z or a callable's result is not floating point.
    ValueError: if z is not of rank 3, or a callable's result is not of shape (K, B).

  Example:
    >>> mean, z = jnp.zeros((1, 2)), jnp.ones((3, 1, 2))
    >>> log_q_fn = lambda z, mean: -0.5 * jnp.sum((z - mean) ** 2, -1)
    >>> dreg_bound(z, mean, lambda z: -jnp.sum(z**2, -1), log_q_fn).tolist()
    [-1.0]

  References:
    Tucker et al., Doubly Reparameterized Gradient Estimators for Monte Carlo Objectives, 2019,
      IWAE-DReG. arXiv:1810.04152
  """
  log_w = _path_log_weights(jax.lax.stop_gradient(z), q_params, log_joint_fn, log_q_fn)
  weights = jax.lax.stop_gradient(normalized_weights(log_w))
  # The bound's own gradient brings one factor of the weights to z, this the other.
  z = scale_gradient(z, weights[..., None])
  return iwae_bound(_path_log_weights(z, q_params, log_joint_fn, log_q_fn))


def _path_log_weights(
  z: ArrayLike, q_params: Any, log_joint_fn: LogJointFn, log_q_fn: LogQFn
) -> jax.Array:
  """Log weights that depend on q through the samples alone, shape (K, B)."""
  check_float(z=z)
  check_rank(3, z=z)
  z = jnp.asarray(z)
  log_p, log_q = log_joint_fn(z), log_q_fn(z, jax.lax.stop_gradient(q_params))
  for name, log_prob in (("log_joint_fn(z)", log_p), ("log_q_fn(z, q_params)", log_q)):
    if jnp.shape(log_prob) != z.shape[:2]:
      raise ValueError(f"{name} must have shape {z.shape[:2]}, got {jnp.shape(log_prob)}")
  return as_log_weights(log_p - log_q)
