"""Training objectives, made from networks given as functions: no network library, no trainer."""

from latentjax.objectives.aligned_vae import AlignedModel, cada_vae
from latentjax.objectives.conditional_vae import ConditionalModel, conditional_vae
from latentjax.objectives.identifiable_vae import idvae, ivae
from latentjax.objectives.latent_model import BoundTerms, LatentModel
from latentjax.objectives.vae import vae
from latentjax.objectives.wake_sleep import wake_sleep

__all__ = [
  "AlignedModel",
  "BoundTerms",
  "ConditionalModel",
  "LatentModel",
  "cada_vae",
  "conditional_vae",
  "idvae",
  "ivae",
  "vae",
  "wake_sleep",
]
