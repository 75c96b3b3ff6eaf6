"""Losses that learn embeddings from views of the same examples, with negatives and without."""

from latentjax.losses.contrastive.alignment import alignment, uniformity
from latentjax.losses.contrastive.assignments import msn_loss, sinkhorn_assignments, swav_loss
from latentjax.losses.contrastive.bag_of_words import (
  Vocabulary,
  bow_loss,
  bow_target,
  init_vocabulary,
  update_vocabulary,
)
from latentjax.losses.contrastive.dino import dino_loss, update_dino_centre
from latentjax.losses.contrastive.eigenvalues import frossl_loss, mmcr_loss, von_neumann_entropy
from latentjax.losses.contrastive.equivariance import hyper_linear, sie_loss
from latentjax.losses.contrastive.image_text import clip_loss, siglip_loss
from latentjax.losses.contrastive.info_nce import info_nce
from latentjax.losses.contrastive.koleo import koleo_loss
from latentjax.losses.contrastive.nested import matryoshka
from latentjax.losses.contrastive.normalize import l2_normalize
from latentjax.losses.contrastive.nt_xent import dcl_loss, nt_xent
from latentjax.losses.contrastive.redundancy import barlow_twins_loss, vicreg_loss
from latentjax.losses.contrastive.siamese import byol_loss, simsiam_loss
from latentjax.losses.contrastive.spectral import spectral_contrastive_loss
from latentjax.losses.contrastive.sup_con import sup_con
from latentjax.losses.contrastive.triplet import triplet_loss
from latentjax.losses.contrastive.whitening import tico_loss, w_mse_loss

__all__ = [
  "Vocabulary",
  "alignment",
  "barlow_twins_loss",
  "bow_loss",
  "bow_target",
  "byol_loss",
  "clip_loss",
  "dcl_loss",
  "dino_loss",
  "frossl_loss",
  "hyper_linear",
  "info_nce",
  "init_vocabulary",
  "koleo_loss",
  "l2_normalize",
  "matryoshka",
  "mmcr_loss",
  "msn_loss",
  "nt_xent",
  "sie_loss",
  "siglip_loss",
  "simsiam_loss",
  "sinkhorn_assignments",
  "spectral_contrastive_loss",
  "sup_con",
  "swav_loss",
  "tico_loss",
  "triplet_loss",
  "uniformity",
  "update_dino_centre",
  "update_vocabulary",
  "vicreg_loss",
  "von_neumann_entropy",
  "w_mse_loss",
]
