"""What a trained model is measured by."""

from latentjax.metrics.posterior import ActiveUnits, active_units

__all__ = ["ActiveUnits", "active_units"]
