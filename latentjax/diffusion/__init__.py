"""Diffusion and flow models: processes from data to noise, and samplers back."""

from latentjax.diffusion import averaging, discrete, processes, samplers

__all__ = ["averaging", "discrete", "processes", "samplers"]
