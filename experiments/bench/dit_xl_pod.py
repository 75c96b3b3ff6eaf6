"""The train step of a DiT, compiled for a TPU pod slice without a TPU: bytes per chip, operations, traffic.

DiT-XL/2: 28 blocks of width 1,152 on 256 tokens, bfloat16, flow matching on 32 x 32 x 4 latents of 1,000
classes, Adam, a moving average, a global batch of 2,048. Parameters, moments and average are split over the
chips of a group, blocks are scanned and rematerialised, and each is made whole just before it is used. The
compiler is the TPU's own, from the libtpu wheel that `jax[tpu]` pins; it needs no TPU.
Expected: below 8.7 GB of temporaries and 1.7 GB of arguments per chip of a 16 x 16 slice of TPU v5e, which
has 16 GB. (Split over all 256 chips, which leaves attention's parameters whole, and without gathering, it was
8.5 and 2.3 GiB, and 160 GiB of collectives: the compiler then sends the rows of the batch around.)
Command: python -m experiments.bench dit_xl_pod
Time: five minutes on one core.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import os
import time
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from experiments.harness.cli import EXPERIMENTS
from experiments.pod.hlo import collectives, matmul_flops
from latentjax.diffusion.processes import rectified_flow
from latentjax.models import dit
from latentjax.objectives import diffusion
from latentjax.training import (
  TrainState,
  fsdp_gather,
  init_train_state,
  make_mesh,
  make_optimizer,
  make_train_step,
  state_shardings,
)
from latentjax.training.mesh import row_axes

RESULT = EXPERIMENTS / "results" / "bench" / "dit_xl_pod.json"
GIB = 2**30
CLASSES = 1000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
  """Flags of this benchmark."""

  topology: str = "v5e:16x16"
  """Chips to compile for."""
  size: str = "XL"
  """One of latentjax.models.DIT_SIZES."""
  depth: int | None = None
  """Blocks; None: those of the size."""
  batch_size: int = 2048
  """Global."""
  side: int = 32
  """Of the latents."""
  shards: int | None = 128
  """Chips over which parameters are split, see `make_mesh`; 256 does not divide 1,152."""
  gather: bool = True
  """Make a block's parameters whole before it is used; otherwise the compiler decides what to send."""
  remat: bool = True
  """Keep what goes from block to block alone."""
  record: bool = False
  """Write the result to experiments/results/bench/dit_xl_pod.json."""


def traced(config: Config, mesh: Mesh) -> Any:
  """The train step, traced for a mesh of devices that need not exist."""
  depth = {} if config.depth is None else {"depth": config.depth}
  model = dit(
    config.size,
    num_classes=CLASSES,
    remat=config.remat,
    gather=fsdp_gather(mesh) if config.gather else None,
    dtype=jnp.bfloat16,
    **depth,
  )
  train = diffusion(
    lambda params, x, t, label: model.apply({"params": params}, x, t, label),
    process=rectified_flow(),
    prediction="velocity",
    condition="label",
    null_condition=CLASSES,
  )
  optimizer = make_optimizer(1e-4)
  shape = (config.side, config.side, 4)

  def init(key: jax.Array) -> TrainState:
    params = model.init(key, jnp.zeros((1, *shape)), jnp.zeros(1), jnp.zeros(1, jnp.int32))
    return init_train_state(params["params"], optimizer, ema=True)

  key = jax.eval_shape(lambda: jax.random.key(0))
  state = jax.eval_shape(init, key)
  batch = {
    "image": jax.ShapeDtypeStruct((config.batch_size, *shape), jnp.float32),
    "label": jax.ShapeDtypeStruct((config.batch_size,), jnp.int32),
  }
  whole, rows = NamedSharding(mesh, P()), NamedSharding(mesh, P(row_axes(mesh)))
  shardings = state_shardings(state, mesh, rules="fsdp")
  step = jax.jit(
    make_train_step(train.objective, optimizer, ema_decay=0.9999),
    in_shardings=(shardings, whole, rows),
    out_shardings=(shardings, whole),
    donate_argnums=0,
  )
  return step.trace(state, key, batch)


def traffic(hlo: str, num_devices: int) -> dict[str, dict[str, float]]:
  """Collectives by kind: how many the program has in loops and outside, and what they exchange in a step.

  That is counted as the GiB of whole arrays, those before a reduce-scatter and after the others.
  """
  found = collectives(hlo, num_devices)
  out = {}
  for kind in sorted({c.kind for c in found}):
    rows = [c for c in found if c.kind == kind]
    inside = sum(c.in_loop for c in rows)
    total = sum(c.times * c.size for c in rows)
    out[kind] = {"in_loops": inside, "outside": len(rows) - inside, "gib_per_step": total / GIB}
  return out


def measure(config: Config) -> dict[str, Any]:
  """Compile for the topology."""
  os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")  # ask no metadata server what TPU this is
  devices = topologies.get_topology_desc(config.topology, "tpu").devices
  mesh = make_mesh(shards=config.shards, devices=devices)
  begin = time.perf_counter()
  program = traced(config, mesh)
  low = program.lower(lowering_platforms=("tpu",))
  middle = time.perf_counter()
  compiled = low.compile()
  end = time.perf_counter()
  memory = compiled.memory_analysis()
  return {
    "config": dataclasses.asdict(config),
    "mesh": dict(mesh.shape),
    "arguments_gib": memory.argument_size_in_bytes / GIB,
    "temporaries_gib": memory.temp_size_in_bytes / GIB,
    "outputs_in_place_of_arguments_gib": memory.alias_size_in_bytes / GIB,
    "peak_gib": memory.peak_memory_in_bytes / GIB,
    "matmul_flops_per_chip": matmul_flops(program.jaxpr.jaxpr) / len(devices),
    "collectives": traffic(compiled.as_text(), len(devices)),
    "trace_seconds": middle - begin,
    "compile_seconds": end - middle,
    "versions": {name: importlib.metadata.version(name) for name in ("jax", "jaxlib", "libtpu")},
  }


def run(config: Config) -> int:
  """Compile and judge; 0 if every expectation holds."""
  found = measure(config)
  print(json.dumps(found, indent=2))
  arguments, temporaries = found["arguments_gib"] * GIB, found["temporaries_gib"] * GIB
  holds = {
    "arguments below 1.7 GB": arguments < 1.7e9,
    "temporaries below 8.7 GB": temporaries < 8.7e9,
    "together below 16 GB": arguments + temporaries < 16e9,
  }
  print("\n".join(f"{what}: {'HOLDS' if held else 'FAILS'}" for what, held in holds.items()))
  if config.record:
    RESULT.write_text(json.dumps({**found, "holds": holds}, indent=2) + "\n")
  return 0 if all(holds.values()) else 1
