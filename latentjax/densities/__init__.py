"""Probability densities: one module per family, all with the same verbs.

Each module is a family that can be handed around, for instance `vae(..., likelihood=bernoulli)`.
Its functions take the family's parameters in one fixed order: `log_prob(x, *params)`, `sample(key,
*params)`, `mean(*params)`, `entropy(*params)`, `kl(*params_q, *params_p)`. The last `event_ndim`
axes are one event and are summed over.
"""

from latentjax.densities import (
  bernoulli,
  brownian,
  categorical,
  continuous_bernoulli,
  discretized_logistic,
  discretized_logistic_mixture,
  factor_analysis,
  gaussian,
  gaussian_full,
  gaussian_optimal,
  gumbel_softmax,
  laplace,
  low_rank_mixture,
  manifolds,
  mixture,
  mixture_em,
  negative_binomial,
  normal_inverse_wishart,
  poisson,
  power_spherical,
  product_of_experts,
  student_t,
  von_mises_fisher,
  zero_inflated_negative_binomial,
)

__all__ = [
  "bernoulli",
  "brownian",
  "categorical",
  "continuous_bernoulli",
  "discretized_logistic",
  "discretized_logistic_mixture",
  "factor_analysis",
  "gaussian",
  "gaussian_full",
  "gaussian_optimal",
  "gumbel_softmax",
  "laplace",
  "low_rank_mixture",
  "manifolds",
  "mixture",
  "mixture_em",
  "negative_binomial",
  "normal_inverse_wishart",
  "poisson",
  "power_spherical",
  "product_of_experts",
  "student_t",
  "von_mises_fisher",
  "zero_inflated_negative_binomial",
]
