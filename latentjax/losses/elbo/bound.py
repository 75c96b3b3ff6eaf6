"""The evidence lower bound and its weighted forms."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_float, check_range, check_same_shape, wide_dtype

__all__ = ["autogen_bound", "elbo", "infovae_bound"]


def elbo(log_likelihood: ArrayLike, kl: ArrayLike, *, beta: ArrayLike = 1.0) -> jax.Array:
  r"""Evidence lower bound per example, in nats; to be maximised.

  .. math:: \mathcal{L}(x) = E_{q(z|x)}[\log p(x|z)] - \beta \, KL(q(z|x) \,\|\, p(z)) \le \log p(x)

  For beta >= 1 it is a lower bound on log p(x) if both terms are exact, and in expectation if they
  are unbiased estimates. With the exact divergence this is the paper's estimator B; with the
  sampled log q(z|x) - log p(z) in its place, estimator A, which has the same mean. The paper finds
  B's variance smaller in general; but at q(z|x) = p(z|x) it is A whose variance is zero.

  Args:
    log_likelihood: log p(x|z) in nats at samples of z, or its mean over samples, shape (B,) or any
      other.
    kl: divergence of the posterior from the prior in nats, exact or sampled, the shape of
      log_likelihood.
    beta: weight of the divergence, at least 0; 1 is the bound of the paper, other values are a
      beta-VAE's. Can be traced, for annealing.

  Returns:
    Lower bound in nats, the shape of the arguments, float32 or wider. Gradient flows to both
    arguments.

  Raises:
    TypeError: if an argument is not floating point.
    ValueError: if the shapes differ or beta is negative.

  Example:
    >>> elbo(jnp.array([-90.0, -80.0]), jnp.array([20.0, 25.0])).tolist()
    [-110.0, -105.0]

  References:
    Kingma & Welling, Auto-Encoding Variational Bayes, 2014 (estimators A and B).
      arXiv:1312.6114
    Higgins et al., beta-VAE, 2017. https://openreview.net/forum?id=Sy2fzU9gl
  """
  check_float(log_likelihood=log_likelihood, kl=kl)
  check_same_shape(log_likelihood=log_likelihood, kl=kl)
  check_range(low=0.0, beta=beta)
  dtype = wide_dtype(log_likelihood, kl)
  return jnp.asarray(log_likelihood, dtype) - jnp.asarray(beta, dtype) * jnp.asarray(kl, dtype)


def autogen_bound(
  log_likelihood: ArrayLike, kl: ArrayLike, *, num_reconstructions: ArrayLike = 1.0
) -> jax.Array:
  r"""Lower bound on the log-likelihood of the data and of their perfect reconstructions, in nats.

  .. math:: (1 + m) \, E_{q(z|x)}[\log p(x|z)] - KL(q(z|x) \| p(z))
    \le \log \int p(z) \, p(x|z)^{1 + m} dz = \log p(x) + \log p(x'_1 = \dots = x'_m = x | x)

  where x and its m reconstructions are independent given z; equal if q(z|x) is the posterior given
  all of them. A beta-VAE with beta = 1 / (1 + m), times 1 + m: that weight has a likelihood behind
  it. (For m > 1 it may exceed log p(x) + m log p(x' = x | x), whose reconstructions have a z each.)

  Args:
    log_likelihood: log p(x|z) in nats at samples of z, or its mean over samples, shape (B,) or any
      other.
    kl: divergence of the posterior from the prior in nats, exact or sampled, the shape of
      log_likelihood.
    num_reconstructions: m, at least 0; 0 is the ELBO. Can be traced.

  Returns:
    Lower bound in nats, the shape of the arguments, float32 or wider. Gradient flows to both
    arguments.

  Raises:
    TypeError: if an argument is not floating point.
    ValueError: if the shapes differ or num_reconstructions is negative.

  Example:
    >>> autogen_bound(jnp.array([-90.0]), jnp.array([20.0])).tolist()
    [-200.0]

  References:
    Mansbridge et al., Improving latent variable descriptiveness with AutoGen, 2018. arXiv:1806.04480
  """
  check_range(low=0.0, num_reconstructions=num_reconstructions)
  bound = elbo(log_likelihood, kl)
  extra = jnp.asarray(num_reconstructions, bound.dtype) * jnp.asarray(log_likelihood, bound.dtype)
  return bound + extra


def infovae_bound(
  log_likelihood: ArrayLike,
  kl: ArrayLike,
  divergence: ArrayLike,
  *,
  alpha: ArrayLike = 0.0,
  reg_weight: ArrayLike = 1000.0,
) -> jax.Array:
  r"""ELBO with a penalty on the aggregate posterior and a chosen stance on information, in nats.

  .. math:: E_q[\log p(x|z)] - (1 - \alpha) KL(q(z|x) \| p(z)) - (\alpha + \lambda - 1) D(q(z) \| p(z))

  alpha > 0 rewards mutual information between x and z, alpha < 0 penalises it. alpha = 1 is the
  MMD-VAE, with D as the Wasserstein autoencoder's only penalty; alpha = 0 and lambda = 1 the ELBO.
  It is at most the ELBO if alpha <= 0, lambda >= 1 - alpha and D >= 0, else it need not be a bound;
  for alpha < 1, lambda > 0 and any strict divergence D its global optimum is the data distribution.

  Args:
    log_likelihood: log p(x|z) in nats, shape (B,).
    kl: divergence of the posterior from the prior in nats, shape (B,).
    divergence: D(q(z) || p(z)) of the batch, such as `mmd`, a scalar, or shape (B,).
    alpha: at most 1. Can be traced.
    reg_weight: lambda, at least 0. Can be traced.

  Returns:
    Objective per example, shape (B,), float32 or wider; to be maximised. Gradient flows to all
    arrays.

  Raises:
    TypeError: if an array is not floating point.
    ValueError: if log_likelihood and kl differ in shape, divergence is neither a scalar nor of that
      shape, alpha is above 1 or reg_weight is negative.

  Example:
    >>> infovae_bound(jnp.array([-90.0]), jnp.array([20.0]), 0.5, alpha=1.0, reg_weight=10.0).tolist()
    [-95.0]

  References:
    Zhao, Song & Ermon, InfoVAE: Balancing Learning and Inference in Variational Autoencoders, 2019.
      arXiv:1706.02262
  """
  check_float(log_likelihood=log_likelihood, kl=kl, divergence=divergence)
  check_range(high=1.0, alpha=alpha)
  check_range(low=0.0, reg_weight=reg_weight)
  if jnp.ndim(divergence):
    check_same_shape(log_likelihood=log_likelihood, divergence=divergence)
  bound = elbo(log_likelihood, kl, beta=1 - jnp.asarray(alpha))
  weight = jnp.asarray(alpha + reg_weight - 1, bound.dtype)
  return bound - weight * jnp.asarray(divergence, bound.dtype)
