"""Nearest codes and VQ's forward and backward pass: time beside the machine's matrix product; memory.

Sides in turns, so that what else the machine does meets all alike. A search does 2 B N D operations: its
rate is given as a share of that of a 2,048^3 product of the same round. Memory is what the compiled program
needs beyond its inputs and outputs. Beside ours: all distances at once, and 1,024 vectors at a time, both in
plain JAX. With --torch_python also vector-quantize-pytorch, and plain PyTorch with all distances at once, in
processes of their own after the rest, since they take seconds to half a minute.
Expected: faster than both and every peer; at least half of the product's rate (a plain blockwise form reaches
0.4); the search within 16 MiB, also of a codebook of 262,144, and forward and backward within 64, where the
distances take 2 GiB.
Note: with jaxlib 0.10 forward and backward take 64.25 MiB, as plain JAX in blocks does: four arrays of 16 MiB
(codes, their differences, two of squares) and the indices. The squares are those of sums over the last axis,
which this version writes out before it adds them up.
Command: python -m experiments.bench quantize_speed --torch_python=PYTHON
Time: two minutes on two quiet cores; two more with the peers.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.bench import rounds, vae_mlp
from experiments.harness.cli import EXPERIMENTS
from latentjax.quantizers import init_ema_codebook, nearest_code, update_ema_codebook
from latentjax.quantizers import vector_quantize as quantize

RESULT = EXPERIMENTS / "results" / "bench" / "quantize_speed.json"
SIDE = 2048
MIB = 2**20


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
  """Flags of this benchmark."""

  num_vectors: int = 65536
  """B."""
  num_codes: int = 8192
  """N."""
  dim: int = 64
  """D."""
  large: int = 262144
  """Codes of the large codebook, searched for 8,192 vectors."""
  rounds: int = 7
  """Turns of every side."""
  torch_python: Path | None = None
  """Python of an environment with torch and vector-quantize-pytorch."""
  record: bool = False
  """Write the result to experiments/results/bench/quantize_speed.json."""


def loss(z: jax.Array, codebook: jax.Array) -> jax.Array:
  """Of an auto-encoder as simple as can be: the codes' distance from the vectors' doubles."""
  quantized = quantize(z, codebook)
  return jnp.mean(quantized.loss) + jnp.mean(jnp.square(quantized.z_q - 2 * z))


def dense(z: jax.Array, codebook: jax.Array) -> jax.Array:
  """Nearest codes as everybody finds them."""
  squares = jnp.sum(z**2, 1)[:, None] - 2 * z @ codebook.T + jnp.sum(codebook**2, 1)
  return jnp.argmin(squares, axis=1)


def blockwise(z: jax.Array, codebook: jax.Array) -> jax.Array:
  """The same, 1,024 vectors at a time."""
  blocks = jax.lax.stop_gradient(z).reshape(-1, 1024, z.shape[1])
  return jax.lax.map(lambda block: dense(block, codebook), blocks).reshape(-1)


def plain_loss(search: Callable, z: jax.Array, codebook: jax.Array) -> jax.Array:
  """What `loss` is, in a few lines."""
  codes = codebook[search(z, jax.lax.stop_gradient(codebook))]
  fixed = jax.lax.stop_gradient
  pull = jnp.sum((fixed(z) - codes) ** 2 + 0.25 * (z - fixed(codes)) ** 2, axis=1)
  return jnp.mean(pull) + jnp.mean((z + fixed(codes - z) - 2 * z) ** 2)


def update(z: jax.Array, codebook: jax.Array) -> Any:
  """Search and moving average."""
  return update_ema_codebook(init_ema_codebook(codebook), z, nearest_code(z, codebook))


def seconds(fn: Callable, *args: Any) -> float:
  """Wall time of one call."""
  start = time.perf_counter()
  jax.block_until_ready(fn(*args))
  return time.perf_counter() - start


def inputs(num_vectors: int, num_codes: int, dim: int) -> tuple[jax.Array, jax.Array]:
  """Vectors and codes."""
  keys = jax.random.split(jax.random.key(0))
  return jax.random.normal(keys[0], (num_vectors, dim)), jax.random.normal(
    keys[1], (num_codes, dim)
  )


def time_sides(config: Config) -> dict[str, Any]:
  """Medians over the rounds, shares of the product's rate, memory."""
  pair = inputs(config.num_vectors, config.num_codes, config.dim)
  large = inputs(8192, config.large, config.dim)
  square = jax.random.normal(jax.random.key(1), (SIDE, SIDE))
  grad = partial(jax.value_and_grad, argnums=(0, 1))
  sides: dict[str, tuple[Any, Any]] = {
    "product": (jax.jit(jnp.matmul), (square, square)),
    "nearest": (jax.jit(nearest_code), pair),
    "forward_backward": (jax.jit(grad(loss)), pair),
    "nearest_and_update": (jax.jit(update), pair),
    "blockwise_forward_backward": (jax.jit(grad(partial(plain_loss, blockwise))), pair),
    "dense_forward_backward": (jax.jit(grad(partial(plain_loss, dense))), pair),
    "large_codebook": (jax.jit(nearest_code), large),
  }
  for fn, args in sides.values():
    seconds(fn, *args)
  taken = [
    {name: seconds(fn, *args) for name, (fn, args) in sides.items()} for _ in range(config.rounds)
  ]
  rate = 2 * SIDE**3 / np.array([row["product"] for row in taken])
  out: dict[str, Any] = {"product_gflops": float(np.median(rate)) / 1e9}
  for name, (fn, (z, codebook)) in list(sides.items())[1:]:
    column = np.array([row[name] for row in taken])
    memory = fn.lower(z, codebook).compile().memory_analysis().temp_size_in_bytes
    out[name] = {
      "seconds": float(np.median(column)),
      "share_of_the_product": float(np.median(2 * len(z) * codebook.size / column / rate)),
      "temporary_mib": memory / MIB,
    }
  answer, reference = (jax.jit(grad(fn))(*pair) for fn in (loss, partial(plain_loss, dense)))
  error = lambda a, b: float(jnp.max(jnp.abs(a - b)) / jnp.max(jnp.abs(b)))
  differences = jax.tree.map(error, answer, reference)
  out["largest_relative_difference_from_dense"] = max(jax.tree.leaves(differences))
  return out


def peers(config: Config) -> dict[str, Any]:
  """Seconds and peak memory of the PyTorch sides, each in a fresh process."""
  shape = [str(n) for n in (config.num_vectors, config.num_codes, config.dim)]
  found = {}
  for side in ("dense", "library_eval", "library_train"):
    command = [str(config.torch_python), "-m", "experiments.bench.quantize_speed_torch", side]
    done = subprocess.run(
      [*command, *shape], capture_output=True, text=True, cwd=EXPERIMENTS.parent, check=False
    )
    if done.returncode:
      raise ValueError(f"torch_python: {side} failed:\n{done.stderr[-2000:]}")
    found[side] = json.loads(done.stdout.splitlines()[-1])
  return found


def run(config: Config) -> int:
  """Measure; 0 if every expectation holds."""
  machine = rounds.machine()
  timed = time_sides(config)
  print(json.dumps(timed, indent=2))
  others = peers(config) if config.torch_python else {}
  print(json.dumps(others, indent=2))
  ours = timed["forward_backward"]["seconds"]
  holds = {
    "faster than plain JAX": all(
      ours < timed[f"{side}_forward_backward"]["seconds"] for side in ("blockwise", "dense")
    ),
    "faster than every peer": all(ours < side["seconds"] for side in others.values()),
    "at least half of the product's rate": timed["nearest"]["share_of_the_product"] >= 0.5,
    "the search within 16 MiB": timed["nearest"]["temporary_mib"] <= 16,
    "forward and backward within 64 MiB": timed["forward_backward"]["temporary_mib"] <= 64,
    "the large codebook within 16 MiB": timed["large_codebook"]["temporary_mib"] <= 16,
    "the gradient of dense JAX": timed["largest_relative_difference_from_dense"] < 1e-4,
  }
  print("\n".join(f"{what}: {'HOLDS' if held else 'FAILS'}" for what, held in holds.items()))
  if config.record:
    shape = {"vectors": config.num_vectors, "codes": config.num_codes, "dim": config.dim}
    result = {**shape, "ours": timed, "peers": others, "holds": holds, "machine": machine}
    vae_mlp.save(RESULT, {"benchmark": "quantize_speed", **result})
  return 0 if all(holds.values()) else 1
