"""Diffusion and flow models: processes from data to noise, and samplers back."""

from latentjax.diffusion import averaging, processes, samplers

__all__ = ["averaging", "processes", "samplers"]
