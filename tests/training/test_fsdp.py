"""A train step with parameters split over devices: the step of one device, and what is sent around."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import problem
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from latentjax.diffusion.processes import rectified_flow
from latentjax.models import DiT
from latentjax.objectives import diffusion
from latentjax.training import (
  TrainConfig,
  fsdp_gather,
  init_train_state,
  make_mesh,
  make_train_step,
  state_shardings,
)
from latentjax.training.mesh import row_axes

B, DEPTH, WIDTH, SHAPE = 16, 2, 64, (4, 4, 2)
OPTIMIZER = optax.sgd(0.1, momentum=0.9)
RNG = np.random.default_rng(0)
BATCH = {"image": RNG.standard_normal((B, *SHAPE)).astype(np.float32)}


def compiled(mesh, gather):
  """The compiled step of a small DiT, and a state of parameters that are not near to zero."""
  model = DiT(width=WIDTH, depth=DEPTH, heads=4, remat=True, gather=gather)
  predict = lambda params, x, t, condition: model.apply({"params": params}, x, t)
  train = diffusion(predict, process=rectified_flow(), prediction="velocity")
  shapes = jax.eval_shape(model.init, jax.random.key(0), BATCH["image"], jnp.zeros(B))["params"]
  rng = np.random.default_rng(1)
  params = jax.tree.map(lambda a: 0.2 * rng.standard_normal(a.shape, np.float32), shapes)
  state = init_train_state(params, OPTIMIZER, ema=True)
  step = make_train_step(train.objective, OPTIMIZER, ema_decay=0.9)
  shardings = state_shardings(state, mesh, rules="fsdp")
  whole, rows = NamedSharding(mesh, P()), NamedSharding(mesh, P(row_axes(mesh)))
  run = jax.jit(step, in_shardings=(shardings, whole, rows), out_shardings=(shardings, whole))
  return run.lower(state, jax.random.key(2), BATCH).compile(), state, shardings


def test_a_sharded_step_is_that_of_one_device_and_gathers_one_block_at_a_time():
  mesh = make_mesh(shards=4)
  one, state, _ = compiled(make_mesh(devices=jax.devices()[:1]), None)
  many, _, shardings = compiled(mesh, fsdp_gather(mesh))
  expected, metrics = one(state, jax.random.key(2), BATCH)
  found, sharded_metrics = many(
    jax.device_put(state, shardings), jax.random.key(2), jax.device_put(BATCH)
  )
  kernel = found.opt_state[0].trace["blocks"]["hidden"]["kernel"]
  assert kernel.sharding.spec == P(None, None, "shard")
  assert kernel.addressable_shards[0].data.size == kernel.size // 4
  np.testing.assert_allclose(sharded_metrics["loss"], metrics["loss"], rtol=1e-5)
  for (path, a), b in zip(jax.tree.leaves_with_path(found), jax.tree.leaves(expected)):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5, err_msg=str(path))

  text = many.as_text()
  gathered = [tuple(map(int, dims.split(","))) for dims in re.findall(GATHERED, text)]
  blocks = [(WIDTH, n * WIDTH) for n in (3, 4, 6)] + [(4 * WIDTH, WIDTH)]
  for shape in blocks:  # twice: forward, and again for the backward pass
    assert sum(tuple(n for n in dims if n > 1) == shape for dims in gathered) == 2, shape
  assert not [dims for dims in gathered if DEPTH in dims[:1] and dims[1:] in blocks]
  rows = [dims for dims in gathered if B in dims]
  assert not rows, "the rows of the batch stay where they are"


GATHERED = r"= \w+\[([\d,]+)\]\S* all-gather(?:-done)?\("


def wide(key):
  """The parameters of the problem, and some that are large enough to be split."""
  params, model_state = problem.init(key)
  return params | {"wide": jax.random.normal(key, (problem.DIM, 4096))}, model_state


def objective(params, model_state, key, batch):
  """That of the problem, with a part that depends on the large ones."""
  loss, rest = problem.objective(params, model_state, key, batch)
  return loss + 0.1 * jnp.mean((batch["x"] @ params["wide"] - 1) ** 2), rest


def test_the_loop_trains_the_same_over_groups_of_devices(tmp_path):
  """Rows over eight devices, parameters over groups of four; the small ones stay whole."""
  given = {"steps": 10, "init": wide, "objective": objective}
  split = problem.run(tmp_path / "split", sharding="fsdp", shards=4, **given).state.params
  whole = problem.run(tmp_path / "whole", **given).state.params
  for name in whole:
    np.testing.assert_allclose(split[name], whole[name], rtol=1e-5, atol=1e-6)
  assert split["wide"].addressable_shards[0].data.size == split["wide"].size // 4
  assert split["w"].sharding.is_fully_replicated
  with pytest.raises(ValueError, match="shards: got 4 without sharding='fsdp'"):
    TrainConfig(shards=4)


WAYS = {
  "replicated": {},
  "fsdp": {"sharding": "fsdp", "shards": 4},
  "optimizer": {"sharding": "optimizer"},
  "pmap": {"parallel": "pmap"},
}


@pytest.mark.parametrize("written", WAYS)
def test_a_run_goes_on_in_another_way_from_the_same_bits(written, tmp_path):
  """With nothing left to do a run returns the state that it has read."""
  given = {"steps": 10, "init": wide, "objective": objective}
  expected = jax.tree.leaves(problem.run(tmp_path / "run", **given, **WAYS[written]).state)
  for name, way in WAYS.items():
    found = problem.run(tmp_path / "run", **given, **way)
    assert found.steps_run == 0
    for a, b in zip(jax.tree.leaves(found.state), expected, strict=True):
      assert np.asarray(a).tobytes() == np.asarray(b).tobytes(), (written, name)
