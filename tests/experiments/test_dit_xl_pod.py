"""What a program for a pod sends and computes, counted; a small DiT compiled for TPUs."""

import importlib.util

import jax
import jax.numpy as jnp
import pytest

from experiments.bench import dit_xl_pod
from experiments.bench.dit_xl_pod import GIB, Config, matmul_flops, traffic
from latentjax.models import dit

HLO = """
%body.1 (p: bf16[8]) -> bf16[8] {
  %g.1 = bf16[8,4]{1,0:T(8,128)} all-gather(%p), channel_id=1, dimensions={0}
  %f.1 = f32[2]{0} fusion(%g.1), kind=kCustom, calls=%all-reduce-scatter.5
}
%all-reduce-scatter.5 (p: bf16[8,4]) -> f32[2] {
  %r.1 = f32[16]{0} all-reduce(%p), channel_id=2, to_apply=%add
}
%add (a: f32[], b: f32[]) -> f32[] {
  ROOT %s = f32[] add(%a, %b)
}
%piece (p: bf16[8]) -> bf16[8] {
  %g.2 = bf16[8,4]{1,0:T(8,128)} all-gather(%p), channel_id=3, dimensions={0}
}
ENTRY %main (p: bf16[8]) -> bf16[8] {
  %w = (s32[], bf16[8]) while(%t), condition=%add, body=%body.1
  %a = bf16[8] fusion(%p), kind=kCustom, calls=%piece
  %b = bf16[8] fusion(%p), kind=kCustom, calls=%piece
  %c = (bf16[4], bf16[8], u32[]) collective-permute-start(%p), channel_id=4
  %d = bf16[8] collective-permute-done(%c)
}
"""


def test_collectives_by_kind_and_place():
  found = traffic(HLO, depth=10)
  assert found == {
    "all-gather": {"in_loops": 1, "outside": 1, "gib_per_step": (640 + 64) / GIB},
    "collective-permute": {"in_loops": 0, "outside": 1, "gib_per_step": 16 / GIB},
    "reduce-scatter": {"in_loops": 1, "outside": 0, "gib_per_step": 640 / GIB},
  }


def test_operations_of_matrix_products_in_loops():
  def fn(x, w):
    step = jax.checkpoint(lambda x, w: (jnp.tanh(x @ w), None))
    return jax.lax.scan(step, x, w)[0].sum()

  x, w = jnp.zeros((3, 4)), jnp.zeros((5, 4, 4))
  one = 5 * 2 * 3 * 4 * 4
  assert matmul_flops(jax.make_jaxpr(fn)(x, w).jaxpr) == one
  # Forward, forward once more, and two products of the backward pass.
  assert matmul_flops(jax.make_jaxpr(jax.grad(fn, (0, 1)))(x, w).jaxpr) == 4 * one


@pytest.mark.skipif(
  importlib.util.find_spec("libtpu") is None, reason="compiling for TPUs needs the libtpu wheel"
)
def test_a_small_dit_compiles_for_a_slice():
  config = Config(topology="v5e:2x4", size="S", depth=2, batch_size=16, side=8, shards=4)
  found = dit_xl_pod.measure(config)
  model = dit("S", depth=2, num_classes=dit_xl_pod.CLASSES)
  shapes = jax.eval_shape(
    model.init, jax.random.key(0), jnp.zeros((1, 8, 8, 4)), jnp.zeros(1), jnp.zeros(1, int)
  )
  numbers = sum(leaf.size for leaf in jax.tree.leaves(shapes))
  # Parameters, two moments and their average, a quarter each.
  assert found["arguments_gib"] == pytest.approx(4 * 4 * numbers / 4 / GIB, rel=0.1)
  assert found["collectives"]["all-gather"]["in_loops"] >= 10  # five matrices, forward and backward
