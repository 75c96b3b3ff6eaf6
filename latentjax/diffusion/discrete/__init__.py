r"""Diffusion of tokens: masked, replaced by random ones, or both, at times t in [0, 1].

Networks predict the data: `predict_fn(x_t, t) -> logits` (B, ..., K) of p(x_0 | x_t) at every place. All
else follows in closed form, for any two times, so a model can be sampled at other times than it was
trained at. `losses.score.discrete_loss` trains them.
"""

from latentjax.diffusion.discrete.losses import prior_kl, rate_loss, step_kl
from latentjax.diffusion.discrete.posterior import posterior_log_prob
from latentjax.diffusion.discrete.process import (
  DiscreteProcess,
  absorbing,
  bernoulli,
  mask_and_replace,
  uniform,
)
from latentjax.diffusion.discrete.sampling import ancestral, logits_from_flips
from latentjax.diffusion.discrete.transitions import (
  corrupt,
  draw_prior,
  transition_log_prob,
)

__all__ = [
  "DiscreteProcess",
  "absorbing",
  "ancestral",
  "bernoulli",
  "corrupt",
  "draw_prior",
  "logits_from_flips",
  "mask_and_replace",
  "posterior_log_prob",
  "prior_kl",
  "rate_loss",
  "step_kl",
  "transition_log_prob",
  "uniform",
]
