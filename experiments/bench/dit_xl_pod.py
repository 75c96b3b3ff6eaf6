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
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.harness.cli import EXPERIMENTS
from experiments.pod import analysis, chips
from experiments.pod.findings import findings
from experiments.pod.hlo import Collective
from latentjax import data
from latentjax.diffusion.processes import rectified_flow
from latentjax.models import dit
from latentjax.objectives import diffusion
from latentjax.training import TrainConfig, fsdp_gather, make_mesh, make_optimizer
from latentjax.training.program import Program, abstract_program

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


def make_program(config: Config, devices: Any) -> Program:
  """What `train` would compile for these devices, which need not exist."""
  mesh = make_mesh(shards=config.shards, devices=devices)
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
  shape = (config.side, config.side, 4)

  def init(key: jax.Array) -> tuple[Any, Any]:
    params = model.init(key, jnp.zeros((1, *shape)), jnp.zeros(1), jnp.zeros(1, jnp.int32))
    return params["params"], ()

  example = data.load({"image": np.zeros((1, *shape), np.float32), "label": np.zeros(1, np.int32)})
  how = TrainConfig(
    batch_size=config.batch_size, sharding="fsdp", shards=config.shards, ema_decay=0.9999
  )
  return abstract_program(
    train.objective, init, make_optimizer(1e-4), example, how, devices=devices
  )


def traffic(exchanged: list[Collective]) -> dict[str, dict[str, float]]:
  """Collectives by kind: how many stand in loops and outside, and the GiB that a chip sends in a step."""
  out = {}
  for kind in sorted({c.kind for c in exchanged}):
    rows = [c for c in exchanged if c.kind == kind]
    inside = sum(c.in_loop for c in rows)
    sent = sum(c.sent for c in rows)
    out[kind] = {"in_loops": inside, "outside": len(rows) - inside, "sent_gib": sent / GIB}
  return out


def measure(config: Config) -> dict[str, Any]:
  """Compile for the topology."""
  target = chips.target(config.topology)
  program = make_program(config, target.devices)
  found, jaxpr, compiled = analysis.program_cost(program, target.platform)
  sizes = ("params", "opt_state", "data", "arguments", "temporaries", "donated", "memory", "sent")
  least = analysis.roofline(found, target.chip)
  return {
    "config": dataclasses.asdict(config),
    "mesh": dict(program.mesh.shape),
    **{f"{name}_gib": getattr(found, name) / GIB for name in sizes},
    "peak_gib": compiled.memory_analysis().peak_memory_in_bytes / GIB,
    "matmul_flops_per_chip": found.flops,
    "collectives": traffic(found.collectives),
    "roofline_seconds": least._asdict(),
    "utilisation": least.utilisation,
    "warnings": findings(found, jaxpr, program.args[0], batch_size=config.batch_size),
    "compile_seconds": found.compile_seconds,
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
