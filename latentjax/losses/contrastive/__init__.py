"""Losses that learn embeddings by comparing views of the same examples, with and without negatives."""

from latentjax.losses.contrastive.assignments import msn_loss, sinkhorn_assignments, swav_loss
from latentjax.losses.contrastive.dino import dino_loss, update_dino_centre
from latentjax.losses.contrastive.koleo import koleo_loss
from latentjax.losses.contrastive.nested import matryoshka
from latentjax.losses.contrastive.redundancy import barlow_twins_loss, vicreg_loss
from latentjax.losses.contrastive.siamese import byol_loss, simsiam_loss
from latentjax.losses.contrastive.spectrum import frossl_loss, mmcr_loss, von_neumann_entropy
from latentjax.losses.contrastive.whitening import tico_loss, w_mse_loss

__all__ = [
  "barlow_twins_loss",
  "byol_loss",
  "dino_loss",
  "frossl_loss",
  "koleo_loss",
  "matryoshka",
  "mmcr_loss",
  "msn_loss",
  "simsiam_loss",
  "sinkhorn_assignments",
  "swav_loss",
  "tico_loss",
  "update_dino_centre",
  "vicreg_loss",
  "von_neumann_entropy",
  "w_mse_loss",
]
