"""Samplers `(key, denoise_fn, x_init, *, process, times, ...) -> x`, each one compiled `scan`.

`denoise_fn(x_t, t) -> x0_hat` is the mean of the data given x_t; `processes.convert` makes it of any
other prediction. Times fall from that of x_init to that of the sample; what lies between is the
caller's choice, see `spacings`. `ode_log_likelihood` goes the other way.
"""

from latentjax.diffusion.samplers.ancestral import ddim, ddpm
from latentjax.diffusion.samplers.consistency import consistency
from latentjax.diffusion.samplers.likelihood import ode_log_likelihood
from latentjax.diffusion.samplers.multistep import dpmpp_2m
from latentjax.diffusion.samplers.ode import euler, heun
from latentjax.diffusion.samplers.stochastic import euler_maruyama, predictor_corrector
from latentjax.diffusion.samplers.unipc import unipc
from latentjax.diffusion.samplers.velocity import velocity_flow

__all__ = [
  "consistency",
  "ddim",
  "ddpm",
  "dpmpp_2m",
  "euler",
  "euler_maruyama",
  "heun",
  "ode_log_likelihood",
  "predictor_corrector",
  "unipc",
  "velocity_flow",
]
