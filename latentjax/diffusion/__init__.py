"""Diffusion and flow models: processes from data to noise, and samplers back."""

from latentjax.diffusion import (
  averaging,
  bridges,
  discrete,
  guidance,
  inverse,
  inversion,
  processes,
  samplers,
  shifted,
  spacings,
)

__all__ = [
  "averaging",
  "bridges",
  "discrete",
  "guidance",
  "inverse",
  "inversion",
  "processes",
  "samplers",
  "shifted",
  "spacings",
]
