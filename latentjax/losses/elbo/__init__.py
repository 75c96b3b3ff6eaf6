"""The evidence lower bound, its weighted forms and its regularisers."""

from latentjax.losses.elbo.adversary import group_adversary_loss
from latentjax.losses.elbo.alignment import w2_gaussian
from latentjax.losses.elbo.anomaly import anomaly_map
from latentjax.losses.elbo.bound import autogen_bound, elbo, infovae_bound
from latentjax.losses.elbo.collapse import (
  conditional_covariance,
  linear_hvae_spectrum,
  linear_vae_spectrum,
)
from latentjax.losses.elbo.consensus import simplex_distance
from latentjax.losses.elbo.density_ratio import (
  permute_dims,
  tc_density_ratio,
  tc_discriminator_loss,
)
from latentjax.losses.elbo.discrepancy import mmd
from latentjax.losses.elbo.mixture import mixture_kl
from latentjax.losses.elbo.moments import dip_penalty
from latentjax.losses.elbo.physics import least_action_loss, self_supervision_loss
from latentjax.losses.elbo.rate import balanced_kl, capacity_loss, constrained_kl_loss, free_bits
from latentjax.losses.elbo.text import bag_of_words_loss, sequence_log_prob
from latentjax.losses.elbo.total_correlation import (
  TotalCorrelationTerms,
  tcvae_kl,
  total_correlation_terms,
)

__all__ = [
  "TotalCorrelationTerms",
  "anomaly_map",
  "autogen_bound",
  "bag_of_words_loss",
  "balanced_kl",
  "capacity_loss",
  "conditional_covariance",
  "constrained_kl_loss",
  "dip_penalty",
  "elbo",
  "free_bits",
  "group_adversary_loss",
  "infovae_bound",
  "least_action_loss",
  "linear_hvae_spectrum",
  "linear_vae_spectrum",
  "mixture_kl",
  "mmd",
  "permute_dims",
  "self_supervision_loss",
  "sequence_log_prob",
  "simplex_distance",
  "tc_density_ratio",
  "tc_discriminator_loss",
  "tcvae_kl",
  "total_correlation_terms",
  "w2_gaussian",
]
