"""Training losses and bounds, as pure functions that return one value per example."""

from latentjax.losses import elbo, importance, routing

__all__ = ["elbo", "importance", "routing"]
