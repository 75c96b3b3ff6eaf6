"""Placement of states and batches."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import problem
import pytest
from jax.sharding import PartitionSpec as P

from latentjax.training import init_train_state, make_mesh, state_shardings
from latentjax.training.mesh import batch_sharding, fsdp_spec, row_axes


@pytest.mark.parametrize(
  ("replicas", "devices", "shape"), [(1, 8, (1, 8)), (4, 8, (4, 2)), (3, 8, (1, 8)), (6, 4, (2, 2))]
)
def test_mesh_gives_devices_to_replicas_first(replicas, devices, shape):
  mesh = make_mesh(num_replicas=replicas, devices=jax.devices()[:devices])
  assert mesh.devices.shape == shape and mesh.axis_names == ("replica", "data")


def test_fsdp_splits_the_largest_divisible_axis():
  mesh = make_mesh()
  assert fsdp_spec((784, 400), mesh) == P("data")
  assert fsdp_spec((100, 800), mesh) == P(None, "data")
  assert fsdp_spec((3, 3, 64, 512), mesh) == P(None, None, None, "data")
  assert fsdp_spec((401, 403), mesh) == P(), "no axis is divisible by 8"
  assert fsdp_spec((8, 8), mesh) == P(), "too small to be worth it"


def test_shards_are_groups_of_devices():
  mesh = make_mesh(num_replicas=2, shards=2)
  assert dict(mesh.shape) == {"replica": 2, "data": 2, "shard": 2}
  assert row_axes(mesh) == ("data", "shard") and row_axes(make_mesh()) == ("data",)
  assert batch_sharding(mesh).spec == P(None, ("data", "shard"))
  assert fsdp_spec((401, 402), mesh) == P(None, "shard"), "402 is divisible by 2"
  with pytest.raises(ValueError, match="shards: got 3, wanted a divisor of the 8 devices"):
    make_mesh(shards=3)
  for tensor in (0, 3):
    with pytest.raises(
      ValueError, match=f"tensor: got {tensor}, wanted a divisor of the 8 devices"
    ):
      make_mesh(tensor=tensor)


def test_rules_reach_parameters_and_their_moments():
  params = {"encoder": {"kernel": jnp.zeros((16, 8)), "bias": jnp.zeros(8)}}
  state = init_train_state(params, optax.adam(1e-3), ema=True)
  shardings = state_shardings(state, make_mesh(), rules=[("kernel", P(None, "data"))])
  found = {
    jax.tree_util.keystr(path, simple=True, separator="/"): s.spec
    for path, s in jax.tree_util.tree_leaves_with_path(shardings)
  }
  split = {name for name, spec in found.items() if spec == P(None, "data")}
  assert split == {
    "params/encoder/kernel",
    "ema_params/encoder/kernel",
    "opt_state/0/mu/encoder/kernel",
    "opt_state/0/nu/encoder/kernel",
  }
  assert all(spec == P() for name, spec in found.items() if name not in split)
  with pytest.raises(ValueError, match="rules: got 'tensor'"):
    state_shardings(state, make_mesh(), rules="tensor")


def test_replica_of_many_is_the_run_of_its_seed(tmp_path):
  """Three replicas in one program, seeds 4, 5, 6; seed 5 alone gives the same."""
  many = problem.run(tmp_path / "many", seed=4, seeds=3)
  one = problem.run(tmp_path / "one", seed=5)
  np.testing.assert_allclose(many.state.params["w"][1], one.state.params["w"], rtol=2e-5, atol=1e-6)
  assert not np.allclose(many.state.params["w"][0], one.state.params["w"], rtol=1e-3)


@pytest.mark.parametrize("seeds", [2, 8])
def test_replicas_over_devices_jit_and_pmap(seeds, tmp_path):
  runs = [problem.run(tmp_path / how, seeds=seeds, parallel=how) for how in ("jit", "pmap")]
  weights = [np.asarray(run.state.params["w"]) for run in runs]
  np.testing.assert_allclose(*weights, rtol=2e-5, atol=1e-6)


def test_sharded_parameters_train_as_replicated_ones(tmp_path):
  """Parameters split over 8 devices, rules of one's own; the checkpoint is read back split too."""
  init = lambda key: ({"w": jax.random.normal(key, (8, 3)), "b": jnp.zeros(3)}, ())

  def objective(params, model_state, key, batch):
    h = jnp.tanh(batch["x"] @ params["w"][:5] + params["b"])
    return jnp.mean((h.sum(axis=1) - batch["y"]) ** 2), (model_state, {})

  from latentjax.training import train

  def go(name, rules):
    return train(
      objective, init, optax.adam(1e-2), problem.dataset(), problem.config(), tmp_path / name,
      rules=rules, progress=False,
    )  # fmt: skip

  split, whole = go("split", [(r"(^|/)w$", P("data"))]), go("whole", None)
  assert split.state.params["w"].sharding.spec == P("data")
  assert split.state.opt_state[0].mu["w"].sharding.spec == P("data")
  np.testing.assert_allclose(split.state.params["w"], whole.state.params["w"], rtol=1e-5, atol=1e-6)
  again = go("split", [(r"(^|/)w$", P("data"))])
  assert again.steps_run == 0 and again.state.params["w"].sharding.spec == P("data")
  np.testing.assert_array_equal(again.state.params["w"], split.state.params["w"])


WAYS = {  # and over how many devices parameters and moments are split
  "jit": ({}, [1, 1]),
  "pmap": ({"parallel": "pmap"}, [1, 1]),
  "fsdp": ({"sharding": "fsdp"}, [8, 8]),
  "optimizer": ({"sharding": "optimizer"}, [1, 8]),
  "optimizer and tensor": ({"sharding": "optimizer", "tensor": 2}, [2, 8]),
}


@pytest.mark.parametrize("first", WAYS)
def test_a_run_is_taken_up_in_any_other_way(first, tmp_path):
  """A finished run, started again per device, as one program, or split: the same bits, where they belong."""
  init = lambda key: ({"kernel": jax.random.normal(key, (128, 136))}, ())

  def objective(params, model_state, key, batch):
    found = batch["x"] @ jnp.mean(params["kernel"][: problem.DIM], axis=1)
    return jnp.mean((found - batch["y"]) ** 2), (model_state, {})

  def go(way):
    return problem.run(tmp_path, objective=objective, init=init, **WAYS[way][0])

  expected = [np.asarray(x).tobytes() for x in jax.tree.leaves(go(first).state)]
  for way, (_, parts) in WAYS.items():
    again = go(way)
    assert again.steps_run == 0
    assert [np.asarray(x).tobytes() for x in jax.tree.leaves(again.state)] == expected, way
    arrays = again.state.params["kernel"], again.state.opt_state[0].mu["kernel"]
    assert [x.size // x.addressable_shards[0].data.size for x in arrays] == parts, way
