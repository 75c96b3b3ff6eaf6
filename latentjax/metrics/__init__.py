"""Measures of what a model has learned."""

from latentjax.metrics.identifiability import mean_correlation_coefficient

__all__ = ["mean_correlation_coefficient"]
