"""Training losses and bounds, as pure functions that return one value per example."""

from latentjax.losses import elbo, importance

__all__ = ["elbo", "importance"]
