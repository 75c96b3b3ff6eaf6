"""Score matching, denoising and flow matching; weights and times to train at."""

from latentjax.losses.score.denoising import denoising_loss, flow_matching_loss, variational_loss
from latentjax.losses.score.subspaces import subspace_denoising_loss
from latentjax.losses.score.times import (
  TimeSampler,
  antithetic_times,
  log_normal_times,
  logit_normal_times,
  uniform_times,
)
from latentjax.losses.score.weighting import (
  WeightFn,
  edm_weight,
  min_snr_weight,
  p2_weight,
  sigmoid_weight,
  uniform_weight,
)

__all__ = [
  "TimeSampler",
  "WeightFn",
  "antithetic_times",
  "denoising_loss",
  "edm_weight",
  "flow_matching_loss",
  "log_normal_times",
  "logit_normal_times",
  "min_snr_weight",
  "p2_weight",
  "sigmoid_weight",
  "subspace_denoising_loss",
  "uniform_times",
  "uniform_weight",
  "variational_loss",
]
