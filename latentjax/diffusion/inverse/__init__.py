"""Inverse problems y = A(x) + noise with a diffusion model of x as prior.

All take the model as `denoise_fn(x_t, t) -> x0_hat` and the measurement as a function of data, linear or
not; in a latent space it decodes first. What is known in closed form, for normal data and linear
measurements, is what they are tested against.
"""

from latentjax.diffusion.inverse.consistency import hard_data_consistency
from latentjax.diffusion.inverse.dps import dps, posterior_denoiser
from latentjax.diffusion.inverse.red_diff import red_diff, red_diff_loss
from latentjax.diffusion.inverse.resample import resample, stochastic_resample

__all__ = [
  "dps",
  "hard_data_consistency",
  "posterior_denoiser",
  "red_diff",
  "red_diff_loss",
  "resample",
  "stochastic_resample",
]
