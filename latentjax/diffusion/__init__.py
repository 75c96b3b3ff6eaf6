"""Diffusion and flow models: processes from data to noise, and samplers back."""

from latentjax.diffusion import averaging, guidance, processes, samplers

__all__ = ["averaging", "guidance", "processes", "samplers"]
