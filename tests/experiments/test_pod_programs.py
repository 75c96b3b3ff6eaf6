"""What a train step is noted to be, holds, sends and computes; every warning where it is due."""

import dataclasses
import re
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from experiments.harness import Config
from experiments.pod import __main__ as pod
from experiments.pod import analysis, findings, hlo
from experiments.pod.capture import Call, capture
from latentjax import data, training
from latentjax.training import TrainConfig, make_mesh
from latentjax.training.program import abstract_program

B, D = 24, 40
ROWS = data.load({"x": np.zeros((64, D), np.float32)})


def objective(params, model_state, key, batch):
  h = jnp.tanh(batch["x"] @ params["w"])
  scores = h @ h.T
  return jnp.mean(jnp.exp(scores - 5.0)), (model_state, {})


def program(objective=objective, width=16 * D, **fields):
  config = TrainConfig(**{"batch_size": B, **fields})
  init = lambda key: ({"w": jnp.zeros((D, width))}, ())
  return abstract_program(objective, init, optax.adam(1e-3), ROWS, config)


def compiled(*args, **fields):
  wanted = program(*args, **fields)
  return wanted, *analysis.program_cost(wanted, "cpu")


@pytest.fixture(scope="module")
def replicated():
  return compiled(unroll=True)


@pytest.fixture(scope="module")
def split():
  return compiled(unroll=True, sharding="fsdp")


def test_cost_of_a_train_step(replicated, split):
  weights = 4 * 16 * D**2
  for (_, found, _, _), parts in ((replicated, 1), (split, 8)):
    assert found.params == weights / parts
    assert found.opt_state == 2 * weights / parts + 4
    assert found.model_state == 0 and found.data == 4 * B * D / 8
    assert found.num_devices == 8
    # h and its gradient by the weights; scores and their gradients by both factors.
    assert found.flops == (2 * 2 * D + 3 * 2 * B) * B * 16 * D / 8
  whole = replicated[1]
  reduced = [c for c in whole.collectives if c.kind == "all-reduce" and c.size >= weights]
  assert sum(c.sent for c in reduced) == pytest.approx(2 * 7 / 8 * weights, rel=0.01)
  assert split[1].memory < whole.memory


def test_activations_are_those_of_the_rows_of_a_device():
  rows, width = 32, 64
  init = lambda key: ({"w": jnp.zeros((5, width)), "v": jnp.zeros(width)}, ())

  def objective(params, model_state, key, batch):
    return jnp.mean((jnp.tanh(batch["x"] @ params["w"]) @ params["v"]) ** 2), (model_state, {})

  dataset = data.load({"x": np.zeros((64, 5), np.float32)})

  def kept(num_groups=1, **fields):
    config = TrainConfig(steps=1, batch_size=rows, **fields)
    arguments = (objective, init, optax.sgd(0.1), dataset)
    call = Call("train", config, arguments, transform=None, rules=None)
    return analysis.activations(call, num_groups)

  # The hidden layer and its slope; with remat the product alone; and the one output, of neither.
  hidden, output = 4 * rows * width, 4 * rows
  assert kept() == 2 * hidden + output
  assert kept(remat="dots") == hidden + output
  assert kept(4) == kept(accumulate=4) == kept() // 4
  assert kept(parallel="pmap") == kept()


def test_large_replicated_arrays_are_named(replicated, split):
  state = replicated[0].args[0]
  found = findings.replicated(state, large=10_000)
  assert [line.split()[1] for line in found] == [
    "params/w",
    "opt_state/0/mu/w",
    "opt_state/0/nu/w",
  ]
  assert findings.replicated(state, large=10**6) == []
  assert findings.replicated(split[0].args[0], large=10_000) == []


def test_arrays_of_batch_by_batch_are_named(replicated):
  wanted, _, jaxpr, _ = replicated
  found = findings.squares(jaxpr, B, wanted.args[0], large=1)
  assert len(found) == 1 and "[24, 24]" in found[0]
  assert findings.squares(jaxpr, B, wanted.args[0], large=4 * B * B + 1) == []
  plain = jax.make_jaxpr(lambda x: x @ x.T)(jnp.zeros((B + 1, D))).jaxpr
  assert findings.squares(plain, B, wanted.args[0], large=1) == []
  assert findings.squares(jaxpr, D, wanted.args[0], large=1) == [], "a batch like a layer"

  def gathered(x):
    return (x @ jax.lax.all_gather(x, "data", tiled=True).T).sum(1)

  specs = {"in_specs": P("data"), "out_specs": P("data")}
  for fn, named in ((gathered, 1), (lambda x: (x @ x.T).sum(1), 0)):
    local = jax.shard_map(fn, mesh=make_mesh(), **specs)
    jaxpr = jax.make_jaxpr(local)(jnp.zeros((B, D))).jaxpr
    found = findings.squares(jaxpr, B, wanted.args[0], num_devices=8, large=4 * B * B // 8)
    assert len(found) == named, "the rows of a device by those of all, and by themselves"
    assert all("[3, 24]" in line for line in found)
  over = make_mesh(tensor=2)  # of four groups of rows; the compiler splits the layers
  partly = jax.shard_map(gathered, mesh=over, axis_names={"data"}, **specs)
  jaxpr = jax.make_jaxpr(partly)(jnp.zeros((B, D))).jaxpr
  (line,) = findings.squares(jaxpr, B, wanted.args[0], num_devices=8, large=1)
  assert "[6, 24]" in line
  # As many features as a device has rows.
  centred = lambda x: (x - jax.lax.all_gather(x, "data", tiled=True).mean(0)).sum(1)
  local = jax.shard_map(centred, mesh=make_mesh(), **specs)
  jaxpr = jax.make_jaxpr(local)(jnp.zeros((B, 3))).jaxpr
  assert findings.squares(jaxpr, B, wanted.args[0], num_devices=8, large=1) == []


def test_gathers_in_the_wrong_place_are_named():
  mesh = make_mesh()
  shape = lambda *s, spec: jax.ShapeDtypeStruct(s, jnp.float32, sharding=NamedSharding(mesh, spec))
  stack = {"blocks": shape(3, 16, 8, spec=P(None, "data"))}
  gather = lambda dims, in_loop: hlo.Collective("all-gather", dims, 10**9, 8, 1, in_loop, "op")
  found = findings.misplaced_gathers([gather("f32[3,16,8]", False)], stack, B)
  assert found == ["gathered whole: blocks [3, 16, 8], all layers of a stack at once"]
  found = findings.misplaced_gathers([gather("f32[24,16]", True)], stack, B)
  assert len(found) == 1 and found[0].startswith("rows gathered: [24, 16] for op")
  layer = [gather("f32[16,8]", True), gather("f32[3,16,8]", True)]
  assert findings.misplaced_gathers(layer, stack, B) == []
  whole = {"blocks": shape(3, 16, 8, spec=P())}
  assert findings.misplaced_gathers([gather("f32[24,16]", True)], whole, B) == []


def test_missing_donation_is_named(replicated):
  wanted, found, jaxpr, _ = replicated
  assert findings.not_donated(found) == []
  step = jax.jit(lambda state: jax.tree.map(lambda x: x + 1, state))
  state = wanted.args[0]
  kept = analysis.cost(
    step.lower(state).compile(), jaxpr, params=state.params, opt_state=state.opt_state,
    num_devices=8,
  )  # fmt: skip
  (line,) = findings.not_donated(kept)
  assert line.startswith("not donated: 0.29 of 0.29 MiB")
  assert findings.findings(found, jaxpr, state, batch_size=B) == []
  small = found._replace(outputs=found.donated + 2**14, params=0, opt_state=0)
  assert findings.not_donated(small) == [], "metrics, each with the padding of a tile"


def test_resident_data_is_indexed_on_the_devices():
  init = lambda key: ({"w": jnp.zeros((D, 16 * D))}, ())
  config = TrainConfig(batch_size=B, seeds=2)
  wanted = abstract_program(objective, init, optax.adam(1e-3), ROWS, config, resident=True)
  state, keys, resident, xs = wanted.args
  assert resident["x"].shape == (64, D) and resident["x"].sharding.is_fully_replicated
  assert xs.shape == (1, 2, B) and xs.sharding.shard_shape(xs.shape) == (1, 1, B // 4)
  assert state.params["w"].shape[0] == 2 == len(keys)
  out, metrics = wanted.call.trace(*wanted.args).out_info
  assert out.params["w"].shape == state.params["w"].shape and metrics["loss"].shape == (1, 2)


def test_per_device_programs_send_the_gradient_alone():
  """What `pmap` runs, where the objective sees the rows of its own device."""
  wanted = program(unroll=True, parallel="pmap")
  found, _, _ = analysis.program_cost(wanted, "cpu")
  assert found.sent == 2 * 7 / 8 * (found.params + 4)  # and the loss


def test_work_that_devices_repeat_is_named(replicated, split):
  """Rows that an objective draws from its key alone are drawn and taken by every device."""
  for _, found, jaxpr, _ in (replicated, split):
    assert findings.repeated(found, jaxpr) == []

  def warnings(loops):
    def drawing(params, model_state, key, batch):
      layer = lambda h, _: (jnp.tanh(h @ params["w"]), None)
      h, _ = jax.lax.scan(layer, jax.random.normal(key, (B, D)), length=loops)
      return jnp.mean(h**2), (model_state, {})

    _, found, jaxpr, _ = compiled(drawing, D)
    return findings.repeated(found, jaxpr)

  for loops in (1, 64):
    (line,) = warnings(loops)
    assert line.startswith("repeated work: ")


def test_rows_that_the_compiler_moves_are_named(replicated, split):
  """Rows joined to rows lie on other devices than before; joined along a new axis they stay."""
  for wanted, found, jaxpr, _ in (replicated, split):
    assert findings.swapped(found, jaxpr, wanted.args[0]) == []

  def found_of(joined):
    def objective(params, model_state, key, batch):
      h = batch["x"] @ params["w"]
      one, other = joined(h, h**2)
      return jnp.mean(one * jnp.tanh(other)), (model_state, {})

    wanted, found, jaxpr, _ = compiled(objective, 64 * D, batch_size=64)
    return findings.swapped(found, jaxpr, wanted.args[0])

  (line,) = found_of(lambda a, b: jnp.split(jnp.sin(jnp.concatenate([a, b])), 2))
  assert re.match(r"rows swapped: [\d.]+ MiB .* most for \S*(split|concatenate)", line)
  assert found_of(lambda a, b: jnp.sin(jnp.stack([a, b]))) == []


def trained(config):
  """An experiment: a judge with flags of its own, then two networks, then what needs them trained."""
  init = lambda key: ({"w": jax.random.normal(key, (D, 16 * D))}, ())
  common = (objective, init, optax.adam(1e-3), ROWS)
  judge = training.train(*common, TrainConfig(batch_size=8), config.folder / "judge", name="judge")
  assert judge.state.params["w"].std() > 0.5, "a first state"
  training.train(*common, config, config.folder, name="network", progress=False)
  halved = dataclasses.replace(config, batch_size=config.batch_size // 2)
  training.train(*common, halved, config.folder, name="pairs")
  raise FloatingPointError("what comes after is of no interest")


def test_calls_of_train_are_noted(monkeypatch, tmp_path):
  fake = types.ModuleType("experiments.fake", "A fake.")
  fake.Config, fake.QUICK, fake.run = Config, {}, trained
  monkeypatch.setitem(sys.modules, "experiments.fake", fake)
  monkeypatch.setattr(training, "train", training.train)  # put back afterwards
  found = lambda wanted: [c.name for c in capture("fake", [], tmp_path, program=wanted)]
  assert found("judge") == ["judge"] and found("all") == ["judge", "network", "pairs"]
  with pytest.raises(FloatingPointError, match="of no interest"):
    found("other")

  def rows(*flags, num_devices=8, **fields):
    every = pod.calls(pod.Config(program="all", **fields), "fake", list(flags), num_devices)
    return {call.name: call.config.batch_size for call in every}

  assert rows() == {"judge": 64, "network": 8 * 128, "pairs": 8 * 64}, "8 rows of its own"
  assert rows("--tensor=2", batch_per_chip=6) == {"judge": 32, "network": 24, "pairs": 12}
  for flags in (["--batch_size=16"], ["--batch-size=16"], ["--batch_size", "16"]):
    assert rows(*flags) == {"judge": 8, "network": 16, "pairs": 8}
  assert rows("--tensor", "2") == {"judge": 32, "network": 512, "pairs": 256}
  for wrong in ("0", "3", "16", "x"):
    with pytest.raises(ValueError, match=f"tensor: got {wrong}, wanted a divisor of the 8 devices"):
      rows(f"--tensor={wrong}")
  (call,) = pod.calls(pod.Config(), "fake", ["--tensor=2"], 8)
  assert (call.name, call.config.seeds) == ("network", 1)
  assert dict(call.program(jax.devices()).mesh.shape) == {"replica": 1, "data": 4, "tensor": 2}
