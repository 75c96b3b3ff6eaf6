"""Diffusion and flow models: processes from data to noise, and samplers back."""

from latentjax.diffusion import discrete, processes, samplers

__all__ = ["discrete", "processes", "samplers"]
