"""A small DiT compiled for TPUs."""

import importlib.util

import jax
import jax.numpy as jnp
import pytest

from experiments.bench import dit_xl_pod
from experiments.bench.dit_xl_pod import GIB, Config
from latentjax.models import dit


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
