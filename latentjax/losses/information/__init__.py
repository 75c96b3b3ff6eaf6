"""Bounds on mutual information, information bottlenecks and measures of dependence."""

from latentjax.losses.information.bottleneck import bayes_loss, ceb_loss, vib_loss
from latentjax.losses.information.cauchy_schwarz import (
  cs_conditional_divergence,
  cs_divergence,
  cs_information,
)
from latentjax.losses.information.dependence import hsic, hsic_bottleneck_loss, normalized_hsic
from latentjax.losses.information.gates import gate_kl, gate_mask, vib_gate
from latentjax.losses.information.lower import (
  info_nce_bound,
  interpolated_bound,
  nwj_bound,
  tuba_bound,
)
from latentjax.losses.information.neighbours import ksg_mutual_information
from latentjax.losses.information.partition import (
  MineState,
  donsker_varadhan_bound,
  init_mine,
  jensen_shannon_bound,
  mine_bound,
  smile_bound,
)
from latentjax.losses.information.upper import club_bound, leave_one_out_bound
from latentjax.losses.information.wasserstein import gradient_penalty, wasserstein_dependency

__all__ = [
  "MineState",
  "bayes_loss",
  "ceb_loss",
  "club_bound",
  "cs_conditional_divergence",
  "cs_divergence",
  "cs_information",
  "donsker_varadhan_bound",
  "gate_kl",
  "gate_mask",
  "gradient_penalty",
  "hsic",
  "hsic_bottleneck_loss",
  "info_nce_bound",
  "init_mine",
  "interpolated_bound",
  "jensen_shannon_bound",
  "ksg_mutual_information",
  "leave_one_out_bound",
  "mine_bound",
  "normalized_hsic",
  "nwj_bound",
  "smile_bound",
  "tuba_bound",
  "vib_gate",
  "vib_loss",
  "wasserstein_dependency",
]
