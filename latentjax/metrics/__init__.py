"""Measures of what a model has learned."""

from latentjax.metrics.identifiability import mean_correlation_coefficient
from latentjax.metrics.representations import (
  TotalCorrelations,
  VariableTypes,
  mean_sampled_correlations,
  variable_types,
)

__all__ = [
  "TotalCorrelations",
  "VariableTypes",
  "mean_correlation_coefficient",
  "mean_sampled_correlations",
  "variable_types",
]
