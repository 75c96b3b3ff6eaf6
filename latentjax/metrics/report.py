"""Every disentanglement score of a code at once, as studies of many models report them."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.metrics.dci import dci
from latentjax.metrics.explicitness import explicitness
from latentjax.metrics.fixed_factor_scores import beta_vae_score, factor_vae_score
from latentjax.metrics.infomec import infomec
from latentjax.metrics.information_gaps import dcimig, dmig, mig, modularity
from latentjax.metrics.irs import irs
from latentjax.metrics.latent_correlation import (
  gaussian_total_correlation,
  gaussian_wasserstein_correlation,
)
from latentjax.metrics.sap import sap

__all__ = ["disentanglement_report"]


def disentanglement_report(
  key: jax.Array,
  codes: ArrayLike,
  factors: ArrayLike,
  *,
  test_codes: ArrayLike | None = None,
  test_factors: ArrayLike | None = None,
  num_values: int | Sequence[int] | None = None,
  num_stages: int = 100,
) -> dict[str, jax.Array]:
  r"""Scores of a code by every metric here that asks for no more than codes and integer factors.

  .. math:: \{\, \mathrm{name} \mapsto m(z, v) \,\}

  with each metric's defaults, which are those of disentanglement_lib where it has the metric. For
  factors that are numbers there are also `mean_correlation_coefficient` and `identifiability_r2`, for
  pairs that differ in one factor `omes`, and for several models `udr`.

  Args:
    key: random key, of the two scores that draw examples.
    codes: z, such as means of q(z|x), shape (N, Z), floating point, Z >= 2.
    factors: v, integers in [0, num_values), shape (N, F), F >= 2.
    test_codes: codes on which predictors are judged (SAP, DCI, explicitness), shape (M, Z); by default
      those that they were fitted to.
    test_factors: their factors, shape (M, F).
    num_values: number of values of every factor, or of all the largest; None: what the factors show,
      which traced ones cannot. It should be given where several sets of examples are compared: another
      number of values is another program.
    num_stages: of DCI's boosted trees, which take most of the time.

  Returns:
    Scalars by name, float32 or wider, detached. More is better, in [0, 1] but for the rare codes that
    `dmig` and `irs` name: beta_vae_score, factor_vae_score, mig, dmig (the mean over the factors), dcimig,
    sap, modularity, explicitness, irs, dci_disentanglement, dci_completeness, dci_informativeness,
    info_modularity, info_compactness, info_explicitness. Of a Gaussian fit to the codes, in nats and in
    squared units of the codes, less is better: total_correlation, wasserstein_correlation.

  Raises:
    TypeError: if codes are not floating point or factors are not integers.
    ValueError: if shapes do not fit, there are too few codes or factors, or a concrete code is not
      finite.

  Example:
    >>> codes, factors = jnp.zeros((100, 4)), jnp.zeros((100, 2), int)
    >>> report = jax.eval_shape(
    ...   lambda *data: disentanglement_report(*data, num_values=3), jax.random.key(0), codes, factors
    ... )
    >>> len(report), report["mig"].shape
    (17, ())

  References:
    Locatello et al., Challenging Common Assumptions in the Unsupervised Learning of Disentangled
      Representations, 2019. arXiv:1811.12359
  """
  key_beta, key_factor = jax.random.split(key)
  values: dict[str, Any] = {"num_values": num_values}
  judged = values | {"test_codes": test_codes, "test_factors": test_factors}
  trees = dci(codes, factors, num_stages=num_stages, **judged)
  shared = infomec(codes, factors, **values)
  return {
    "beta_vae_score": beta_vae_score(key_beta, codes, factors, **values),
    "factor_vae_score": factor_vae_score(key_factor, codes, factors, **values),
    "mig": mig(codes, factors, **values),
    "dmig": jnp.mean(dmig(codes, factors, **values)),
    "dcimig": dcimig(codes, factors, **values),
    "sap": sap(codes, factors, **judged),
    "modularity": modularity(codes, factors, **values),
    "explicitness": explicitness(codes, factors, **judged),
    "irs": irs(codes, factors),
    "dci_disentanglement": trees.disentanglement,
    "dci_completeness": trees.completeness,
    "dci_informativeness": trees.informativeness,
    "info_modularity": shared.modularity,
    "info_compactness": shared.compactness,
    "info_explicitness": shared.explicitness,
    "total_correlation": gaussian_total_correlation(codes),
    "wasserstein_correlation": gaussian_wasserstein_correlation(codes),
  }
