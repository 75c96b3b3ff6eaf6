"""Training objectives, made from networks given as functions: no network library, no trainer."""

from latentjax.objectives.gradient_origin import GradientOrigin, gradient_origin
from latentjax.objectives.hierarchical import hierarchical_iwae
from latentjax.objectives.iwae import iwae
from latentjax.objectives.latent_model import BoundTerms, LatentModel
from latentjax.objectives.vae import vae
from latentjax.objectives.vis import vis
from latentjax.objectives.wake_sleep import wake_sleep

__all__ = [
  "BoundTerms",
  "GradientOrigin",
  "LatentModel",
  "gradient_origin",
  "hierarchical_iwae",
  "iwae",
  "vae",
  "vis",
  "wake_sleep",
]
