"""Normal data and mixtures, whose denoiser, marginals and probability-flow solution have closed forms."""

import jax
import jax.numpy as jnp

MEAN, SCALE = 1.5, 0.7


def variance(process, t):
  """Of z_t."""
  return (process.alpha(t) * SCALE) ** 2 + process.sigma(t) ** 2


def denoiser(process):
  """E[x | z_t]."""

  def denoise(x, t):
    alpha = process.alpha(t)
    return MEAN + alpha * SCALE**2 * (x - alpha * MEAN) / variance(process, t)

  return denoise


def flow(process, x, t, s):
  """Where the probability-flow ODE takes z_t = x at time s: every quantile stays itself."""
  stretch = jnp.sqrt(variance(process, s) / variance(process, t))
  return process.alpha(s) * MEAN + stretch * (x - process.alpha(t) * MEAN)


WEIGHTS, MEANS, SCALES = jnp.array([0.3, 0.7]), jnp.array([-2.0, 1.0]), jnp.array([0.4, 0.8])


def mixture_parts(process, x, t):
  """Of each entry of z_t, independent two-component mixtures: posterior shares, means, variances."""
  alpha, sigma = process.alpha(t), process.sigma(t)
  spread = (alpha * SCALES) ** 2 + sigma**2
  log_joint = jnp.log(WEIGHTS) - 0.5 * jnp.log(2 * jnp.pi * spread)
  log_joint -= 0.5 * (x[..., None] - alpha * MEANS) ** 2 / spread
  return log_joint, alpha * MEANS, spread


def mixture_denoiser(process):
  """E[x | z_t]."""

  def denoise(x, t):
    log_joint, centres, spread = mixture_parts(process, x, t)
    shares = jax.nn.softmax(log_joint, axis=-1)
    pulled = MEANS + process.alpha(t) * SCALES**2 * (x[..., None] - centres) / spread
    return jnp.sum(shares * pulled, axis=-1)

  return denoise


def mixture_log_prob(process, x, t):
  """Of z_t, summed over all but the first axis."""
  log_prob = jax.nn.logsumexp(mixture_parts(process, x, t)[0], axis=-1)
  return jnp.sum(log_prob, axis=tuple(range(1, x.ndim)))


def mixture_cdf(process, x, t):
  """Of an entry of z_t."""
  _, centres, spread = mixture_parts(process, x, t)
  return jnp.sum(WEIGHTS * jax.scipy.stats.norm.cdf(x[..., None], centres, jnp.sqrt(spread)), -1)
