"""Training objectives, made from networks given as functions: no network library, no trainer."""

from latentjax.objectives.capacitron import capacitron, hierarchical_capacitron
from latentjax.objectives.conditional import ConditionalModel, conditional
from latentjax.objectives.context_encoding import context_encoding_vae
from latentjax.objectives.dts import dts
from latentjax.objectives.edit_vae import EditModel, edit_vae
from latentjax.objectives.latent_model import BoundTerms, LatentModel
from latentjax.objectives.physics_vae import physics_vae
from latentjax.objectives.pulaski import SegmentationModel, pulaski
from latentjax.objectives.vae import vae
from latentjax.objectives.wake_sleep import wake_sleep

__all__ = [
  "BoundTerms",
  "ConditionalModel",
  "EditModel",
  "LatentModel",
  "SegmentationModel",
  "capacitron",
  "conditional",
  "context_encoding_vae",
  "dts",
  "edit_vae",
  "hierarchical_capacitron",
  "physics_vae",
  "pulaski",
  "vae",
  "wake_sleep",
]
