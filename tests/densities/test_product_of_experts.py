"""Products of Gaussian experts against the pointwise product of their densities."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import check_kernel
from scipy import stats

from latentjax.densities import product_of_experts

E, B, Z = 3, 8, 2
RNG = np.random.default_rng(0)
MEAN, LOG_SCALE = RNG.standard_normal((2, E, B, Z))
MASK = RNG.integers(0, 2, (E, B)).astype(bool)
MASK[:, 0], MASK[0, 1:] = False, True


def product(mean, log_scale, mask, prior_expert=True):
  """Moments of the product of densities on a grid."""
  x = np.linspace(-12, 12, 4001)[:, None, None]
  log_p = stats.norm.logpdf(x) if prior_expert else 0 * x
  for m, s, w in zip(mean, log_scale, mask):
    log_p = log_p + np.where(w[:, None], stats.norm.logpdf(x, m, np.exp(s)), 0)
  p = np.exp(log_p - log_p.max(0))
  p /= p.sum(0)
  centre = (p * x).sum(0)
  return centre, 0.5 * np.log((p * (x - centre) ** 2).sum(0))


def test_combine():
  wide, narrow = np.full((E, B, Z), 40.0), np.full((E, B, Z), -40.0)
  mixed = np.concatenate([wide[:1], narrow[1:]])
  check_kernel(
    jax.jit(product_of_experts.combine),
    (MEAN, LOG_SCALE, MASK),
    oracle=product,
    batch_axes=1,
    extreme=[(MEAN, s, MASK) for s in (wide, narrow, mixed)],
    bad_inputs=[
      ((MEAN, LOG_SCALE, MASK[:2]), {}, ValueError, "mask must have shape \\(3, 8\\)"),
      ((MEAN, LOG_SCALE[:1], MASK), {}, ValueError, "mean and log_scale must have the same shape"),
      ((MEAN, LOG_SCALE, MASK.astype(int)), {}, TypeError, "mask must be a floating point"),
      ((MEAN[0], LOG_SCALE[0], MASK[0]), {}, ValueError, "mean must have 3 axes"),
    ],
  )


def test_without_the_prior_expert():
  some = slice(1, None)
  args = (MEAN[:, some], LOG_SCALE[:, some], MASK[:, some])
  combine = jax.jit(partial(product_of_experts.combine, prior_expert=False))
  got = combine(*args)
  for value, expected in zip(got, product(*args, prior_expert=False)):
    np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-5)
  mean, log_scale = combine(MEAN, LOG_SCALE, MASK)
  assert (
    (mean[0] == 0).all() and np.isposinf(log_scale[0]).all() and np.isfinite(log_scale[1:]).all()
  )


@pytest.mark.parametrize("prior_expert", [True, False])
def test_missing_experts_do_not_matter_whatever_they_hold(prior_expert):
  junk = np.where(MASK[..., None], MEAN, np.nan), np.where(MASK[..., None], LOG_SCALE, np.inf)

  def total(mean, log_scale):
    out = product_of_experts.combine(mean, log_scale, MASK, prior_expert=prior_expert)
    return sum(jnp.where(jnp.isfinite(p), p, 0).sum() for p in out)

  run = jax.jit(jax.value_and_grad(total, (0, 1)))
  clean, dirty = (run(*map(jnp.float32, p)) for p in ((MEAN, LOG_SCALE), junk))
  for a, b in zip(jax.tree.leaves(clean), jax.tree.leaves(dirty)):
    np.testing.assert_array_equal(a, b)
  assert not np.any(np.asarray(dirty[1][0])[~MASK])


def test_no_expert_is_the_prior():
  mean, log_scale = product_of_experts.combine(MEAN, LOG_SCALE, np.zeros((E, B), bool))
  assert not mean.any() and not log_scale.any()
