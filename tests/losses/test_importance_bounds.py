"""Renyi, CUBO, chi-square and grouped bounds on probabilistic PCA, where all of them are known."""

from functools import partial

import jax
import jax.numpy as jnp
import linear_gaussian
import numpy as np
from contract import check_kernel
from scipy import special

from latentjax.losses import importance

K, M, B = 5, 3, 8
RNG = np.random.default_rng(0)
LOG_W, GROUPED = 3 * RNG.standard_normal((K, B)), 3 * RNG.standard_normal((M, K, B))
EXTREME = [(1e4 * LOG_W,), (1e30 * LOG_W,), (0 * LOG_W,)]
BAD = [
  ((LOG_W.astype(int),), {}, TypeError, "log_w must be a floating point"),
  ((LOG_W[0],), {}, ValueError, "log_w must have 2 axes, got shape \\(8,\\)"),
  ((LOG_W[:0],), {}, ValueError, "log_w must not be empty"),
]
check = partial(check_kernel, batch_axes=1)


def in_float64(fn, *args, **kwargs):
  with jax.enable_x64(True):
    return np.asarray(jax.jit(jax.vmap(partial(fn, **kwargs)))(*args))


def test_renyi_bound():
  check(
    importance.renyi_bound,
    (LOG_W,),
    kwargs={"alpha": 2.5},
    oracle=lambda log_w, alpha: np.log((np.exp(log_w) ** (1 - alpha)).mean(0)) / (1 - alpha),
    extreme=EXTREME,
    bad_inputs=[*BAD, ((LOG_W,), {"alpha": np.inf}, ValueError, "alpha must be in")],
  )


def test_renyi_bound_near_its_removable_singularity():
  mean = LOG_W.mean(0)
  np.testing.assert_allclose(importance.renyi_bound(LOG_W, alpha=1.0), mean, rtol=1e-5, atol=1e-6)
  for alpha in (1 - 1e-6, 1 + 1e-6):
    bound = importance.renyi_bound(LOG_W - 1000, alpha=alpha)
    np.testing.assert_allclose(bound, mean - 1000, rtol=1e-6)
  # Both ways of taking the logarithm agree where they meet.
  with jax.enable_x64(True):
    left, right = (importance.renyi_bound(LOG_W, alpha=a) for a in (0.9 - 1e-13, 0.9 + 1e-13))
  np.testing.assert_allclose(left, right, atol=1e-10)


def test_renyi_bound_of_order_zero_is_iwae():
  bound = importance.renyi_bound(LOG_W, alpha=0.0)
  np.testing.assert_allclose(bound, importance.iwae_bound(LOG_W), rtol=1e-6)


def test_renyi_and_cubo_reach_their_exact_values():
  model = linear_gaussian.make(scale=1.3)
  log_w = model.quantile_log_w(50_000)[None]
  for alpha in (-1.0, -0.4, 0.0, 0.5, 0.999, 1.2):
    bound = in_float64(importance.renyi_bound, log_w, alpha=alpha)[0]
    np.testing.assert_allclose(bound, model.renyi(alpha), atol=1e-3)
  cubo = in_float64(importance.cubo_bound, log_w, order=2.0)[0]
  np.testing.assert_allclose(cubo, model.renyi(-1.0), atol=1e-3)
  assert (cubo > model.log_evidence + 0.01).all()
  elbo = in_float64(importance.renyi_bound, log_w, alpha=1.0)[0]
  np.testing.assert_allclose(elbo, model.elbo, atol=1e-3)
  np.testing.assert_allclose(model.renyi(1 + 1e-7), model.elbo, atol=1e-5)


def test_renyi_bound_falls_with_its_order():
  orders = (-3.0, -1.0, 0.0, 0.5, 0.95, 1.0, 1.05, 2.0, 9.0)
  bounds = [importance.renyi_bound(LOG_W, alpha=alpha) for alpha in orders]
  assert (np.diff(bounds, axis=0) < 0).all()
  assert (bounds[0] < LOG_W.max(0)).all() and (bounds[-1] > LOG_W.min(0)).all()


def expectations(fn, model, counts=(1, 2, 3)):
  """Exact mean over K samples of q of a bound, for every K."""
  means = []
  for count in counts:
    eps, weights = linear_gaussian.noise_quadrature(count)
    log_w = model.log_w(model.mean + model.scale * eps[..., None])
    means.append(weights @ in_float64(fn, np.swapaxes(log_w, 0, 1)))
  return np.array(means)


def test_expected_iwae_rises_from_the_elbo_to_the_evidence():
  model = linear_gaussian.make()
  means = expectations(importance.iwae_bound, model)
  np.testing.assert_allclose(means[0], model.elbo, rtol=1e-10)
  assert (np.diff(means, axis=0) > 0).all() and (means[-1] < model.log_evidence).all()


def test_bias_of_renyi_is_towards_the_elbo():
  model = linear_gaussian.make(scale=1.3)
  for alpha, sign in ((-1.0, 1), (0.5, 1), (2.0, -1)):
    means = expectations(partial(importance.renyi_bound, alpha=alpha), model)
    np.testing.assert_allclose(means[0], model.elbo, rtol=1e-10)
    assert (sign * np.diff(means, axis=0) > 0).all()
    assert (sign * (model.renyi(alpha) - means[-1]) > 0).all()


def test_expected_cubo_of_few_samples_is_no_upper_bound():
  model = linear_gaussian.make(scale=1.3)
  assert (expectations(importance.cubo_bound, model)[0] < model.log_evidence).all()


def test_all_bounds_meet_where_q_is_the_posterior():
  model = linear_gaussian.make(scale=1.0, shift=0.0)
  log_w = model.quantile_log_w(7)
  for fn in (importance.iwae_bound, importance.cubo_bound):
    np.testing.assert_allclose(fn(log_w), model.log_evidence, rtol=1e-5)
  np.testing.assert_allclose(importance.chi2_divergence_bound(log_w), 0, atol=1e-5)
  np.testing.assert_allclose(importance.effective_sample_size(log_w), 7, rtol=1e-5)


def test_cubo_bound():
  check(
    importance.cubo_bound,
    (LOG_W,),
    oracle=lambda log_w: np.log((np.exp(log_w) ** 2).mean(0)) / 2,
    extreme=EXTREME,
    bad_inputs=[*BAD, ((LOG_W,), {"order": 0.5}, ValueError, "order must be in \\[1.0, inf\\]")],
  )


def test_normalized_weights():
  check(
    importance.normalized_weights,
    (LOG_W,),
    oracle=lambda log_w: np.exp(log_w) / np.exp(log_w).sum(0),
    out_axes=1,
    extreme=EXTREME,
    bad_inputs=BAD,
  )


def test_effective_sample_size():
  check(
    importance.effective_sample_size,
    (LOG_W,),
    oracle=lambda log_w: np.exp(log_w).sum(0) ** 2 / np.exp(2 * log_w).sum(0),
    extreme=EXTREME,
    bad_inputs=BAD,
  )


def test_effective_sample_size_counts_the_weights_that_are_not_zero():
  log_w = np.full((5, 1), -np.inf)
  log_w[1:4] = -1000.0
  np.testing.assert_allclose(importance.effective_sample_size(log_w), [3.0], rtol=1e-6)


def test_chi2_divergence_bound():
  check(
    importance.chi2_divergence_bound,
    (LOG_W,),
    oracle=lambda log_w: np.log(1 + (np.exp(log_w) / np.exp(log_w).mean(0)).var(0)),
    extreme=EXTREME,
    bad_inputs=BAD,
  )


def test_chi2_divergence_is_exact_and_above_the_forward_kl():
  model = linear_gaussian.make(scale=1.3)
  bound = in_float64(importance.chi2_divergence_bound, model.quantile_log_w(50_000)[None])[0]
  np.testing.assert_allclose(bound, 2 * (model.renyi(-1.0) - model.log_evidence), atol=2e-3)
  forward_kl = np.log(1.3) + (1 + 0.3**2) / (2 * 1.3**2) - 0.5
  assert (bound > forward_kl + 0.01).all()


def test_chi2_proposal_loss():
  def surrogate(log_w):
    return 0.5 * jnp.log(jnp.sum(jnp.exp(2 * log_w), axis=0))

  check(
    importance.chi2_proposal_loss,
    (LOG_W,),
    oracle=lambda log_w: np.log((np.exp(log_w) ** 2).mean(0)),
    surrogate=surrogate,
    extreme=EXTREME,
    bad_inputs=BAD,
  )


def test_chi2_proposal_gradient_is_that_of_the_exact_second_moment():
  """The samples are detached and fixed; the exact derivative is that of log E_q[w^2]."""
  model = linear_gaussian.make(scale=1.3)
  z = model.mean + model.scale * special.ndtri((np.arange(50_000) + 0.5) / 5e4)[:, None]

  def loss(mean, log_scale):
    log_q = -0.5 * ((z - mean) / jnp.exp(log_scale)) ** 2 - log_scale
    log_joint = model.log_w(z) + (-0.5 * ((z - model.mean) / model.scale) ** 2)
    return importance.chi2_proposal_loss(log_joint - log_q).sum()

  with jax.enable_x64(True):
    grads = jax.grad(loss, argnums=(0, 1))(model.mean, np.full(B, np.log(model.scale)))
  step = 1e-6
  slope = (
    model._replace(mean=model.mean + step).renyi(-1.0)
    - model._replace(mean=model.mean - step).renyi(-1.0)
  ) / step
  np.testing.assert_allclose(grads[0], slope, rtol=5e-3)
  slope = (
    model._replace(scale=model.scale * np.exp(step)).renyi(-1.0)
    - model._replace(scale=model.scale * np.exp(-step)).renyi(-1.0)
  ) / step
  np.testing.assert_allclose(grads[1], slope, rtol=5e-2)


BAD_GROUPED = [
  ((GROUPED.astype(int),), {}, TypeError, "log_w must be a floating point"),
  ((LOG_W,), {}, ValueError, "log_w must have 3 axes"),
  ((GROUPED[:0],), {}, ValueError, "log_w must not be empty"),
]


def test_miwae_bound():
  check_kernel(
    importance.miwae_bound,
    (GROUPED,),
    oracle=lambda log_w: np.log(np.exp(log_w).mean(1)).mean(0),
    batch_axes=2,
    extreme=[(1e4 * GROUPED,), (1e30 * GROUPED,)],
    bad_inputs=BAD_GROUPED,
  )


def test_miwae_between_the_elbo_and_iwae():
  iwae, elbo = importance.iwae_bound(LOG_W), LOG_W.mean(0)
  np.testing.assert_allclose(importance.miwae_bound(LOG_W[None]), iwae, rtol=1e-6)
  np.testing.assert_allclose(importance.miwae_bound(LOG_W[:, None]), elbo, rtol=1e-4, atol=1e-5)


def test_ciwae_bound():
  check(
    importance.ciwae_bound,
    (LOG_W,),
    kwargs={"beta": 0.05},
    oracle=lambda w, beta: beta * w.mean(0) + (1 - beta) * np.log(np.exp(w).mean(0)),
    extreme=EXTREME,
    bad_inputs=[*BAD, ((LOG_W,), {"beta": 1.5}, ValueError, "beta must be in \\[0.0, 1.0\\]")],
  )


def test_piwae_bound():
  def surrogate(model, inference):
    flat = model.reshape(M * K, B)
    miwae = jnp.log(jnp.mean(jnp.exp(inference), axis=1)).mean(0)
    return jnp.log(jnp.mean(jnp.exp(flat), axis=0)) + miwae

  check_kernel(
    importance.piwae_bound,
    (GROUPED, GROUPED),
    oracle=lambda model, _: np.log(np.exp(model).mean((0, 1))),
    surrogate=surrogate,
    batch_axes=2,
    extreme=[(1e4 * GROUPED, 1e4 * GROUPED)],
    bad_inputs=[
      ((GROUPED, GROUPED[:2]), {}, ValueError, "must have the same shape"),
      ((LOG_W, LOG_W), {}, ValueError, "log_w_model must have 3 axes"),
    ],
  )
