"""How much information q(z|x) may carry: capacities, free bits and balanced divergences."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_float, check_positive_int, check_range, check_rank, wide_dtype
from latentjax.collectives import device_mean
from latentjax.losses.routing import scale_gradient

__all__ = ["balanced_kl", "capacity_loss", "constrained_kl_loss", "free_bits"]


def capacity_loss(kl: ArrayLike, *, capacity: ArrayLike, gamma: ArrayLike = 1000.0) -> jax.Array:
  r"""Distance of the divergence from a capacity that is raised during training; to be minimised.

  .. math:: \gamma \, | KL(q(z|x) \| p(z)) - C |

  Elementwise: give it the divergence of every example, as in the paper's equation, or the batch mean
  to let examples differ in what they take. A discrete latent variable with K values has a capacity
  of at most log K.

  Args:
    kl: divergence in nats, any shape.
    capacity: C in nats, at least 0; the paper raises it from 0 to 25. Can be traced.
    gamma: weight, at least 0. Can be traced.

  Returns:
    Loss in nats, the shape of kl, float32 or wider. Gradient flows to kl, with the sign of
    KL - C; it is zero where they are equal.

  Raises:
    TypeError: if kl is not floating point.
    ValueError: if capacity or gamma is negative.

  Example:
    >>> capacity_loss(jnp.array([4.0, 7.0]), capacity=5.0, gamma=10.0).tolist()
    [10.0, 20.0]

  References:
    Burgess et al., Understanding disentangling in beta-VAE, 2018. arXiv:1804.03599
    Dupont, Learning Disentangled Joint Continuous and Discrete Representations (JointVAE), 2018.
      arXiv:1804.00104
  """
  check_float(kl=kl)
  check_range(low=0.0, capacity=capacity, gamma=gamma)
  dtype = wide_dtype(kl)
  return jnp.asarray(gamma, dtype) * jnp.abs(jnp.asarray(kl, dtype) - jnp.asarray(capacity, dtype))


def constrained_kl_loss(
  kl: ArrayLike, multiplier_logit: ArrayLike, *, capacity: ArrayLike
) -> jax.Array:
  r"""Divergence held at a capacity by a learned Lagrange multiplier; to be minimised.

  .. math:: \min_{q} \max_{\beta \ge 0} \; \beta \, (KL - C), \qquad \beta = \log(1 + e^{b})

  One optimiser descends both: the gradient of b is reversed, so beta rises while the divergence
  exceeds C and falls otherwise.

  Args:
    kl: divergence in nats, any shape.
    multiplier_logit: b, a scalar that is trained along.
    capacity: C in nats, at least 0. Can be traced.

  Returns:
    Loss in nats, the shape of kl, float32 or wider. Gradient flows to kl, times beta, and reversed
    to multiplier_logit.

  Raises:
    TypeError: if kl or multiplier_logit is not floating point.
    ValueError: if multiplier_logit is not a scalar or the capacity is negative.

  Example:
    >>> loss = lambda b: constrained_kl_loss(jnp.array(9.0), b, capacity=5.0)
    >>> float(loss(0.0)), float(jax.grad(loss)(0.0))  # 4 log 2, -4 / 2
    (2.77258..., -2.0)

  References:
    Battenberg et al., Effective Use of Variational Embedding Capacity in Expressive End-to-End
      Speech Synthesis (Capacitron), 2019. arXiv:1906.03402
  """
  check_float(kl=kl, multiplier_logit=multiplier_logit)
  check_rank(0, multiplier_logit=multiplier_logit)
  check_range(low=0.0, capacity=capacity)
  dtype = wide_dtype(kl, multiplier_logit)
  beta = jax.nn.softplus(scale_gradient(jnp.asarray(multiplier_logit, dtype), -1.0))
  return beta * (jnp.asarray(kl, dtype) - jnp.asarray(capacity, dtype))


def free_bits(
  kl: ArrayLike, *, min_nats: ArrayLike, group_size: int = 1, axis_name: str | None = None
) -> jax.Array:
  r"""Divergence in which every group of latent variables has some nats for free.

  .. math:: \sum_{g} \max\Big(\lambda, \; \frac1B \sum_{b} KL_{bg}\Big)

  The maximum is decided by the batch mean of a group, as in the paper; each example's value keeps
  its own divergence in the groups above lambda and has lambda in the others, so that the mean of the
  result is the formula.

  Args:
    kl: divergence of every latent variable in nats, shape (B, D).
    min_nats: lambda, at least 0, per group. Can be traced.
    group_size: number of neighbouring latent variables in a group; it divides D. 1 is per dimension.
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`.

  Returns:
    Divergence in nats, shape (B,), float32 or wider. Gradient flows to the groups whose mean is
    above lambda; it is zero in the others.

  Raises:
    TypeError: if kl is not floating point or group_size is not an integer.
    ValueError: if kl is not of rank 2, min_nats is negative, or group_size does not divide D.

  Example:
    >>> free_bits(jnp.array([[1.0, 0.2], [3.0, 0.4]]), min_nats=0.5).tolist()
    [1.5, 3.5]

  References:
    Kingma et al., Improving Variational Inference with Inverse Autoregressive Flow, 2016 (free bits).
      arXiv:1606.04934
  """
  check_float(kl=kl)
  check_rank(2, kl=kl)
  check_range(low=0.0, min_nats=min_nats)
  check_positive_int(group_size=group_size)
  kl = jnp.asarray(kl, wide_dtype(kl))
  if kl.shape[1] % group_size:
    raise ValueError(f"group_size must divide the {kl.shape[1]} columns of kl, got {group_size}")
  groups = jnp.sum(kl.reshape(kl.shape[0], -1, group_size), axis=2)
  mean = device_mean(jnp.mean(jax.lax.stop_gradient(groups), axis=0), axis_name)
  min_nats = jnp.asarray(min_nats, kl.dtype)
  return jnp.sum(jnp.where(mean > min_nats, groups, min_nats), axis=1)


def balanced_kl(
  q_params: Any, p_params: Any, kl_fn: Callable[[Any, Any], jax.Array], *, balance: float = 0.8
) -> jax.Array:
  r"""Divergence whose gradient trains a learned prior faster than the posterior.

  .. math::

    \alpha \, KL(\mathrm{sg}[q] \| p) + (1 - \alpha) \, KL(q \| \mathrm{sg}[p])

  The value is the divergence itself, whatever the balance.

  Args:
    q_params: parameters of the posterior, any tree of arrays.
    p_params: parameters of the prior, any tree of arrays.
    kl_fn: divergence in nats, `kl_fn(q_params, p_params)` of shape (B,).
    balance: alpha, the prior's share, in [0, 1].

  Returns:
    Divergence in nats, what kl_fn returns. Gradient flows to p_params times alpha and to q_params
    times 1 - alpha.

  Raises:
    ValueError: if balance is not in [0, 1].

  Example:
    >>> kl_fn = lambda q, p: 0.5 * (q - p) ** 2
    >>> grads = jax.grad(balanced_kl, argnums=(0, 1))(3.0, 2.0, kl_fn, balance=0.75)
    >>> [float(grad) for grad in grads]
    [0.25, -0.75]

  References:
    Hafner et al., Mastering Atari with Discrete World Models, 2021 (KL balancing). arXiv:2010.02193
  """
  check_range(0.0, 1.0, balance=balance)
  q_params = jax.tree.map(lambda array: scale_gradient(array, 1 - balance), q_params)
  p_params = jax.tree.map(lambda array: scale_gradient(array, balance), p_params)
  return kl_fn(q_params, p_params)
