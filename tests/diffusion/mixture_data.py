"""Mixtures of isotropic normal clusters, each of a class: exact densities, classifiers and denoisers."""

import jax
import jax.numpy as jnp

MEANS = jnp.array([[2.0, 0.0, 1.0], [-1.5, 1.0, 0.0], [0.0, -2.0, 0.5], [1.0, 1.0, -1.0]])
WEIGHTS = jnp.array([0.4, 0.3, 0.2, 0.1])
SCALE = 0.6
CLASSES = jnp.array([0, 0, 1, 1])


def _parts(process, x, t, label):
  """log weight + log density of every cluster at z_t (B, K), those of other classes left out."""
  alpha, sigma = process.alpha(t), process.sigma(t)
  variance = (alpha * SCALE) ** 2 + sigma**2
  squares = jnp.sum((x[:, None] - alpha * MEANS) ** 2, axis=-1)
  density = -squares / (2 * variance) - x.shape[-1] / 2 * jnp.log(2 * jnp.pi * variance)
  inside = (label[:, None] < 0) | (label[:, None] == CLASSES)
  return jnp.where(inside, jnp.log(WEIGHTS) + density, -jnp.inf), variance


def log_density(process, x, t, label):
  """log p(z_t, y), or log p(z_t) where the label is -1."""
  return jax.nn.logsumexp(_parts(process, x, t, label)[0], axis=1)


def denoise(process, x, t, label):
  """E[x | z_t, y], or E[x | z_t] where the label is -1: from responsibilities, not from a score."""
  parts, variance = _parts(process, x, t, label)
  alpha = process.alpha(t)
  by_cluster = MEANS + alpha * SCALE**2 * (x[:, None] - alpha * MEANS) / variance
  return jnp.einsum("bk,bkd->bd", jax.nn.softmax(parts, axis=1), by_cluster)
