"""Losses that predict the hidden patches of an image from the visible ones."""

from latentjax.losses.masked.jepa import BlockMasks, block_masks, jepa_loss, masked_positions
from latentjax.losses.masked.mae import Masking, mae_loss, random_masking
from latentjax.losses.masked.patches import patchify, unpatchify

__all__ = [
  "BlockMasks",
  "Masking",
  "block_masks",
  "jepa_loss",
  "mae_loss",
  "masked_positions",
  "patchify",
  "random_masking",
  "unpatchify",
]
