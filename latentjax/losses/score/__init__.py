"""Score matching, denoising and flow matching; weights and times to train at."""

from latentjax.losses.score.consistency import (
  consistency_distillation_loss,
  consistency_steps,
  consistency_times,
  consistency_training_loss,
)
from latentjax.losses.score.cross_flow import CrossFlowLoss, cross_flow_loss
from latentjax.losses.score.denoising import denoising_loss, flow_matching_loss, variational_loss
from latentjax.losses.score.discrete import DiscreteLoss, discrete_loss
from latentjax.losses.score.flow_prior import flow_alignment_loss
from latentjax.losses.score.interpolants import (
  Interpolant,
  interpolant_drift,
  interpolant_loss,
  linear_interpolant,
  trigonometric_interpolant,
)
from latentjax.losses.score.matching import implicit_score_matching_loss, sliced_score_matching_loss
from latentjax.losses.score.mean_flow import mean_flow_loss
from latentjax.losses.score.multimarginal import (
  multimarginal_loss,
  path_velocity,
  simplex_interpolant,
  simplex_weights,
)
from latentjax.losses.score.resampling import (
  LossHistoryState,
  init_loss_history,
  loss_weighted_times,
  update_loss_history,
)
from latentjax.losses.score.robust import cauchy_loss, cauchy_scale, pseudo_huber_loss
from latentjax.losses.score.smooth import (
  StepVariation,
  VariationPenalty,
  step_variation,
  variation_penalty,
)
from latentjax.losses.score.subspaces import subspace_denoising_loss
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
  "CrossFlowLoss",
  "DiscreteLoss",
  "Interpolant",
  "LossHistoryState",
  "StepVariation",
  "TimeSampler",
  "VariationPenalty",
  "WeightFn",
  "antithetic_times",
  "cauchy_loss",
  "cauchy_scale",
  "consistency_distillation_loss",
  "consistency_steps",
  "consistency_times",
  "consistency_training_loss",
  "cross_flow_loss",
  "denoising_loss",
  "discrete_loss",
  "edm_weight",
  "flow_alignment_loss",
  "flow_matching_loss",
  "implicit_score_matching_loss",
  "init_loss_history",
  "interpolant_drift",
  "interpolant_loss",
  "likelihood_times",
  "likelihood_weight",
  "linear_interpolant",
  "log_normal_times",
  "logit_normal_times",
  "loss_weighted_times",
  "mean_flow_loss",
  "min_snr_weight",
  "multimarginal_loss",
  "p2_weight",
  "path_velocity",
  "pseudo_huber_loss",
  "sigmoid_weight",
  "simplex_interpolant",
  "simplex_weights",
  "sliced_score_matching_loss",
  "step_variation",
  "subspace_denoising_loss",
  "trigonometric_interpolant",
  "uniform_times",
  "uniform_weight",
  "update_loss_history",
  "variation_penalty",
  "variational_loss",
]
