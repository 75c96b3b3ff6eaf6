"""Probability densities: one module per family, all with the same verbs.

Each module is a family that can be handed around, for instance `vae(..., likelihood=bernoulli)`.
Its functions take the family's parameters in one fixed order: `log_prob(x, *params)`, `sample(key,
*params)`, `mean(*params)`, `entropy(*params)`, `kl(*params_q, *params_p)`. The last `event_ndim`
axes are one event and are summed over.
"""

from latentjax.densities import bernoulli, gaussian

__all__ = ["bernoulli", "gaussian"]
