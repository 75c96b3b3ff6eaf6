"""What a program for a pod holds, sends and computes; every warning where it is due, and not elsewhere."""

import dataclasses
import json
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
from experiments.pod import analysis, chips, findings, hlo, report, table
from experiments.pod.capture import Call, capture
from latentjax import data, training
from latentjax.training import TrainConfig, make_mesh
from latentjax.training.program import abstract_program

RING = 'metadata={op_name="jit(f)/ring"}'
PIECE = 'backend_config={"async_collective_fusion_config":{"flag_start":"-1"}}'
HLO = """
%body.1 (p: bf16[8]) -> bf16[8] {
  %g.1 = bf16[8,4]{1,0:T(8,128)} all-gather(%p), channel_id=1, replica_groups=[2,4]<=[8], dimensions={0}
  %f.1 = f32[2]{0} fusion(%g.1), kind=kCustom, calls=%all-reduce-scatter.5
}
%cond.1 (p: s32[]) -> pred[] {
  %n.1 = s32[]{:T(128)} constant(10)
  ROOT %lt = pred[] compare(%p, %n.1), direction=LT
}
%all-reduce-scatter.5 (p: bf16[8,4]) -> f32[2] {
  %r.1 = f32[16]{0} all-reduce(%p), channel_id=2, replica_groups=mesh['a'=2,'b'=4] {'a','b'}, to_apply=%add
}
%add (a: f32[], b: f32[]) -> f32[] {
  ROOT %s = f32[] add(%a, %b)
}
%piece (p: bf16[8]) -> bf16[8] {
  %g.2 = bf16[8,4]{1,0} all-gather(%p), channel_id=3, replica_groups={{0,1},{2,3}}, PIECE
}
%piece.2 (p: bf16[8]) -> bf16[8] {
  %g.3 = bf16[8,4]{1,0} all-gather(%p), channel_id=3, replica_groups={{0,1},{2,3}}, PIECE
}
%less (p: s4[4]) -> s4[4] {
  %l.1 = s4[4] all-reduce(%p), channel_id=10, replica_groups=[4,2]<=[8], to_apply=%add
}
%more.1 (p: s4[4]) -> s4[4] {
  %m.1 = s4[20] all-reduce(%p), channel_id=11, replica_groups=[4,2]<=[8], to_apply=%add
}
%more.2 (p: s4[4]) -> s4[4] {
  %m.2 = s4[24] all-to-all(%p), channel_id=12, replica_groups=[4,2]<=[8]
}
%less.2 (p: s4[4]) -> s4[4] {
  %l.2 = s4[4] all-reduce(%p), channel_id=13, replica_groups=[4,2]<=[8], to_apply=%add
}
ENTRY %main (p: bf16[8]) -> bf16[8] {
  %w = (s32[], bf16[8]) while(%t), condition=%cond.1, body=%body.1
  %a = bf16[8] fusion(%p), kind=kCustom, calls=%piece
  %b = bf16[8] fusion(%p), kind=kCustom, calls=%piece.2
  %c = (bf16[8], bf16[8], u32[], u32[]) collective-permute-start(%p), channel_id=4, RING
  %d = bf16[8] collective-permute-done(%c)
  %e = f32[6] reduce-scatter(%p), channel_id=5, replica_groups=[4,2]<=[8], to_apply=%add
  %x = f32[6] all-reduce(%p), channel_id=6, replica_groups=[8,1]<=[8], to_apply=%add
  %y = (f32[2], /*index=1*/f32[4]) all-reduce(%p, %p), channel_id=5, replica_groups=[1,8]<=[8]
  %z = f32[6] all-gather(%p), channel_id=7, replica_groups=mesh['a'=2,'b'=4], device_ids=([4,2]T(1,0)) {'a'}
  %aa = (f32[2], f32[5]) all-reduce-start(%p, %p), channel_id=8, replica_groups={}, to_apply=%add
  %ab = ((s4[1], f32[1]), (s4[4], f32[4])) all-gather-start(%p, %p), channel_id=9, replica_groups=[2,4]<=[8]
  %ac = s4[4] conditional(%t, %p, %p), true_computation=%less, false_computation=%more.1
  %ad = s4[4] conditional(%t, %p, %p), branch_computations={%more.2, %less.2}
}
""".replace("PIECE", PIECE).replace("RING", RING)


def test_collectives_of_a_text():
  found = {
    (c.kind, c.size, c.group, c.times, c.in_loop, c.source): c.sent for c in hlo.collectives(HLO, 8)
  }
  assert found == {
    ("all-gather", 64, 4, 10, True, ""): 10 * 64 * 3 / 4,
    ("reduce-scatter", 64, 8, 10, True, ""): 10 * 64 * 7 / 8,
    ("all-gather", 64, 2, 1, False, ""): 32,  # two pieces of one channel
    ("collective-permute", 16, 8, 1, False, "jit(f)/ring"): 16,
    ("reduce-scatter", 48, 2, 1, False, ""): 24,
    ("all-reduce", 24, 8, 1, False, ""): 2
    * 24
    * 7
    / 8,  # the channel of another, as shard_map does
    ("all-gather", 24, 2, 1, False, ""): 12,  # of two in an order of their own
    ("all-reduce", 28, 8, 1, False, ""): 2 * 28 * 7 / 8,  # what starts, two at once
    ("all-gather", 18, 4, 1, False, ""): 18 * 3 / 4,
    ("all-reduce", 10, 2, 1, False, ""): 10,  # of two branches the one that sends more
    ("all-to-all", 12, 2, 1, False, ""): 6,
  }, "the last exchanges nothing: groups of one"


def test_operations_of_products_and_convolutions_in_loops():
  def fn(x, w):
    step = jax.checkpoint(lambda x, w: (jnp.tanh(x @ w), None))
    return jax.lax.scan(step, x, w)[0].sum()

  x, w = jnp.zeros((3, 4)), jnp.zeros((5, 4, 4))
  one = 5 * 2 * 3 * 4 * 4
  flops = lambda f, *args: hlo.matmul_flops(jax.make_jaxpr(f)(*args).jaxpr)
  assert flops(fn, x, w) == one
  # Forward, forward once more, and two products of the backward pass.
  assert flops(jax.grad(fn, (0, 1)), x, w) == 4 * one

  def convolve(x, kernel):
    numbers = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x, kernel, (2, 2), "SAME", dimension_numbers=numbers).sum()

  image, kernel = jnp.zeros((2, 8, 8, 3)), jnp.zeros((4, 4, 3, 5))
  one = 2 * (2 * 4 * 4 * 5) * (4 * 4 * 3)
  assert flops(convolve, image, kernel) == one
  # The gradients' inserted zeros are no work; theirs are the same products, but for the border.
  assert one * 2.5 < flops(jax.grad(convolve, (0, 1)), image, kernel) < one * 4

  mesh = make_mesh(devices=jax.devices()[:4])
  local = jax.shard_map(jnp.dot, mesh=mesh, in_specs=(P("data"), P()), out_specs=P("data"))
  assert flops(local, jnp.zeros((8, 3)), jnp.zeros((3, 2))) == 2 * 8 * 3 * 2
  # Over two of three axes: the compiler splits the rest.
  specs = {"in_specs": (P("data"), P()), "out_specs": P("data"), "axis_names": {"data"}}
  partly = jax.shard_map(jnp.dot, mesh=make_mesh(tensor=2), **specs)
  assert flops(partly, jnp.zeros((8, 3)), jnp.zeros((3, 2))) == 2 * 8 * 3 * 2
  either = lambda x: jax.lax.cond(x[0, 0] > 0, lambda x: x + 1, lambda x: x @ x.T @ x, x)
  assert flops(either, jnp.zeros((3, 4))) == 2 * 2 * 3 * 4 * 3, "the longer of two"


B, D = 24, 40
ROWS = data.load({"x": np.zeros((64, D), np.float32)})


def objective(params, model_state, key, batch):
  h = jnp.tanh(batch["x"] @ params["w"])
  scores = h @ h.T
  return jnp.mean(jnp.exp(scores - 5.0)), (model_state, {})


def program(**fields):
  config = TrainConfig(batch_size=B, **fields)
  init = lambda key: ({"w": jnp.zeros((D, 16 * D))}, ())
  return abstract_program(objective, init, optax.adam(1e-3), ROWS, config)


@pytest.fixture(scope="module")
def replicated():
  wanted = program(unroll=True)
  return wanted, *analysis.program_cost(wanted, "cpu")


@pytest.fixture(scope="module")
def split():
  wanted = program(unroll=True, sharding="fsdp")
  return wanted, *analysis.program_cost(wanted, "cpu")


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


def test_roofline():
  found = analysis.Cost(*[0] * 8, flops=200.0, counted=0.0, accessed=10.0, collectives=[], num_devices=2,
                        compile_seconds=0.0)  # fmt: skip
  least = analysis.roofline(found, chips.Chip(1.0, 100.0, 2.0, 1.0))
  assert least == (2.0, 5.0, 0.0) and least.seconds == 5.0
  assert least.bound == "memory" and least.utilisation == 0.4
  assert chips.parse("v5e:16x16") == ("v5e", 256) and chips.parse("cpu:8") == ("cpu", 8)
  for wrong in ("v5e", "v9:2x2", "cpu:0", "cpu:x"):
    with pytest.raises(ValueError, match="topology: got"):
      chips.parse(wrong)


def test_simulated_devices_stand_in_for_gpus(capsys):
  target = chips.target("gpu:8")
  assert target.chip == chips.CHIPS["gpu"] and target.platform == "cpu"
  assert list(target.devices) == jax.devices()
  assert chips.target("cpu:4").chip is None
  with pytest.raises(ValueError, match="wanted at most the 8 host devices"):
    chips.target("gpu:16")
  assert pod.main([]) == 0 and "experiments.pod NAME" in capsys.readouterr().out
  assert pod.main(["vae_digit"]) == 2 and "'vae_digits'" in capsys.readouterr().err


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


def test_rows_of_the_table_are_judged():
  assert report.flat({1: 5.0, 16: 1e6, 1024: 1.06e6}) == "yes"
  assert report.flat({16: 1e6, 1024: 2e6}) == "**no**" and report.flat({16: 1e6}) == "not known"
  row = {"experiment": "e", "program": "p", "flags": "", "batch_per_chip": 3, "params": 2**20}
  row |= {"memory": 2**20, "flops": 1e9, "accessed": 2765e6, "seconds": 1e-6, "bound": "memory"}
  row |= {"warnings": ["replicated: a", "replicated: b", "not donated: c"]}
  rows = [row | {"chips": n, "sent": n * 2**20} for n in (1, 16, 1024)]
  text = report.markdown({"rows": rows, "left_out": {"f": "trains nothing"}})
  assert "flat for 0 of 1 programs" in text and "- f: trains nothing" in text
  assert "| e: p | 3 | 1 | 1 / 1 / - / 1 | yes | 1 / 16 / - / 1.02e+03 | **no** |" in text
  assert "| replicated (2): b; not donated (1): c |" in text
  assert "| not known. Sent in 1.79e+03 us, the rest in 1e+03: not hidden |" in text
  pairs = row | {"warnings": ["batch x batch: an array"]}
  few = {n: pairs | {"sent": n} for n in (16, 1024)}
  assert report.why("", few) == "", "a few bytes more are flat"
  grown = {n: pairs | {"memory": 2**20 * n, "sent": 6e11 * n / 1024} for n in (16, 1024)}
  assert report.why("", grown).startswith(report.GATHERED)
  grown[1024] |= {"accessed": 0, "flops": 2 * 459e12}
  assert (
    report.why("--block_size=4", grown)
    == f"{report.RING}. Sent in 1e+06 us, the rest in 2e+06: hidden at best"
  )


def test_written_table_is_that_of_the_rows():
  assert table.RESULT.with_suffix(".md").read_text() == table.page(
    json.loads(table.RESULT.read_text())
  )


def test_flags_of_a_program():
  ring = "--parallel=pmap --block_size=128"
  assert table.flag_sets("vae_mnist", "") == ("",)
  assert table.flag_sets("matched_captions", "") == ("", ring)
  assert table.flag_sets("ssl_table", "")[-1] == f"--probe_examples=200 --methods=nt_xent {ring}"
  assert table.flag_sets("ssl_table", "--methods=vicreg") == ("--methods=vicreg",)


def test_what_trains_is_read_from_the_source():
  assert table.trains("vae_mnist") and table.trains("sim_vq"), "by itself, and through the harness"
  assert not table.trains("product_maps")


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


def test_work_that_devices_repeat_is_named(replicated, split):
  """Rows that an objective draws from its key alone are drawn and taken by every device."""
  for _, found, jaxpr, _ in (replicated, split):
    assert findings.repeated(found, jaxpr) == []

  def warnings(loops):
    def drawing(params, model_state, key, batch):
      layer = lambda h, _: (jnp.tanh(h @ params["w"]), None)
      h, _ = jax.lax.scan(layer, jax.random.normal(key, (B, D)), length=loops)
      return jnp.mean(h**2), (model_state, {})

    config = TrainConfig(batch_size=B)
    init = lambda key: ({"w": jnp.zeros((D, D))}, ())
    wanted = abstract_program(drawing, init, optax.sgd(1e-3), ROWS, config)
    found, jaxpr, _ = analysis.program_cost(wanted, "cpu")
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

    config = TrainConfig(batch_size=64)
    init = lambda key: ({"w": jnp.zeros((D, 64 * D))}, ())
    wanted = abstract_program(objective, init, optax.sgd(1e-3), ROWS, config)
    found, jaxpr, _ = analysis.program_cost(wanted, "cpu")
    return findings.swapped(found, jaxpr, wanted.args[0])

  (line,) = found_of(lambda a, b: jnp.split(jnp.sin(jnp.concatenate([a, b])), 2))
  assert re.match(r"rows swapped: [\d.]+ MiB .* most for \S*(split|concatenate)", line)
  assert found_of(lambda a, b: jnp.sin(jnp.stack([a, b]))) == []
