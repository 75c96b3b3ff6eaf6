"""Diffusion and flow models: processes from data to noise, and samplers back."""

from latentjax.diffusion import processes, samplers
from latentjax.diffusion.shifted import shifted_noised, shifted_posterior, shifted_sampler

__all__ = ["processes", "samplers", "shifted_noised", "shifted_posterior", "shifted_sampler"]
