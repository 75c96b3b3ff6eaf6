"""Penalties on rates and on the moments of the aggregate posterior, and the schedules of both."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import check_kernel

from latentjax.densities import gaussian
from latentjax.losses import annealing
from latentjax.losses.elbo import (
  autogen_bound,
  balanced_kl,
  capacity_loss,
  constrained_kl_loss,
  dip_penalty,
  elbo,
  free_bits,
  infovae_bound,
)

B, D = 8, 6
RNG = np.random.default_rng(0)
MEAN, LOG_SCALE = RNG.standard_normal((B, D)), 0.3 * RNG.standard_normal((B, D)) - 0.5
KL = 3 * RNG.uniform(size=(B, D))
LOG_LIKELIHOOD = -100 * RNG.uniform(size=B)


def dip_oracle(mean, log_scale, kind="i", lambda_offdiag=10.0, lambda_diag=100.0, **_):
  covariance = np.cov(mean, rowvar=False, bias=True)
  if kind == "ii":
    covariance = covariance + np.diag(np.exp(2 * log_scale).mean(0))
  weights = np.where(np.eye(D), lambda_diag, lambda_offdiag)
  return np.sum(weights * (covariance - np.eye(D)) ** 2)


@pytest.mark.parametrize("kind", ["i", "ii"])
def test_dip_penalty(kind):
  check_kernel(
    dip_penalty,
    (MEAN, LOG_SCALE),
    kwargs={"kind": kind, "lambda_offdiag": 3.0, "lambda_diag": 5.0},
    detached=(1,) if kind == "i" else (),
    oracle=dip_oracle,
    batch_coupled=True,
    extreme=[(1e4 * MEAN, LOG_SCALE), (MEAN, 0 * MEAN - 40), (0 * MEAN, 0 * MEAN + 20)],
    bad_inputs=[
      ((MEAN, LOG_SCALE.astype(int)), {}, TypeError, "log_scale must be a floating point"),
      ((MEAN, LOG_SCALE[:, :1]), {}, ValueError, "mean and log_scale must have the same shape"),
      ((MEAN[0], MEAN[0]), {}, ValueError, "mean must have 2 axes"),
      ((MEAN, LOG_SCALE), {"kind": "iii"}, ValueError, "kind must be one of 'i', 'ii'"),
      ((MEAN, LOG_SCALE), {"lambda_diag": -1.0}, ValueError, "lambda_diag must be in"),
    ],
  )


def test_dip_penalty_is_zero_for_a_white_aggregate():
  signs = np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]], np.float32)
  half = np.full((4, 2), 0.5 * np.log(0.5), np.float32)
  assert dip_penalty(signs, half, kind="i") == 0
  np.testing.assert_allclose(dip_penalty(np.sqrt(0.5) * signs, half, kind="ii"), 0, atol=1e-10)


def test_capacity_loss():
  check_kernel(
    capacity_loss,
    (KL,),
    kwargs={"capacity": 1.5, "gamma": 10.0},
    oracle=lambda kl, capacity, gamma: gamma * np.maximum(kl - capacity, capacity - kl),
    extreme=[(1e30 * KL,)],
    bad_inputs=[
      ((KL.astype(int),), {}, TypeError, "kl must be a floating point"),
      ((KL,), {"capacity": -1.0}, ValueError, "capacity must be in"),
      ((KL,), {"gamma": -1.0}, ValueError, "gamma must be in"),
    ],
  )


def test_constrained_kl_loss():
  def surrogate(kl, logit):
    beta = jax.nn.softplus(logit)
    fixed = jnp.log1p(jnp.exp(jnp.asarray(0.3, kl.dtype)))
    return fixed * (kl - 1.5) - beta * (jnp.asarray(KL[:, 0], kl.dtype) - 1.5)

  check_kernel(
    constrained_kl_loss,
    (KL[:, 0], np.array(0.3)),
    kwargs={"capacity": 1.5},
    oracle=lambda kl, logit, capacity: np.log(1 + np.exp(logit)) * (kl - capacity),
    surrogate=lambda kl, logit, **_: surrogate(kl, logit),
    batch_axes=(0, None),
    extreme=[(KL[:, 0], np.array(1e4)), (KL[:, 0], np.array(-1e4))],
    bad_inputs=[
      ((KL, 1), {}, TypeError, "multiplier_logit must be a floating point"),
      ((KL, KL), {}, ValueError, "multiplier_logit must have 0 axes"),
      ((KL, 0.0), {"capacity": -1.0}, ValueError, "capacity must be in"),
    ],
  )


def test_descent_on_the_constrained_loss_finds_the_capacity():
  """A rate with a pull of its own, kl(r) = r with utility -log r: beta settles at 1 / C."""

  def loss(params):
    rate = jnp.exp(params[0])
    return -jnp.log(rate) + constrained_kl_loss(rate, params[1], capacity=4.0)

  def step(_, params):
    return params - 0.05 * jax.grad(loss)(params)

  params = jax.lax.fori_loop(0, 3000, step, jnp.array([0.0, 0.0]))
  np.testing.assert_allclose(jnp.exp(params[0]), 4.0, rtol=1e-2)
  np.testing.assert_allclose(jax.nn.softplus(params[1]), 1 / 4, rtol=1e-2)


def free_bits_oracle(kl, min_nats, group_size=1, **_):
  groups = kl.reshape(len(kl), -1, group_size).sum(2)
  clamped = np.tile(np.where(groups.mean(0) > min_nats, np.nan, min_nats), (len(kl), 1))
  return np.where(np.isnan(clamped), groups, clamped).sum(1)


def test_free_bits():
  check_kernel(
    free_bits,
    (KL,),
    kwargs={"min_nats": 3.1, "group_size": 2},
    oracle=free_bits_oracle,
    batch_coupled=True,
    extreme=[(1e30 * KL,), (0 * KL,)],
    bad_inputs=[
      ((KL.astype(int),), {}, TypeError, "kl must be a floating point"),
      ((KL[0],), {}, ValueError, "kl must have 2 axes"),
      ((KL,), {"min_nats": -1.0}, ValueError, "min_nats must be in"),
      ((KL,), {"group_size": 4}, ValueError, "group_size must divide the 6 columns of kl, got 4"),
      ((KL,), {"group_size": 0}, ValueError, "group_size must be a positive integer"),
    ],
  )


def test_free_bits_of_the_batch_mean_per_dimension_and_per_group():
  for group_size in (1, 3, 6):
    means = KL.mean(0).reshape(-1, group_size).sum(1)
    for floor in (0.0, np.median(means), 100.0):
      loss = free_bits(KL, min_nats=floor, group_size=group_size)
      np.testing.assert_allclose(jnp.mean(loss), np.maximum(means, floor).sum(), rtol=1e-5)
  floor = np.median(KL.mean(0))
  grad = jax.grad(lambda kl: free_bits(kl, min_nats=floor).sum())(jnp.asarray(KL))
  np.testing.assert_array_equal(grad, np.tile(KL.mean(0) > floor, (B, 1)))


def test_balanced_kl():
  other_mean, other_scale = RNG.standard_normal((2, B, D))
  args = (MEAN, LOG_SCALE, other_mean, 0.3 * other_scale)

  def kl_fn(q, p):
    return gaussian.kl(*q, *p)

  def surrogate(*params, balance):
    fixed = [jnp.asarray(array, params[0].dtype) for array in args]
    share = 1 - balance
    return share * gaussian.kl(*params[:2], *fixed[2:]) + balance * gaussian.kl(
      *fixed[:2], *params[2:]
    )

  def oracle(m_q, s_q, m_p, s_p, **_):
    ratio = np.exp(2 * (s_q - s_p))
    return 0.5 * (ratio + ((m_q - m_p) / np.exp(s_p)) ** 2 - 1 - np.log(ratio)).sum(1)

  check_kernel(
    lambda *params, **kwargs: balanced_kl(params[:2], params[2:], kl_fn, **kwargs),
    args,
    kwargs={"balance": 0.8},
    surrogate=surrogate,
    oracle=oracle,
    bad_inputs=[(args, {"balance": 1.5}, ValueError, "balance must be in \\[0.0, 1.0\\]")],
  )


def test_autogen_bound():
  kl = KL[:, 0]
  check_kernel(
    autogen_bound,
    (LOG_LIKELIHOOD, kl),
    kwargs={"num_reconstructions": 3.0},
    oracle=lambda a, b, num_reconstructions: 4 * (a - b / 4),
    bad_inputs=[
      ((LOG_LIKELIHOOD, KL), {}, ValueError, "log_likelihood and kl must have the same shape"),
      ((LOG_LIKELIHOOD, kl), {"num_reconstructions": -1}, ValueError, "num_reconstructions must"),
    ],
  )
  none = autogen_bound(LOG_LIKELIHOOD, kl, num_reconstructions=0)
  np.testing.assert_array_equal(none, elbo(LOG_LIKELIHOOD, kl))


def test_infovae_bound():
  args = (LOG_LIKELIHOOD, KL[:, 0], np.array(0.4))
  check_kernel(
    infovae_bound,
    args,
    kwargs={"alpha": -0.5, "reg_weight": 10.0},
    oracle=lambda a, b, c, alpha, reg_weight: a - 1.5 * b - 8.5 * c,
    batch_axes=(0, 0, None),
    bad_inputs=[
      ((*args[:2], KL), {}, ValueError, "log_likelihood and divergence must have the same shape"),
      (args, {"alpha": 1.1}, ValueError, "alpha must be in"),
      (args, {"reg_weight": -1.0}, ValueError, "reg_weight must be in"),
      ((*args[:2], 1), {}, TypeError, "divergence must be a floating point"),
    ],
  )
  same = infovae_bound(*args, alpha=0.0, reg_weight=1.0)
  np.testing.assert_allclose(same, elbo(*args[:2]), rtol=1e-6)


def test_linear_annealing():
  values = jax.jit(lambda t: annealing.linear_annealing(t, num_steps=4, start=2.0, end=0.3))
  expected = np.interp(np.arange(7), [0, 4], [2.0, 0.3]).astype(np.float32)
  np.testing.assert_allclose(values(jnp.arange(7)), expected, rtol=1e-6)
  assert values(jnp.array(10**9)) == np.float32(0.3)


def test_cyclical_annealing():
  settings = {"num_steps": 40, "num_cycles": 4, "ramp": 0.8, "start": 0.1, "end": 1.0}
  values = annealing.cyclical_annealing(np.arange(60), **settings)
  one_cycle = np.interp(np.arange(10), [0, 8], [0.1, 1.0])
  expected = np.concatenate([np.tile(one_cycle, 4), np.ones(20)])
  np.testing.assert_allclose(values, expected, rtol=1e-6)
  single = annealing.cyclical_annealing(np.arange(60), num_steps=40, num_cycles=1, ramp=1.0)
  linear = annealing.linear_annealing(np.arange(60), num_steps=40)
  np.testing.assert_allclose(single, linear, rtol=1e-6)


def test_bad_schedules():
  with pytest.raises(ValueError, match="num_steps must be a positive integer, got 0"):
    annealing.linear_annealing(1, num_steps=0)
  with pytest.raises(ValueError, match="end must be in"):
    annealing.linear_annealing(1, num_steps=3, end=np.inf)
  with pytest.raises(ValueError, match=r"num_cycles must divide num_steps.*got num_cycles 3"):
    annealing.cyclical_annealing(1, num_steps=10, num_cycles=3)
  with pytest.raises(ValueError, match="ramp must be positive"):
    annealing.cyclical_annealing(1, num_steps=10, num_cycles=2, ramp=0.0)


def test_exponential_annealing():
  steps = np.array([0, 4, 5, 9, 10, 30, 10**9])
  values = annealing.exponential_annealing(steps, rate=0.1, start=2.0, minimum=0.5, interval=5)
  exact = np.maximum(0.5, 2 * np.exp(-0.1 * (steps // 5 * 5)))
  np.testing.assert_allclose(values, exact, rtol=1e-6)
  with pytest.raises(ValueError, match="minimum must be in"):
    annealing.exponential_annealing(1, rate=0.1, minimum=2.0)
