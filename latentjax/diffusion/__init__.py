"""Diffusion and flow models: processes from data to noise, and samplers back."""

from latentjax.diffusion import inversion, processes, samplers, spacings

__all__ = ["inversion", "processes", "samplers", "spacings"]
