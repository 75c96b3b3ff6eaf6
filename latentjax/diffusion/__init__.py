"""Diffusion and flow models: processes from data to noise, and samplers back."""

from latentjax.diffusion import (
  averaging,
  bridges,
  classification,
  discrete,
  guidance,
  inverse,
  inversion,
  latent_codes,
  processes,
  samplers,
  shifted,
  spacings,
)

__all__ = [
  "averaging",
  "bridges",
  "classification",
  "discrete",
  "guidance",
  "inverse",
  "inversion",
  "latent_codes",
  "processes",
  "samplers",
  "shifted",
  "spacings",
]
