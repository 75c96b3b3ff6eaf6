"""Diffusion and flow models: processes from data to noise, and samplers back."""

from latentjax.diffusion import bridges, inverse, processes, samplers

__all__ = ["bridges", "inverse", "processes", "samplers"]
