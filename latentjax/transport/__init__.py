"""Distances between sets of samples: energy distances, optimal transport, Hausdorff, Frechet."""

from latentjax.transport.sets import (
  frechet_distance,
  generalized_energy_distance,
  hausdorff_divergence,
)
from latentjax.transport.sinkhorn import sinkhorn_divergence

__all__ = [
  "frechet_distance",
  "generalized_energy_distance",
  "hausdorff_divergence",
  "sinkhorn_divergence",
]
