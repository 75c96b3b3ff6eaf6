"""Information bottlenecks and Bayesian inference by variational bounds, per example."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import (
  check_float,
  check_positive_int,
  check_range,
  check_rank,
  check_same_shape,
  wide_dtype,
)

__all__ = ["bayes_loss", "ceb_loss", "vib_loss"]


def vib_loss(nll: ArrayLike, kl: ArrayLike, *, beta: ArrayLike = 1e-3) -> jax.Array:
  r"""Variational information bottleneck loss, in nats; to be minimised.

  .. math:: -E_{q(z|x)}[\log q(y|z)] + \beta \, KL(q(z|x) \,\|\, r(z))

  Its mean is an upper bound on beta I(Z; X) - I(Z; Y) + H(Y) for any decoder q(y|z) and any marginal
  r(z). beta = 0 is the empirical risk of a stochastic network.

  Args:
    nll: -log q(y|z) in nats at samples of z, or its mean over samples, shape (B,) or any other.
    kl: divergence of q(z|x) from r(z) in nats, exact or sampled, the shape of nll.
    beta: weight of the divergence, at least 0; the paper scans it on a logarithmic scale and shows
      1e-3 for MNIST. Can be traced.

  Returns:
    Loss in nats, the shape of the arguments, float32 or wider. Gradient flows to both arguments.

  Raises:
    TypeError: if an argument is not floating point.
    ValueError: if the shapes differ or beta is negative.

  Example:
    >>> vib_loss(jnp.array([0.5, 1.0]), jnp.array([4.0, 2.0]), beta=0.25).tolist()
    [1.5, 1.5]

  References:
    Alemi et al., Deep Variational Information Bottleneck, 2017. arXiv:1612.00410
    Alemi, Morningstar, Poole, Fischer & Dillon, VIB is Half Bayes, 2020. arXiv:2011.08711
  """
  check_float(nll=nll, kl=kl)
  check_same_shape(nll=nll, kl=kl)
  check_range(low=0.0, beta=beta)
  dtype = wide_dtype(nll, kl)
  return jnp.asarray(nll, dtype) + jnp.asarray(beta, dtype) * jnp.asarray(kl, dtype)


def bayes_loss(nll: ArrayLike, kl_params: ArrayLike, *, num_examples: int) -> jax.Array:
  r"""Variational Bayesian loss of a network with uncertain parameters, in nats; to be minimised.

  .. math:: -E_{q(\theta)}[\log p(y|x, \theta)] + \frac{1}{N} \, KL(q(\theta) \,\|\, p(\theta))

  N times its mean over the data is the negative evidence lower bound. Where `vib_loss` gives every
  input a posterior q(z|x) of its own, which guards against the chance in its labels, this guards
  against the chance in the inputs too; with neither divergence it is the empirical risk. A network that
  sees M labels of every input weighs vib_loss's divergence with beta = 1 / M, as this does with N.

  Args:
    nll: -log p(y|x, theta) in nats at samples of theta, or its mean over samples, shape (B,) or any
      other.
    kl_params: divergence of q(theta) from the prior in nats, summed over all parameters, a scalar.
    num_examples: N, labels in the whole data set, positive.

  Returns:
    Loss in nats, the shape of nll, float32 or wider. Gradient flows to both arguments.

  Raises:
    TypeError: if an argument is not floating point or num_examples is not an integer.
    ValueError: if kl_params is not a scalar or num_examples is below 1.

  Example:
    >>> bayes_loss(jnp.array([0.5, 1.0]), jnp.array(20.0), num_examples=10).tolist()
    [2.5, 3.0]

  References:
    Blundell et al., Weight Uncertainty in Neural Networks, 2015. arXiv:1505.05424
    Alemi, Morningstar, Poole, Fischer & Dillon, VIB is Half Bayes, 2020. arXiv:2011.08711
  """
  check_float(nll=nll, kl_params=kl_params)
  check_rank(0, kl_params=kl_params)
  check_positive_int(num_examples=num_examples)
  dtype = wide_dtype(nll, kl_params)
  return jnp.asarray(nll, dtype) + jnp.asarray(kl_params, dtype) / num_examples


def ceb_loss(
  log_encoder: ArrayLike,
  log_backward: ArrayLike,
  log_classifier: ArrayLike,
  *,
  gamma: ArrayLike = 1.0,
) -> jax.Array:
  r"""Conditional entropy bottleneck loss, in nats; to be minimised.

  .. math:: \log e(z|x) - \log b(z|y) - \gamma \log c(y|z), \qquad z \sim e(z|x)

  Its mean is an upper bound on I(X; Z | Y) - gamma I(Y; Z) + gamma H(Y): the compression leaves alone
  what z knows of y, unlike that of `vib_loss`, whose marginal r(z) the backward encoder b(z|y)
  replaces. gamma = 1 aims at the minimum necessary information, I(X; Z) = I(Y; Z) = I(X; Y).

  Args:
    log_encoder: log e(z|x) in nats at samples of z from e, shape (B,) or any other.
    log_backward: log b(z|y) at the same z, the same shape.
    log_classifier: log c(y|z) at the same z, the same shape.
    gamma: weight of the prediction, at least 0. Can be traced.

  Returns:
    Loss in nats, the shape of the arguments, float32 or wider. Gradient flows to all arguments.

  Raises:
    TypeError: if an argument is not floating point.
    ValueError: if the shapes differ or gamma is negative.

  Example:
    >>> ceb_loss(jnp.array([-1.0]), jnp.array([-2.0]), jnp.array([-0.5]), gamma=2.0).tolist()
    [2.0]

  References:
    Fischer, The Conditional Entropy Bottleneck, 2020. arXiv:2002.05379
  """
  terms = {
    "log_encoder": log_encoder,
    "log_backward": log_backward,
    "log_classifier": log_classifier,
  }
  check_float(**terms)
  check_same_shape(**terms)
  check_range(low=0.0, gamma=gamma)
  dtype = wide_dtype(*terms.values())
  log_encoder, log_backward, log_classifier = (jnp.asarray(term, dtype) for term in terms.values())
  return log_encoder - log_backward - jnp.asarray(gamma, dtype) * log_classifier
