"""Guidance: functions that make one `denoise_fn(x_t, t) -> x0_hat` of others, for any sampler.

Guidance whose weights sum to 1 is the same on x0, eps, v, score or velocity, since each of them is an affine
function of any other, of the same z_t and t; what is not (a rescaling, an optimised scale) says on which.
"""

from latentjax.diffusion.guidance.classifier import classifier_guidance
from latentjax.diffusion.guidance.classifier_free import autoguidance, classifier_free
from latentjax.diffusion.guidance.vendi import log_vendi_with, vendi_guidance
from latentjax.diffusion.guidance.zero_star import cfg_zero_star

__all__ = [
  "autoguidance",
  "cfg_zero_star",
  "classifier_free",
  "classifier_guidance",
  "log_vendi_with",
  "vendi_guidance",
]
