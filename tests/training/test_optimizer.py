"""Schedules against their closed forms; clipping."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from latentjax.training import make_optimizer, make_schedule


@pytest.mark.parametrize("name", ["constant", "cosine", "linear"])
@pytest.mark.parametrize("warmup", [0, 4])
def test_schedule(name, warmup):
  schedule = make_schedule(name, 0.3, num_steps=20, warmup_steps=warmup)
  for step in range(20):
    u = (step - warmup) / (20 - warmup)
    after = {"constant": 1.0, "cosine": 0.5 * (1 + np.cos(np.pi * u)), "linear": 1 - u}[name]
    wanted = 0.3 * (step / warmup if step < warmup else after)
    np.testing.assert_allclose(schedule(step), wanted, rtol=1e-5, atol=1e-7)


def test_bad_schedules_are_named():
  with pytest.raises(ValueError, match="name: got 'step'"):
    make_schedule("step", 0.1, num_steps=3)
  with pytest.raises(ValueError, match="warmup_steps: got 9"):
    make_schedule("constant", 0.1, num_steps=9, warmup_steps=9)


def test_clipping_limits_the_global_norm_that_adam_sees():
  params = {"a": jnp.zeros(2), "b": jnp.zeros(1)}
  grads = {"a": jnp.array([3.0, 0.0]), "b": jnp.array([4.0])}
  clipped = make_optimizer(1.0, clip_norm=1.0)
  state = clipped.update(grads, clipped.init(params), params)[1]
  mu = next(s for s in state[1] if isinstance(s, optax.ScaleByAdamState)).mu
  np.testing.assert_allclose(mu["a"], [0.1 * 0.6, 0.0], rtol=1e-5)
  np.testing.assert_allclose(mu["b"], [0.1 * 0.8], rtol=1e-5)


def test_weight_decay_is_decoupled():
  params, zero = {"a": jnp.array([2.0])}, {"a": jnp.array([0.0])}
  decayed = make_optimizer(0.1, weight_decay=0.5)
  updates, _ = decayed.update(zero, decayed.init(params), params)
  np.testing.assert_allclose(updates["a"], [-0.1 * 0.5 * 2.0], rtol=1e-6)
