"""The evidence lower bound and its weighted forms."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_float, check_range, check_same_shape, wide_dtype

__all__ = ["elbo"]


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
    Kingma & Welling, Auto-Encoding Variational Bayes, 2014, eq. 3, 6 (estimator A) and 7 (B).
      arXiv:1312.6114
    Higgins et al., beta-VAE, 2017, eq. 4. https://openreview.net/forum?id=Sy2fzU9gl
  """
  check_float(log_likelihood=log_likelihood, kl=kl)
  check_same_shape(log_likelihood=log_likelihood, kl=kl)
  check_range(low=0.0, beta=beta)
  dtype = wide_dtype(log_likelihood, kl)
  return jnp.asarray(log_likelihood, dtype) - jnp.asarray(beta, dtype) * jnp.asarray(kl, dtype)
