"""Contrastive losses: views of one example together, different examples apart."""

from latentjax.losses.contrastive.alignment import alignment, uniformity
from latentjax.losses.contrastive.image_text import clip_loss, siglip_loss
from latentjax.losses.contrastive.info_nce import info_nce
from latentjax.losses.contrastive.normalize import l2_normalize
from latentjax.losses.contrastive.nt_xent import dcl_loss, nt_xent
from latentjax.losses.contrastive.spectral import spectral_contrastive_loss
from latentjax.losses.contrastive.sup_con import sup_con
from latentjax.losses.contrastive.triplet import triplet_loss

__all__ = [
  "alignment",
  "clip_loss",
  "dcl_loss",
  "info_nce",
  "l2_normalize",
  "nt_xent",
  "siglip_loss",
  "spectral_contrastive_loss",
  "sup_con",
  "triplet_loss",
  "uniformity",
]
