"""Statistics and projections are not left to the few digits of an accelerator's default matrix product."""

from functools import partial

import jax
import jax.numpy as jnp
import pytest

from latentjax.densities import (
  factor_analysis,
  gaussian_full,
  manifolds,
  mixture,
  mixture_em,
  normal_inverse_wishart,
)

B, D, Z, KEY = 8, 3, 2, jax.random.key(0)
X, EYE, ONE = jnp.ones((B, D)), jnp.eye(D), jnp.ones(())
FACTORS, PRIOR = (X[0], X[:D, :Z], X[0]), (X[0], ONE, EYE, 9 * ONE)
MIXTURE = (X[:Z, 0], X[:Z], X[:Z])
SPACES = (manifolds.rotations(), manifolds.projective_space(dim=2))
FUNCTIONS = {
  "factor_analysis.log_prob": lambda: factor_analysis.log_prob(X, *FACTORS),
  "factor_analysis.posterior": lambda: factor_analysis.posterior(X, *FACTORS),
  "factor_analysis_em": lambda: factor_analysis.factor_analysis_em(X, latent_dim=Z),
  "gaussian_full.sample": lambda: gaussian_full.sample(KEY, X, EYE),
  "mixture.mean": lambda: mixture.mean(*MIXTURE),
  "update_gmm": lambda: mixture_em.update_gmm(X, *MIXTURE),
  "niw.sample": lambda: normal_inverse_wishart.sample(KEY, *PRIOR),
  "niw.posterior": lambda: normal_inverse_wishart.posterior(X, X[:, 0], *PRIOR),
} | {
  f"projection {i}": partial(jax.jvp, space.project, (jnp.eye(3).ravel(),), (jnp.ones(9),))
  for i, space in enumerate(SPACES)
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_matrix_products_have_the_highest_precision(name):
  program = str(jax.make_jaxpr(FUNCTIONS[name])())
  assert program.count("dot_general[") == program.count("precision=(Precision.HIGHEST") > 0
