"""Training objectives, made from networks given as functions: no network library, no trainer."""

from latentjax.objectives.categorical_vae import categorical_vae
from latentjax.objectives.cpl_mix_vae import cpl_mix_vae
from latentjax.objectives.gmvae import GaussianMixture, gmvae
from latentjax.objectives.joint_vae import joint_vae
from latentjax.objectives.latent_model import BoundTerms, LatentModel
from latentjax.objectives.m2_vae import m2_vae
from latentjax.objectives.vae import vae
from latentjax.objectives.wake_sleep import wake_sleep

__all__ = [
  "BoundTerms",
  "GaussianMixture",
  "LatentModel",
  "categorical_vae",
  "cpl_mix_vae",
  "gmvae",
  "joint_vae",
  "m2_vae",
  "vae",
  "wake_sleep",
]
