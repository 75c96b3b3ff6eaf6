"""The evidence lower bound, its weighted forms and its regularisers."""

from latentjax.losses.elbo.bound import elbo
from latentjax.losses.elbo.total_correlation import (
  TotalCorrelationTerms,
  tcvae_kl,
  total_correlation_terms,
)

__all__ = ["TotalCorrelationTerms", "elbo", "tcvae_kl", "total_correlation_terms"]
