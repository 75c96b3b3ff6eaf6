"""Dynamics in time: integration of differential equations."""

from latentjax.sequence.ode import rk4

__all__ = ["rk4"]
