"""Training losses and bounds, as pure functions that return one value per example."""

from latentjax.losses import annealing, elbo, importance, routing, smoothness

__all__ = ["annealing", "elbo", "importance", "routing", "smoothness"]
