"""Losses that compare all rows of a batch: the same value and gradient in blocks, and round the devices."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from experiments.pod.capture import RECORDER, Done
from latentjax import data
from latentjax.collectives import row_offset
from latentjax.training import make_mesh
from latentjax.training.mesh import DATA_AXIS

B = 24
PROGRAMS = {
  "ambiguous_inputs": ("inside", ["--num_train=100", "--num_samples=3"]),
  "common_salient": ("SepCLR", ["--num_train=100"]),
  "contrastive_gap": ("twins CUAXU", ["--num_train=100"]),
  "contrastive_temperature": ("tau 0.07", ["--probe_examples=40"]),
  "cross_flow": ("CrossFlow", ["--num_train=500", "--num_samples=100"]),
  "matched_captions": ("train", ["--num_train=100"]),
  "noisy_captions": ("0% shuffled", ["--num_train=100"]),
  "random_field": ("strength 0", ["--probe_examples=40"]),
  "repa": ("encoder", ["--judge_steps=2"]),
  "spurious_words": ("train", []),
  "wae_rates": ("2 in 32, 64", ["--least=64"]),
  "ssl_table": ("nt_xent", ["--methods=nt_xent", "--probe_examples=40"]),
}


@pytest.fixture
def call_of(monkeypatch, tmp_path):
  """`(experiment, *flags) -> Call`: the arguments of its call of `train`, on arrays of MNIST's shape."""
  rng, load = np.random.default_rng(0), data.load
  digits = {
    "image": rng.integers(256, size=(600, 28, 28, 1)).astype(np.uint8),
    "label": np.arange(600) % 10,
  }
  # Images are drawn, as MNIST is not in the package; the embedded digits and arrays are themselves.
  fake = lambda name, **options: load(digits) if name == "mnist" else load(name, **options)
  monkeypatch.setattr(data, "load", fake)

  def find(experiment, *flags):
    from experiments.harness import cli

    module = importlib.import_module(f"experiments.{experiment}")
    monkeypatch.setattr(module, "train", RECORDER)
    wanted, common = PROGRAMS[experiment]
    all_flags = [f"--workdir={tmp_path}", "--seeds=1", f"--batch_size={B}", *common, *flags]
    monkeypatch.setattr(RECORDER, "found", [])
    monkeypatch.setattr(RECORDER, "only", True)
    monkeypatch.setattr(RECORDER, "wanted", lambda call: call.name == wanted)
    with pytest.raises(Done):
      module.run(cli.parse(module, experiment, all_flags))
    return RECORDER.found[0]

  return find


def of_batch(call, num_devices):
  """Loss and gradient of one batch, its rows split over so many devices."""
  objective, init_fn, _, dataset = call.arguments
  axis_name = call.config.axis_name
  params, state = init_fn(jax.random.key(1))
  rows = dataset.read(np.arange(B))

  def step(rows):
    count = len(jax.tree.leaves(rows)[0])
    if call.transform is not None:
      index = row_offset(count, axis_name) + jnp.arange(count)
      keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(2), index)
      rows = jax.vmap(call.transform)(keys, rows)
    loss_fn = lambda params: objective(params, state, jax.random.key(3), rows)[0]
    found = jax.value_and_grad(loss_fn)(params)
    return found if axis_name is None else jax.lax.pmean(found, axis_name)

  if axis_name is not None:
    mesh = make_mesh(devices=jax.devices()[:num_devices])
    step = jax.shard_map(step, mesh=mesh, in_specs=P(DATA_AXIS), out_specs=P(), check_vma=False)
  return jax.jit(step)(rows)


@pytest.mark.parametrize("experiment", PROGRAMS)
def test_blocks_round_the_devices_change_nothing(experiment, call_of):
  loss, grads = of_batch(call_of(experiment), num_devices=1)
  largest = max(float(jnp.max(jnp.abs(g))) for g in jax.tree.leaves(grads))
  assert np.isfinite(loss) and largest > 0
  # 6 rows on each of four devices, in blocks of 4 with one to fill up.
  blocks = call_of(experiment, "--block_size=4", "--parallel=pmap")
  found, found_grads = of_batch(blocks, num_devices=4)
  np.testing.assert_allclose(found, loss, rtol=1e-5)
  others = dict(jax.tree_util.tree_leaves_with_path(found_grads))
  for path, g in jax.tree_util.tree_leaves_with_path(grads):
    name = jax.tree_util.keystr(path)
    # Relative to all of it: that of a bias before a batch normalisation is rounding alone.
    np.testing.assert_allclose(others[path], g, rtol=1e-3, atol=1e-5 * largest, err_msg=name)
