"""Every way of splitting a run over eight devices computes what one device does, and splits what it says."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import PartitionSpec as P

from latentjax import data
from latentjax.training import TrainConfig, init_train_state, make_mesh, make_train_step
from latentjax.training.mesh import TENSOR_AXIS, fsdp_spec, row_axes, tensor_spec
from latentjax.training.program import abstract_program

B, D, WIDTH = 16, 64, 256
RNG = np.random.default_rng(0)
ROWS = data.load({"x": RNG.standard_normal((B, D)).astype(np.float32)})
PARAMS = {
  "hidden": {"kernel": RNG.standard_normal((D, WIDTH)).astype(np.float32) / 8},
  "out": {"kernel": RNG.standard_normal((WIDTH, D)).astype(np.float32) / 16},
}
OPTIMIZER = optax.sgd(0.1, momentum=0.9)


def objective(params, model_state, key, batch):
  h = jnp.tanh(batch["x"] @ params["hidden"]["kernel"])
  error = h @ params["out"]["kernel"] - batch["x"]
  return jnp.mean(error**2), (model_state, {})


def run(num_devices=8, **fields):
  """Two steps in one call."""
  program = abstract_program(
    objective,
    lambda key: (PARAMS, ()),
    OPTIMIZER,
    ROWS,
    TrainConfig(batch_size=B, ema_decay=0.5, **fields),
    devices=jax.devices()[:num_devices],
    num_steps=2,
  )
  abstract, _, _, xs = program.args
  state = init_train_state(PARAMS, OPTIMIZER, ema=True)
  state = jax.device_put(state, jax.tree.map(lambda x: x.sharding, abstract))
  rows = jax.device_put(np.stack([ROWS.arrays["x"]] * 2), xs["x"].sharding)
  state, metrics = program.call(state, jax.random.key(0), (), {"x": rows})
  return state, metrics["loss"]


@pytest.fixture(scope="module")
def one_device():
  return run(1)


WHOLE = P()
HALVES = (P(None, "tensor"), P("tensor"))
WAYS = {
  "tensor": ({"tensor": 2}, HALVES, HALVES),
  "fsdp and tensor": (
    {"sharding": "fsdp", "shards": 2, "tensor": 2},
    (P("shard", "tensor"), P("tensor", "shard")),
    (P("shard", "tensor"), P("tensor", "shard")),
  ),
  "optimizer and tensor": (
    {"sharding": "optimizer", "tensor": 2},
    HALVES,
    (P("data", "tensor"), P("tensor", "data")),
  ),
  "optimizer": ({"sharding": "optimizer"}, (WHOLE, WHOLE), (P(None, "data"), P("data"))),
  "fsdp, remat, accumulate": (
    {"sharding": "fsdp", "remat": "dots", "accumulate": 2},
    (P(None, "data"), P("data")),
    (P(None, "data"), P("data")),
  ),
  "per device": ({"parallel": "pmap"}, (WHOLE, WHOLE), (WHOLE, WHOLE)),
}


@pytest.mark.parametrize("way", WAYS)
def test_split_runs_are_that_of_one_device(way, one_device):
  fields, params_specs, moments_specs = WAYS[way]
  state, loss = run(**fields)
  expected, expected_loss = one_device
  np.testing.assert_allclose(loss, expected_loss, rtol=1e-5)
  for found, wanted in zip(jax.tree.leaves(state), jax.tree.leaves(expected), strict=True):
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-6)
  kernels = lambda tree: tuple(tree[name]["kernel"].sharding.spec for name in ("hidden", "out"))
  assert kernels(state.params) == params_specs
  assert kernels(state.opt_state[0].trace) == moments_specs
  assert kernels(state.ema_params) == moments_specs


def test_rules_split_layers_by_the_last_axes_of_their_arrays():
  mesh = make_mesh(num_replicas=2, tensor=2, shards=2)
  assert dict(mesh.shape) == {"replica": 2, "data": 1, "shard": 2, "tensor": 2}
  assert row_axes(mesh) == ("data", "shard"), "a group of tensor devices has the same rows"
  for name, shape, spec in (
    ("params/encoder/Dense_0/kernel", (6, 4), P(None, TENSOR_AXIS)),
    ("params/blocks/hidden/kernel", (3, 6, 4), P(None, None, TENSOR_AXIS)),
    ("params/blocks/out/kernel", (3, 6, 5), P(None, TENSOR_AXIS)),
    ("opt_state/0/mu/blocks/out/kernel", (3, 6, 5), P(None, TENSOR_AXIS)),
    ("params/Dense_0/kernel", (6, 5), P()),  # 5 outputs for two devices
    ("params/Dense_0/bias", (4,), P()),
    ("params/layout/kernel", (6, 4), P(None, TENSOR_AXIS)),
  ):
    assert tensor_spec(name, shape, mesh) == spec, name
    assert tensor_spec(name, shape, make_mesh()) == P()
  taken = P(None, TENSOR_AXIS)
  assert fsdp_spec((256, 512), mesh, taken=taken) == P("shard", TENSOR_AXIS)
  assert fsdp_spec((255, 512), mesh, taken=taken) == taken
  with pytest.raises(ValueError, match="tensor: got 3, wanted a divisor of the 8 devices"):
    make_mesh(tensor=3)
  with pytest.raises(ValueError, match="sharding: got 'replicated' and tensor=2 with parallel"):
    TrainConfig(parallel="pmap", tensor=2)


@pytest.mark.parametrize("remat", ["dots", "dots_without_batch"])
def test_rematerialised_steps_keep_less(remat):
  """Three tanh in a row between two products: their results are made again."""
  deep = lambda p, s, k, b: (jnp.sum(jnp.tanh(jnp.tanh(jnp.tanh(b @ p))) @ p.T), (s, {}))
  with pytest.raises(ValueError, match="remat: got 'all', wanted one of none, dots"):
    make_train_step(deep, OPTIMIZER, remat="all")
  state = init_train_state(jnp.ones((4, 6)), OPTIMIZER)
  tanhs = lambda how: str(
    jax.make_jaxpr(make_train_step(deep, OPTIMIZER, remat=how))(
      state, jax.random.key(0), jnp.ones((5, 4))
    )
  ).count("= tanh ")
  assert tanhs("none") == 3 and tanhs(remat) == 6


@pytest.mark.parametrize("fields", [{}, {"seeds": 2}, {"accumulate": 2}])
def test_rows_drawn_by_the_transform_are_split(fields):
  """Every device makes and takes its own rows, also of data that is made from keys alone."""

  def operations(num_devices):
    program = abstract_program(
      objective,
      lambda key: (PARAMS, ()),
      OPTIMIZER,
      ROWS,
      TrainConfig(batch_size=B, **fields),
      transform=lambda key, example: {"x": jax.random.normal(key, (D,))},
      devices=jax.devices()[:num_devices],
    )
    return program.call.lower(*program.args).compile().cost_analysis()["flops"]

  assert operations(8) < operations(1) / 4
