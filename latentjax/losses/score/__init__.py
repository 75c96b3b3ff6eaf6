"""Score matching, denoising and flow matching; weights and times to train at."""

from latentjax.losses.score.denoising import denoising_loss, flow_matching_loss, variational_loss
from latentjax.losses.score.resampling import (
  LossHistoryState,
  init_loss_history,
  loss_weighted_times,
  update_loss_history,
)
from latentjax.losses.score.times import (
  TimeSampler,
  antithetic_times,
  likelihood_times,
  log_normal_times,
  logit_normal_times,
  uniform_times,
)
from latentjax.losses.score.weighting import (
  WeightFn,
  edm_weight,
  likelihood_weight,
  min_snr_weight,
  p2_weight,
  sigmoid_weight,
  uniform_weight,
)

__all__ = [
  "LossHistoryState",
  "TimeSampler",
  "WeightFn",
  "antithetic_times",
  "denoising_loss",
  "edm_weight",
  "flow_matching_loss",
  "init_loss_history",
  "likelihood_times",
  "likelihood_weight",
  "log_normal_times",
  "logit_normal_times",
  "loss_weighted_times",
  "min_snr_weight",
  "p2_weight",
  "sigmoid_weight",
  "uniform_times",
  "uniform_weight",
  "update_loss_history",
  "variational_loss",
]
