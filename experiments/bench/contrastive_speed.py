"""NT-Xent in blocks: time of value and gradient beside dense JAX and the machine's matrix product; memory.

In turns, so that what else the machine does meets all sides alike. Each pair of rows is scored once and
made again once for the gradient, with two products to follow: 4 products over half the (2 B, 2 B) pairs, or
16 B^2 D operations; the plain blockwise form does 3 products over all pairs, 24 B^2 D. Memory is what the
compiled program needs beyond its inputs and outputs, also that of each of 8 devices.
Expected: faster than dense; by the plain form's operations, at least 0.8 of the rate of a 2,048^3 product;
under 1 GiB at 65,536 x 256.
Command: python -m experiments.bench contrastive_speed
Time: about five minutes on two quiet cores.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec as P

from experiments.bench import rounds, vae_mlp
from experiments.harness.cli import EXPERIMENTS
from latentjax.losses import contrastive as losses

RESULT = EXPERIMENTS / "results" / "bench" / "contrastive_speed.json"
SIDE = 2048
DEVICES = 8


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
  """Flags of this benchmark."""

  batch_sizes: tuple[int, ...] = (4096, 16384, 65536)
  """Pairs of views."""
  dim: int = 128
  """Width of the embeddings."""
  block_size: int = 512
  """Rows of a block."""
  rounds: int = 7
  """Turns of every side, at the smallest batch; fewer at larger ones."""
  dense_up_to: int = 4096
  """Largest batch for dense JAX, whose memory grows with its square."""
  record: bool = False
  """Write the result to experiments/results/bench/contrastive_speed.json."""


def dense(z_1: jax.Array, z_2: jax.Array) -> jax.Array:
  """NT-Xent as everybody writes it."""
  z = jnp.concatenate([z_1, z_2])
  scores = jnp.where(jnp.eye(len(z), dtype=bool), -jnp.inf, z @ z.T / 0.1)
  positive = jnp.tile(jnp.sum(z_1 * z_2, axis=1) / 0.1, 2)
  return jnp.mean(jax.nn.logsumexp(scores, axis=1) - positive)


def blockwise(z_1: jax.Array, z_2: jax.Array, *, block_size: int) -> jax.Array:
  """Ours."""
  return jnp.mean(losses.nt_xent(z_1, z_2, block_size=block_size))


def views(batch_size: int, dim: int) -> tuple[jax.Array, jax.Array]:
  """Two views of random embeddings."""
  z = jax.random.normal(jax.random.key(0), (2, batch_size, dim))
  return tuple(losses.l2_normalize(z))


def seconds(fn: Callable, *args: Any) -> float:
  """Wall time of one call."""
  start = time.perf_counter()
  jax.block_until_ready(fn(*args))
  return time.perf_counter() - start


def time_sides(config: Config, batch_size: int) -> dict[str, Any]:
  """Medians over the rounds, and rates relative to the matrix product of the same round."""
  z = views(batch_size, config.dim)
  square = jax.random.normal(jax.random.key(1), (SIDE, SIDE))
  ours = jax.value_and_grad(partial(blockwise, block_size=config.block_size), (0, 1))
  sides = {"product": (jax.jit(jnp.matmul), (square, square)), "ours": (jax.jit(ours), z)}
  if batch_size <= config.dense_up_to:
    sides["dense"] = (jax.jit(jax.value_and_grad(dense, (0, 1))), z)
  turns = max(2, config.rounds * min(config.batch_sizes) // batch_size)
  for fn, args in sides.values():
    seconds(fn, *args)
  taken = [{name: seconds(fn, *args) for name, (fn, args) in sides.items()} for _ in range(turns)]
  column = lambda name: np.array([row[name] for row in taken])
  rate = 2 * SIDE**3 / column("product")
  out = {f"{name}_seconds": float(np.median(column(name))) for name in sides}
  out["product_gflops"] = float(np.median(rate)) / 1e9
  for name, products in {"of_products_done": 16, "of_plain_blockwise": 24}.items():
    done = products * batch_size**2 * config.dim / column("ours")
    out[f"share_{name}"] = float(np.median(done / rate))
  if "dense" in sides:
    out["dense_over_ours"] = float(np.median(column("dense") / column("ours")))
  compiled = {n: fn.lower(*args).compile() for n, (fn, args) in sides.items() if n != "product"}
  return out | {f"{name}_mib": mebibytes(program) for name, program in compiled.items()}


def mebibytes(compiled: Any) -> float:
  """Memory of a compiled program beyond its inputs and outputs."""
  return compiled.memory_analysis().temp_size_in_bytes / 2**20


def memory_at_scale() -> dict[str, dict[str, float]]:
  """Of value and gradient at 65,536 x 256 in blocks of 1,024: on one device, and on each of 8.

  In a process of its own: simulated devices share the cores out, which slows every one of them.
  """
  jax.config.update("jax_num_cpu_devices", DEVICES)
  scale = {"logit_scale": 10.0}
  fns = {
    "info_nce": losses.info_nce,
    "nt_xent": losses.nt_xent,
    "clip_loss": partial(losses.clip_loss, **scale),
    "siglip_loss": partial(losses.siglip_loss, **scale, logit_bias=-10.0),
  }
  rows = jax.ShapeDtypeStruct((65536, 256), jnp.float32)
  mesh = jax.make_mesh((DEVICES,), ("devices",), axis_types=(jax.sharding.AxisType.Auto,))
  found = {}
  for name, fn in fns.items():

    def loss(x: jax.Array, y: jax.Array, axis_name: str | None = None, fn: Any = fn) -> jax.Array:
      return jnp.mean(fn(x, y, block_size=1024, axis_name=axis_name))

    local = jax.grad(partial(loss, axis_name="devices"), (0, 1))
    spec = P("devices")
    split = jax.shard_map(local, mesh=mesh, in_specs=spec, out_specs=spec, check_vma=False)
    found[name] = {
      "one_device_mib": mebibytes(jax.jit(jax.grad(loss, (0, 1))).lower(rows, rows).compile()),
      f"each_of_{DEVICES}_mib": mebibytes(jax.jit(split).lower(rows, rows).compile()),
    }
  return found


def run(config: Config) -> int:
  """Measure; 0 if every expectation holds."""
  machine = rounds.machine()
  timed = {size: time_sides(config, size) for size in config.batch_sizes}
  for size, row in timed.items():
    print(f"B = {size}: " + ", ".join(f"{name} {value:.4g}" for name, value in row.items()))
  with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
    memory = process.submit(memory_at_scale).result()
  for name, row in memory.items():
    print(f"{name:12} " + ", ".join(f"{where} {value:.1f}" for where, value in row.items()))
  holds = {
    "faster than dense": all(row.get("dense_over_ours", 2.0) > 1 for row in timed.values()),
    "at least 0.8 of the product's rate": all(
      row["share_of_plain_blockwise"] >= 0.8 for row in timed.values()
    ),
    "under 1 GiB at 65,536 x 256": all(row["one_device_mib"] < 1024 for row in memory.values()),
  }
  print("\n".join(f"{what}: {'HOLDS' if held else 'FAILS'}" for what, held in holds.items()))
  if config.record:
    result = {"timed": timed, "memory": memory, "holds": holds, "machine": machine}
    vae_mlp.save(RESULT, {"benchmark": "contrastive_speed", **result})
  return 0 if all(holds.values()) else 1
