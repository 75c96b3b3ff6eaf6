"""Training objectives, made from networks given as functions: no network library, no trainer."""

from latentjax.objectives.ex_post import (
  GaussianMixture,
  ex_post_sampler,
  fit_gaussian_mixture,
  two_stage_vae,
)
from latentjax.objectives.group_vae import ada_gvae, group_vae
from latentjax.objectives.latent_model import BoundTerms, LatentModel
from latentjax.objectives.multimodal import (
  Modality,
  MultimodalModel,
  Posterior,
  jmvae,
  mmvae,
  mopoe,
  mvae,
  mvtcae,
)
from latentjax.objectives.vae import vae
from latentjax.objectives.wake_sleep import wake_sleep

__all__ = [
  "BoundTerms",
  "GaussianMixture",
  "LatentModel",
  "Modality",
  "MultimodalModel",
  "Posterior",
  "ada_gvae",
  "ex_post_sampler",
  "fit_gaussian_mixture",
  "group_vae",
  "jmvae",
  "mmvae",
  "mopoe",
  "mvae",
  "mvtcae",
  "two_stage_vae",
  "vae",
  "wake_sleep",
]
