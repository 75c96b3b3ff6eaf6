"""Training losses and bounds, as pure functions that return one value per example."""

from latentjax.losses import (
  annealing,
  contrastive,
  distillation,
  elbo,
  groups,
  importance,
  information,
  masked,
  programmable,
  routing,
  score,
  score_function,
  smoothness,
  spectral,
  words,
)

__all__ = [
  "annealing",
  "contrastive",
  "distillation",
  "elbo",
  "groups",
  "importance",
  "information",
  "masked",
  "programmable",
  "routing",
  "score",
  "score_function",
  "smoothness",
  "spectral",
  "words",
]
