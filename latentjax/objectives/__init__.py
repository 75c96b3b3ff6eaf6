"""Training objectives, made from networks given as functions: no network library, no trainer."""

from latentjax.objectives.adversarial import aae, factor_vae
from latentjax.objectives.aligned_vae import AlignedModel, cada_vae
from latentjax.objectives.autoencoder import Autoencoder, rae
from latentjax.objectives.autogen import autogen
from latentjax.objectives.conditional_vae import ConditionalModel, conditional_vae
from latentjax.objectives.disentangling import capacity_vae, dip_vae, tc_vae
from latentjax.objectives.identifiable_vae import idvae, ivae
from latentjax.objectives.latent_model import BoundTerms, LatentModel, Prior
from latentjax.objectives.matching import info_vae, wae_mmd
from latentjax.objectives.priors import mixture_prior, vamp_prior
from latentjax.objectives.sigma_vae import sigma_vae
from latentjax.objectives.vae import vae
from latentjax.objectives.wake_sleep import wake_sleep

__all__ = [
  "AlignedModel",
  "Autoencoder",
  "BoundTerms",
  "ConditionalModel",
  "LatentModel",
  "Prior",
  "aae",
  "autogen",
  "cada_vae",
  "capacity_vae",
  "conditional_vae",
  "dip_vae",
  "factor_vae",
  "idvae",
  "info_vae",
  "ivae",
  "mixture_prior",
  "rae",
  "sigma_vae",
  "tc_vae",
  "vae",
  "vamp_prior",
  "wae_mmd",
  "wake_sleep",
]
