"""What a trained model is measured by."""

from latentjax.metrics.calibration import expected_calibration_error
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
  "expected_calibration_error",
  "mean_correlation_coefficient",
  "mean_sampled_correlations",
  "variable_types",
]
