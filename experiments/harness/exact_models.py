"""Models with known evidence, posterior and divergences: probabilistic PCA, and an enumerable one."""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from latentjax.densities import gaussian
from latentjax.losses import importance


class PCA(NamedTuple):
  """p(z) = N(0, 1), p(x|z) = N(w z, s^2 I), q(z|x) = N(mean, scale^2), four examples."""

  w: np.ndarray
  s: float
  x: np.ndarray
  post_mean: np.ndarray
  post_scale: float
  mean: np.ndarray
  scale: float

  @property
  def log_evidence(self) -> np.ndarray:
    """log p(x), shape (B,)."""
    covariance = np.outer(self.w, self.w) + self.s**2 * np.eye(len(self.w))
    return stats.multivariate_normal(np.zeros(len(self.w)), covariance).logpdf(self.x)

  def renyi(self, alpha: float) -> np.ndarray:
    """log p(x) - D_alpha(q || posterior) in closed form."""
    s_q, s_p, shift = self.scale, self.post_scale, self.mean - self.post_mean
    if alpha == 1:
      return self.log_evidence - np.log(s_p / s_q) - (s_q**2 + shift**2) / (2 * s_p**2) + 0.5
    mixed = alpha * s_p**2 + (1 - alpha) * s_q**2
    logs = 0.5 * np.log(mixed) - (1 - alpha) * np.log(s_q) - alpha * np.log(s_p)
    return self.log_evidence - alpha * shift**2 / (2 * mixed) - logs / (1 - alpha)

  def log_joint(self, z: jax.Array, w: Any = None) -> jax.Array:
    """log p(x, z), shape (K, B), for z of shape (K, B, 1)."""
    mean = z * (self.w if w is None else w)
    return gaussian.log_prob(self.x, mean, jnp.log(self.s)) + gaussian.standard_log_prob(z)

  def log_w(self, eps: np.ndarray) -> jax.Array:
    """Log weights of samples with this noise, shape (K, B)."""
    z = jnp.asarray((self.mean + self.scale * eps)[..., None])
    return self.log_joint(z) - gaussian.log_prob(z, *self.q_params())

  def q_params(self) -> tuple[jax.Array, jax.Array]:
    """(mean, log_scale), each (B, 1)."""
    return jnp.asarray(self.mean[:, None]), jnp.full((len(self.mean), 1), np.log(self.scale))


def make_pca() -> PCA:
  """The model, with q's mean 0.6 posterior standard deviations off and its scale 1.2 times too wide."""
  rng = np.random.default_rng(0)
  w, s = np.array([1.0, -0.5, 0.8, 0.3, 0.1]), 0.9
  x = rng.standard_normal((4, 1)) * w + s * rng.standard_normal((4, 5))
  scale = 1 / np.sqrt(1 + w @ w / s**2)
  mean = x @ w / s**2 * scale**2
  return PCA(w, s, x, mean, scale, mean + 0.6 * scale, 1.2 * scale)


def discrete_bounds() -> dict[str, list[float]]:
  """Eight states, q in sixteenths: every expectation is a finite sum, over all tuples of states."""
  rng = np.random.default_rng(2)
  joint = rng.dirichlet(np.ones(8)) * rng.uniform(0.1, 0.9, 8)  # p(z) p(x = 1|z)
  evidence, q = np.log(joint.sum()), np.array([4, 3, 3, 2, 1, 1, 1, 1]) / 16
  log_w = jnp.log(joint / q)
  by_size = []
  for size in (1, 2, 3, 4):
    states = np.array(list(itertools.product(range(8), repeat=size))).T
    by_size.append(float(importance.iwae_bound(log_w[states]) @ np.prod(q[states], axis=0)))
  whole = jnp.repeat(log_w, np.round(16 * q).astype(int))[:, None]
  cubo, kl = importance.cubo_bound(whole).item(), q @ np.log(q / joint * joint.sum())
  errors = [by_size[0] - (evidence - kl), importance.iwae_bound(whole).item() - evidence]
  errors.append(cubo - np.log(np.sum(joint**2 / q)) / 2)
  gaps = np.diff([*by_size, evidence, cubo]).tolist()
  return {"errors": np.abs(errors).tolist(), "gaps": gaps, "iwae_by_samples": by_size}


def bounds_table(sizes: list[int], bounds: dict[str, list[float]]) -> str:
  """The bounds as a table, a row for each number of samples."""
  whole = {name: values for name, values in bounds.items() if len(values) == len(sizes)}
  lines = ["     K" + "".join(f"{name:>18}" for name in whole)]
  for row, size in enumerate(sizes):
    lines.append(f"{size:6}" + "".join(f"{values[row]:18.6f}" for values in whole.values()))
  rest = [f"{name}: {values[0]:.6f}" for name, values in bounds.items() if name not in whole]
  return "\n".join([*lines, *rest])
