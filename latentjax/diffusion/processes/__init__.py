r"""Gaussian processes from data to noise, z_t = alpha_t x + sigma_t eps, and what networks predict of them.

Time runs from 0, data, to 1, noise. A process is three functions of t; whatever else is needed of it
follows from them. Papers that count steps, or run time the other way, convert at the border.
"""

from latentjax.diffusion.processes.changes import shifted, zero_terminal_snr
from latentjax.diffusion.processes.coefficients import drift_and_diffusion, time_at_log_snr
from latentjax.diffusion.processes.preconditioning import (
  Preconditioning,
  precondition,
  preconditioning,
)
from latentjax.diffusion.processes.predictions import PREDICTIONS, convert, noised
from latentjax.diffusion.processes.schedules import (
  Process,
  edm,
  from_log_snr,
  rectified_flow,
  sub_vp,
  trigonometric,
  ve,
  vp_cosine,
  vp_linear,
)

__all__ = [
  "PREDICTIONS",
  "Preconditioning",
  "Process",
  "convert",
  "drift_and_diffusion",
  "edm",
  "from_log_snr",
  "noised",
  "precondition",
  "preconditioning",
  "rectified_flow",
  "shifted",
  "sub_vp",
  "time_at_log_snr",
  "trigonometric",
  "ve",
  "vp_cosine",
  "vp_linear",
  "zero_terminal_snr",
]
