"""What a trained model is measured by."""

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
  "mean_correlation_coefficient",
  "mean_sampled_correlations",
  "prediction_retrieval",
  "variable_types",
]
