"""Learning from the outputs or features of another network, which stays as it is."""

from latentjax.losses.distillation.alignment import repa_loss

__all__ = ["repa_loss"]
