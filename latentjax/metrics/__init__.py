"""What a trained model is measured by."""

from latentjax.metrics.embeddings import effective_rank, knn_predict, relative_scale, tolerance
from latentjax.metrics.identifiability import mean_correlation_coefficient
from latentjax.metrics.posterior import ActiveUnits, active_units
from latentjax.metrics.representations import (
  TotalCorrelations,
  VariableTypes,
  mean_sampled_correlations,
  variable_types,
)

__all__ = [
  "ActiveUnits",
  "TotalCorrelations",
  "VariableTypes",
  "active_units",
  "effective_rank",
  "knn_predict",
  "mean_correlation_coefficient",
  "mean_sampled_correlations",
  "relative_scale",
  "tolerance",
  "variable_types",
]
