"""What a trained model is measured by."""

from latentjax.metrics.identifiability import mean_correlation_coefficient
from latentjax.metrics.modalities import ModalityGap, modality_gap
from latentjax.metrics.posterior import ActiveUnits, active_units
from latentjax.metrics.representations import (
  TotalCorrelations,
  VariableTypes,
  mean_sampled_correlations,
  variable_types,
)

__all__ = [
  "ActiveUnits",
  "ModalityGap",
  "TotalCorrelations",
  "VariableTypes",
  "active_units",
  "mean_correlation_coefficient",
  "mean_sampled_correlations",
  "modality_gap",
  "variable_types",
]
