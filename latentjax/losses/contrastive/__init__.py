"""Losses that learn embeddings from views of the same examples, with negatives and without."""

from latentjax.losses.contrastive.alignment import alignment, cross_uniformity, uniformity
from latentjax.losses.contrastive.assignments import msn_loss, sinkhorn_assignments, swav_loss
from latentjax.losses.contrastive.bag_of_words import (
  Vocabulary,
  bow_loss,
  bow_target,
  init_vocabulary,
  update_vocabulary,
)
from latentjax.losses.contrastive.batches import pseudo_label_batches
from latentjax.losses.contrastive.coding_rate import (
  coding_rate,
  coding_rate_reduction,
  doubly_stochastic_membership,
)
from latentjax.losses.contrastive.covariance_operator import (
  covariance_operator,
  predicted_update,
  simple_contrastive_loss,
)
from latentjax.losses.contrastive.dino import dino_loss, update_dino_centre
from latentjax.losses.contrastive.eigenvalues import frossl_loss, mmcr_loss, von_neumann_entropy
from latentjax.losses.contrastive.equivariance import hyper_linear, sie_loss
from latentjax.losses.contrastive.hardness import hard_contrastive_loss, negative_shares
from latentjax.losses.contrastive.image_text import clip_loss, siglip_loss
from latentjax.losses.contrastive.info_nce import info_nce
from latentjax.losses.contrastive.koleo import koleo_loss
from latentjax.losses.contrastive.local import vicregl_loss
from latentjax.losses.contrastive.mc_info_nce import mc_info_nce
from latentjax.losses.contrastive.nested import matryoshka, matryoshka_2d
from latentjax.losses.contrastive.normalize import l2_normalize
from latentjax.losses.contrastive.nt_xent import dcl_loss, nt_xent
from latentjax.losses.contrastive.queue import (
  Queue,
  init_queue,
  moco_loss,
  nearest_rows,
  nnclr_loss,
  update_queue,
)
from latentjax.losses.contrastive.redundancy import barlow_twins_loss, vicreg_loss
from latentjax.losses.contrastive.retrieval import match_texts, zero_shot_logits
from latentjax.losses.contrastive.separation import SepCLRTerms, joint_entropy_loss, sepclr_terms
from latentjax.losses.contrastive.siamese import byol_loss, simsiam_loss
from latentjax.losses.contrastive.sigreg import epps_pulley, sigreg_loss
from latentjax.losses.contrastive.spectral import spectral_contrastive_loss
from latentjax.losses.contrastive.sup_con import sup_con
from latentjax.losses.contrastive.triplet import triplet_loss
from latentjax.losses.contrastive.whitening import tico_loss, w_mse_loss

__all__ = [
  "Queue",
  "SepCLRTerms",
  "Vocabulary",
  "alignment",
  "barlow_twins_loss",
  "bow_loss",
  "bow_target",
  "byol_loss",
  "clip_loss",
  "coding_rate",
  "coding_rate_reduction",
  "covariance_operator",
  "cross_uniformity",
  "dcl_loss",
  "dino_loss",
  "doubly_stochastic_membership",
  "epps_pulley",
  "frossl_loss",
  "hard_contrastive_loss",
  "hyper_linear",
  "info_nce",
  "init_queue",
  "init_vocabulary",
  "joint_entropy_loss",
  "koleo_loss",
  "l2_normalize",
  "match_texts",
  "matryoshka",
  "matryoshka_2d",
  "mc_info_nce",
  "mmcr_loss",
  "moco_loss",
  "msn_loss",
  "nearest_rows",
  "negative_shares",
  "nnclr_loss",
  "nt_xent",
  "predicted_update",
  "pseudo_label_batches",
  "sepclr_terms",
  "sie_loss",
  "siglip_loss",
  "sigreg_loss",
  "simple_contrastive_loss",
  "simsiam_loss",
  "sinkhorn_assignments",
  "spectral_contrastive_loss",
  "sup_con",
  "swav_loss",
  "tico_loss",
  "triplet_loss",
  "uniformity",
  "update_dino_centre",
  "update_queue",
  "update_vocabulary",
  "vicreg_loss",
  "vicregl_loss",
  "von_neumann_entropy",
  "w_mse_loss",
  "zero_shot_logits",
]
