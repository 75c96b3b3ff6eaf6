"""Diffusion and flow models: processes from data to noise, and samplers back."""

from latentjax.diffusion import (
  averaging,
  discrete,
  guidance,
  inversion,
  processes,
  samplers,
  spacings,
)

__all__ = [
  "averaging",
  "discrete",
  "guidance",
  "inversion",
  "processes",
  "samplers",
  "spacings",
]
