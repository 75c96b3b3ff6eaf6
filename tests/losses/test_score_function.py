"""Gradient estimators for discrete variables: unbiased by exact enumeration, quiet where they promise it."""

from functools import partial
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from latentjax.losses.score_function import (
  arm_loss,
  disarm_loss,
  leave_one_out_loss,
  reinforce_loss,
  vimco_bound,
)
from tests.contract import check_kernel

K, B, D = 3, 8, 2
RNG = np.random.default_rng(0)
COST = RNG.standard_normal((K, B)).astype(np.float32)
LOG_Q = (-RNG.uniform(0.1, 2, (K, B))).astype(np.float32)
LOGITS = RNG.standard_normal((B, D)).astype(np.float32)
TABLE = np.array([0.3, -1.0, 2.0], np.float32)  # cost of three classes
WIDE = np.float64

others = lambda x: np.stack([np.delete(x, k, 0).mean(0) for k in range(len(x))])


def linear(signal, own=1.0):
  """Function with the derivative that the estimator claims, for finite differences."""
  return lambda value, log_q: own * value + signal * log_q


def test_contract_reinforce():
  baseline = np.linspace(-1, 1, B).astype(np.float32)
  check_kernel(
    partial(reinforce_loss, baseline=baseline),
    (COST, LOG_Q),
    oracle=lambda cost, log_q: cost,
    surrogate=linear(COST.astype(WIDE) - baseline),
    batch_axes=1,
    out_axes=1,
    extreme=[(1e4 * COST, 1e4 * LOG_Q)],
    bad_inputs=[
      ((COST, LOG_Q[:1]), {}, ValueError, "cost and log_q must have the same shape"),
      ((COST.astype(int), LOG_Q), {}, TypeError, "cost must be a floating"),
      ((COST, LOG_Q), {"baseline": np.ones((2, B))}, ValueError, "baseline must broadcast"),
    ],
  )


def test_contract_leave_one_out():
  check_kernel(
    leave_one_out_loss,
    (COST, LOG_Q),
    oracle=lambda cost, log_q: cost,
    surrogate=linear(COST.astype(WIDE) - others(COST.astype(WIDE))),
    batch_axes=1,
    out_axes=1,
    extreme=[(1e4 * COST, 1e4 * LOG_Q)],
    bad_inputs=[((COST[:1], LOG_Q[:1]), {}, ValueError, "cost must have at least 2 samples")],
  )


def vimco_signal(log_w):
  weights = np.exp(log_w)
  geometric = np.exp(others(log_w))
  return np.log(weights.mean(0)) - np.log((weights.sum(0) - weights + geometric) / len(log_w))


def test_contract_vimco():
  signal = vimco_signal(COST.astype(WIDE))
  check_kernel(
    vimco_bound,
    (COST, LOG_Q),
    oracle=lambda log_w, log_q: np.log(np.exp(log_w).mean(0)),
    surrogate=lambda log_w, log_q: (
      jax.nn.logsumexp(log_w, axis=0) - np.log(K) + (signal * log_q).sum(0)
    ),
    batch_axes=1,
    extreme=[(1e4 * COST, LOG_Q), (0 * COST, LOG_Q)],
    bad_inputs=[((COST[:1], LOG_Q[:1]), {}, ValueError, "log_w must have at least 2 samples")],
  )


def quadratic(b):
  return jnp.sum(b, axis=1) ** 2 - 1.7 * b[:, 0]


@pytest.mark.parametrize("loss", [arm_loss, disarm_loss])
def test_contract_antithetic(loss, key):
  """The estimator is read off its gradient in float64 and must be linear in the logits between jumps."""
  with jax.enable_x64(True):
    weights = jax.vjp(lambda logits: loss(key, logits, quadratic), LOGITS.astype(WIDE))[1]
    weights = np.asarray(weights(np.ones(B))[0])

  def surrogate(key, logits):
    return loss(key, jax.lax.stop_gradient(logits), quadratic) + (weights * logits).sum(1)

  check_kernel(
    lambda key, logits, axis_name=None: loss(key, logits, quadratic, axis_name=axis_name),
    (LOGITS,),
    key=key,
    surrogate=surrogate,
    batch_coupled=True,
    extreme=[(1e4 * LOGITS,)],
    bfloat16=False,  # rounded logits may flip a sample
    bad_inputs=[((np.float32(0),), {}, ValueError, "logits must have an axis of rows")],
  )
  with pytest.raises(ValueError, match=r"cost_fn must return shape \(8,\)"):
    loss(key, LOGITS, lambda b: b)


def mean_gradient(logits, num_samples, surrogate):
  """Exact mean over all tuples of classes of the gradient of surrogate(costs, log_q)."""
  labels = jnp.array(list(product(range(3), repeat=num_samples)))

  def gradient(pick):
    draw = lambda logits: surrogate(jnp.asarray(TABLE)[pick], jax.nn.log_softmax(logits)[pick])
    return jnp.prod(jax.nn.softmax(logits)[pick]) * jax.grad(draw)(logits)

  return jax.jit(jax.vmap(gradient))(labels).sum(0)


def test_score_function_estimators_are_unbiased():
  logits = jnp.array([0.2, -0.5, 1.0])
  exact = jax.grad(lambda logits: jax.nn.softmax(logits) @ TABLE)(logits)
  reinforce = lambda cost, log_q: reinforce_loss(cost, log_q, baseline=0.7).mean()
  loo = lambda cost, log_q: leave_one_out_loss(cost, log_q).mean()
  np.testing.assert_allclose(mean_gradient(logits, 1, reinforce), exact, atol=1e-6)
  np.testing.assert_allclose(mean_gradient(logits, 2, loo), exact, atol=1e-6)


def test_vimco_is_unbiased_for_the_multi_sample_bound():
  logits = jnp.array([0.2, -0.5, 1.0])

  def expected_bound(logits):
    q, log_w = jax.nn.softmax(logits), TABLE - jax.nn.log_softmax(logits)
    pairs = jnp.log(0.5 * (jnp.exp(log_w)[:, None] + jnp.exp(log_w)))
    return q @ pairs @ q

  vimco = lambda table, log_q: vimco_bound(table - log_q, log_q)
  exact = jax.grad(expected_bound)(logits)
  assert np.abs(exact).max() > 0.01
  np.testing.assert_allclose(mean_gradient(logits, 2, vimco), exact, atol=1e-6)


def test_antithetic_estimators_are_unbiased_and_disarm_is_quieter(key):
  logits = jnp.array([[0.4, -1.2]])

  def expectation(logits):
    states = jnp.array(list(product([0.0, 1.0], repeat=D)))
    log_q = states @ logits[0] - jnp.logaddexp(0, logits[0]).sum()
    return jnp.exp(log_q) @ quadratic(states)

  exact, keys = jax.grad(expectation)(logits), jax.random.split(key, 20_000)
  variance = {}
  for loss in (arm_loss, disarm_loss):
    draw = jax.value_and_grad(lambda logits, key, loss=loss: loss(key, logits, quadratic)[0])
    values, grads = jax.jit(jax.vmap(partial(draw, logits)))(keys)
    error = 5 * grads.std(0) / len(keys) ** 0.5
    assert (np.abs(grads.mean(0) - exact) < error).all()
    assert abs(values.mean() - expectation(logits)) < 5 * values.std() / len(keys) ** 0.5
    variance[loss] = grads.var(0).sum()
  assert variance[disarm_loss] < variance[arm_loss]


def test_leave_one_out_is_silent_where_all_samples_cost_the_same():
  grads = jax.grad(lambda log_q: leave_one_out_loss(0 * COST + 5, log_q).mean())(LOG_Q)
  assert not np.any(grads)
