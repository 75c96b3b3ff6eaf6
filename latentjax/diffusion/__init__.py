"""Diffusion and flow models: processes from data to noise, and samplers back."""

from latentjax.diffusion import guidance, processes, samplers

__all__ = ["guidance", "processes", "samplers"]
