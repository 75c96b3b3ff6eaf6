"""What a trained model is measured by."""

from latentjax.metrics.embeddings import effective_rank, knn_predict, relative_scale
from latentjax.metrics.identifiability import mean_correlation_coefficient
from latentjax.metrics.posterior import ActiveUnits, active_units
from latentjax.metrics.representations import (
  TotalCorrelations,
  VariableTypes,
  mean_sampled_correlations,
  variable_types,
)
from latentjax.metrics.retrieval import Retrieval, prediction_retrieval

__all__ = [
  "ActiveUnits",
  "Retrieval",
  "TotalCorrelations",
  "VariableTypes",
  "active_units",
  "effective_rank",
  "knn_predict",
  "mean_correlation_coefficient",
  "mean_sampled_correlations",
  "prediction_retrieval",
  "relative_scale",
  "variable_types",
]
