"""The train step against plain numpy, on one device and per device."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import problem
import pytest
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from latentjax.collectives import device_mean
from latentjax.training import init_train_state, make_train_step


def quiet(params, model_state, key, batch):
  """Mean squared error without noise; the gradient is known."""
  error = batch["x"] @ params["w"] - batch["y"]
  return jnp.mean(error**2), (model_state, {})


def batch(rows=12):
  arrays = problem.dataset(rows).arrays
  return {k: jnp.asarray(v) for k, v in arrays.items()}


def exact_gradient(w, x, y):
  x, y, w = (np.asarray(a, np.float64) for a in (x, y, w))
  return 2 * x.T @ (x @ w - y) / len(y)


@pytest.mark.parametrize("accumulate", [1, 2, 4])
@pytest.mark.parametrize("unroll", [False, True])
def test_one_step_of_gradient_descent(accumulate, unroll):
  data, optimizer = batch(), optax.sgd(0.05)
  state = init_train_state({"w": jnp.arange(5.0)}, optimizer)
  step = jax.jit(
    make_train_step(quiet, optimizer, accumulate=accumulate, unroll=unroll, grad_norm=True)
  )
  new, metrics = step(state, jax.random.key(0), data)
  gradient = exact_gradient(jnp.arange(5.0), data["x"], data["y"])
  np.testing.assert_allclose(new.params["w"], np.arange(5) - 0.05 * gradient, rtol=1e-5, atol=1e-6)
  np.testing.assert_allclose(metrics["grad_norm"], np.linalg.norm(gradient), rtol=1e-5)
  loss = np.mean((np.asarray(data["x"]) @ np.arange(5) - np.asarray(data["y"])) ** 2)
  np.testing.assert_allclose(metrics["loss"], loss, rtol=1e-5)
  assert int(new.step) == 1


@pytest.mark.parametrize("convolve", [False, True])
def test_micro_batches_that_convolve_are_written_out(convolve):
  """On CPU a loop is slow for them; others take the memory of one. The same result, mapped or not."""
  rows = np.random.default_rng(0).normal(size=(16, 5, 1)).astype(np.float32)
  optimizer = optax.sgd(0.1)
  state = init_train_state(jnp.full((3, 1, 1), 0.5), optimizer)

  def step_of(unroll, axis_name=None):
    def objective(kernel, model_state, key, x):
      same = lambda x: jax.lax.conv_general_dilated(
        x, kernel, (1,), "SAME", dimension_numbers=("NWC", "WIO", "NWC")
      )
      loss = jnp.mean((same(x) if convolve else x @ kernel[0]) ** 4)
      return loss, (model_state, {"shared": device_mean(loss, axis_name)})

    return make_train_step(objective, optimizer, accumulate=4, unroll=unroll, axis_name=axis_name)

  expected = jax.jit(step_of(False))(state, jax.random.key(0), rows)
  twice = lambda tree: jax.tree.map(lambda x: jnp.stack([x, x]), tree)
  over = Mesh(np.array(jax.devices()[:2]), ("rows",))
  specs = {"in_specs": (P(), P(), P("rows")), "out_specs": P(), "check_vma": False}
  for step in (
    step_of(True),
    lambda state, *rest: jax.tree.map(
      lambda x: x[1], jax.vmap(step_of(True), (0, None, None))(twice(state), *rest)
    ),
    jax.shard_map(step_of(True, "rows"), mesh=over, **specs),
  ):
    assert ("unroll=4" in str(jax.make_jaxpr(step)(state, jax.random.key(0), rows))) == convolve
    chex.assert_trees_all_close(jax.jit(step)(state, jax.random.key(0), rows), expected, rtol=1e-5)


def test_moving_average():
  data, optimizer = batch(), optax.sgd(0.05)
  state = init_train_state({"w": jnp.arange(5.0)}, optimizer, ema=True)
  step = jax.jit(make_train_step(quiet, optimizer, ema_decay=0.75))
  average = np.arange(5.0)
  for _ in range(3):
    state, _ = step(state, jax.random.key(0), data)
    average = 0.75 * average + 0.25 * np.asarray(state.params["w"])
  np.testing.assert_allclose(state.ema_params["w"], average, rtol=1e-6)


@pytest.mark.parametrize("how", ["pmap", "shard_map"])
def test_per_device_step_is_the_global_one(how):
  """Value, gradient and the rows' own randomness; 4 devices hold 3 rows each."""
  data, optimizer, key = batch(), optax.sgd(0.05), jax.random.key(3)
  state = init_train_state({"w": jnp.arange(5.0)}, optimizer)
  noisy = lambda key, row: row | {"x": row["x"] + jax.random.normal(key, (5,))}
  make = lambda axis_name: make_train_step(
    quiet, optimizer, transform=noisy, grad_norm=True, axis_name=axis_name
  )
  expected, expected_metrics = jax.jit(make(None))(state, key, data)
  if how == "pmap":
    split = {k: v.reshape(4, 3, *v.shape[1:]) for k, v in data.items()}
    run = jax.pmap(
      make("i"), "i", in_axes=(None, None, 0), out_axes=None, devices=jax.devices()[:4]
    )
    new, metrics = run(state, key, split)
  else:
    mesh = Mesh(np.array(jax.devices()[:4]), ("i",))
    run = jax.shard_map(
      make("i"), mesh=mesh, in_specs=(P(), P(), P("i")), out_specs=P(), check_vma=False
    )
    new, metrics = jax.jit(run)(state, key, data)
  np.testing.assert_allclose(new.params["w"], expected.params["w"], rtol=1e-5, atol=1e-6)
  for name in expected_metrics:
    np.testing.assert_allclose(metrics[name], expected_metrics[name], rtol=1e-5)


def test_noise_is_a_function_of_the_step():
  """Steps differ from one another, and the same step gives the same noise."""
  optimizer = optax.sgd(0.0)
  step = jax.jit(make_train_step(problem.objective, optimizer))
  state = init_train_state(problem.init(jax.random.key(0))[0], optimizer)
  losses = []
  for _ in range(3):
    again = float(step(state, jax.random.key(1), batch())[1]["loss"])
    state, metrics = step(state, jax.random.key(1), batch())
    assert float(metrics["loss"]) == again
    losses.append(again)
  assert len(set(losses)) == 3


def test_every_row_has_its_own_key():
  optimizer = optax.sgd(0.0)
  seen = lambda params, s, key, batch: (jnp.sum(params["w"]), (batch["u"], {}))
  draw = lambda key, row: row | {"u": jax.random.uniform(key)}
  step = jax.jit(make_train_step(seen, optimizer, transform=draw))
  state = init_train_state({"w": jnp.zeros(5)}, optimizer, model_state=jnp.zeros(12))
  drawn = np.asarray(step(state, jax.random.key(0), batch())[0].model_state)
  assert len(np.unique(drawn)) == 12


def test_one_trace_serves_every_step():
  optimizer = optax.adam(1e-2)
  step = jax.jit(chex.assert_max_traces(make_train_step(problem.objective, optimizer), n=1))
  state = init_train_state(problem.init(jax.random.key(0))[0], optimizer)
  for seed in range(3):
    state, _ = step(state, jax.random.key(seed), batch())
  assert int(state.step) == 3


def test_bad_arguments_are_named():
  with pytest.raises(ValueError, match="accumulate: got 0"):
    make_train_step(quiet, optax.sgd(1.0), accumulate=0)
  with pytest.raises(ValueError, match="ema_decay: got 2"):
    make_train_step(quiet, optax.sgd(1.0), ema_decay=2.0)
  step = make_train_step(quiet, optax.sgd(1.0), accumulate=5)
  with pytest.raises(ValueError, match="accumulate: got 5, wanted a divisor of the 12 rows"):
    step(init_train_state({"w": jnp.zeros(5)}, optax.sgd(1.0)), jax.random.key(0), batch())
