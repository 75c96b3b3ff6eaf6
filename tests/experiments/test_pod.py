"""Reading the text of programs, topologies and flags; the table of all programs."""

import json

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import PartitionSpec as P

from experiments.pod import __main__ as pod
from experiments.pod import analysis, chips, hlo, report, table
from latentjax.training import make_mesh

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
  not_known = {n: row | {"experiment": "mi_staircase", "chips": n, "sent": 0} for n in (1, 16)}
  assert report.why("", not_known) == report.EVERYWHERE


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
