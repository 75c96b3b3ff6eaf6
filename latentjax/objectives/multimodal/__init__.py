"""Variational auto-encoders of several modalities, any of which may be missing in any example."""

from latentjax.objectives.multimodal.jmvae import jmvae
from latentjax.objectives.multimodal.mixtures import mmvae, mopoe
from latentjax.objectives.multimodal.model import Modality, MultimodalModel, Posterior
from latentjax.objectives.multimodal.mvae import mvae
from latentjax.objectives.multimodal.mvtcae import mvtcae

__all__ = [
  "Modality",
  "MultimodalModel",
  "Posterior",
  "jmvae",
  "mmvae",
  "mopoe",
  "mvae",
  "mvtcae",
]
