"""Probabilistic PCA with one latent variable: evidence, posterior and divergences in closed form.

p(z) = N(0, 1), p(x|z) = N(w z, s^2 I), and q(z|x) = N(mean, scale^2) off the posterior. Expectations
over q are exact up to rounding: Gauss-Hermite quadrature over every one of a few samples, or samples
at the midpoints of q's quantiles. Everything in float64 numpy, nothing from the package.
"""

import itertools
from typing import NamedTuple

import numpy as np
from scipy import stats

D = 3


class Model(NamedTuple):
  w: np.ndarray  # (D,)
  noise: float  # s
  x: np.ndarray  # (B, D)
  mean: np.ndarray  # of q, (B,)
  scale: float  # of q

  @property
  def posterior_scale(self):
    return 1 / np.sqrt(1 + self.w @ self.w / self.noise**2)

  @property
  def posterior_mean(self):
    return self.x @ self.w / self.noise**2 * self.posterior_scale**2

  @property
  def log_evidence(self):
    covariance = np.outer(self.w, self.w) + self.noise**2 * np.eye(D)
    return stats.multivariate_normal(np.zeros(D), covariance).logpdf(self.x)

  @property
  def elbo(self):
    """log p(x) - KL(q || posterior), the limit of `renyi` at order 1."""
    ratio = self.scale / self.posterior_scale
    shift = (self.mean - self.posterior_mean) / self.posterior_scale
    return self.log_evidence - 0.5 * (ratio**2 + shift**2 - 1) + np.log(ratio)

  def renyi(self, alpha):
    """log p(x) - D_alpha(q || posterior): infinitely many samples, any order but 1."""
    s_q, s_p = self.scale, self.posterior_scale
    mixed = alpha * s_p**2 + (1 - alpha) * s_q**2
    assert mixed > 0, "the divergence is infinite"
    quadratic = alpha * (self.mean - self.posterior_mean) ** 2 / (2 * mixed)
    if alpha == 0:
      return self.log_evidence
    logs = np.log(s_p / s_q) + np.log(s_p**2 / mixed) / (2 * (alpha - 1))
    return self.log_evidence - quadratic - logs

  def log_w(self, z):
    """Log importance weights of z, shape (..., B)."""
    log_likelihood = stats.norm.logpdf(self.x, z[..., None] * self.w, self.noise).sum(-1)
    return log_likelihood + stats.norm.logpdf(z) - stats.norm.logpdf(z, self.mean, self.scale)

  def quantile_log_w(self, num_samples):
    """Samples of equal weight that stand for all of q, shape (num_samples, B)."""
    eps = stats.norm.ppf((np.arange(num_samples) + 0.5) / num_samples)
    return self.log_w(self.mean + self.scale * eps[:, None])


def make(scale=0.5, shift=0.3):
  """Eight examples; `scale` of q relative to the posterior's, `shift` in its standard deviations."""
  rng = np.random.default_rng(0)
  model = Model(np.array([1.0, -0.5, 0.8]), 0.9, rng.standard_normal((8, D)), np.zeros(8), 1.0)
  mean = model.posterior_mean + shift * model.posterior_scale
  return model._replace(mean=mean, scale=scale * model.posterior_scale)


def noise_quadrature(num_samples, degree=16):
  """Every combination of nodes for K standard Gaussian samples: eps (K, Q) and weights (Q,)."""
  nodes, weights = np.polynomial.hermite_e.hermegauss(degree)
  eps = np.array(list(itertools.product(nodes, repeat=num_samples))).T
  weights = np.prod(list(itertools.product(weights, repeat=num_samples)), axis=1)
  return eps, weights / weights.sum()
