"""Score matching, denoising and flow matching; weights and times to train at."""

from latentjax.losses.score.cross_flow import CrossFlowLoss, cross_flow_loss
from latentjax.losses.score.denoising import denoising_loss, flow_matching_loss, variational_loss
from latentjax.losses.score.discrete import DiscreteLoss, discrete_loss
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
  "CrossFlowLoss",
  "DiscreteLoss",
  "TimeSampler",
  "WeightFn",
  "antithetic_times",
  "cross_flow_loss",
  "denoising_loss",
  "discrete_loss",
  "edm_weight",
  "flow_matching_loss",
  "log_normal_times",
  "logit_normal_times",
  "min_snr_weight",
  "p2_weight",
  "sigmoid_weight",
  "uniform_times",
  "uniform_weight",
  "variational_loss",
]
