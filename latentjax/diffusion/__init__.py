"""Diffusion and flow models: processes from data to noise, and samplers back."""

from latentjax.diffusion import (
  classification,
  inversion,
  latent_codes,
  processes,
  samplers,
  spacings,
)

__all__ = [
  "classification",
  "inversion",
  "latent_codes",
  "processes",
  "samplers",
  "spacings",
]
