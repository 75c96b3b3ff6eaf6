"""Importance weights: bounds on log p(x) and gradients for the proposal q.

Everywhere `log_w[k, b]` = log p(x_b, z_kb) - log q(z_kb | x_b) with z_kb drawn from q.
"""

from latentjax.losses.importance.bounds import (
  cubo_bound,
  iwae_bound,
  log_marginal_bound,
  renyi_bound,
)
from latentjax.losses.importance.gradients import dreg_bound, stl_bound
from latentjax.losses.importance.grouped import ciwae_bound, miwae_bound, piwae_bound
from latentjax.losses.importance.weights import (
  chi2_divergence_bound,
  chi2_proposal_loss,
  effective_sample_size,
  normalized_weights,
)

__all__ = [
  "chi2_divergence_bound",
  "chi2_proposal_loss",
  "ciwae_bound",
  "cubo_bound",
  "dreg_bound",
  "effective_sample_size",
  "iwae_bound",
  "log_marginal_bound",
  "miwae_bound",
  "normalized_weights",
  "piwae_bound",
  "renyi_bound",
  "stl_bound",
]
