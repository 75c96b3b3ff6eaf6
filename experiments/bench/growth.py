"""How time and memory of kernels grow with the batch, latents, codes, samples, steps, examples and chips.

Every kernel at sizes that double, value and gradient where it is trained through; the fastest of a few calls,
and what the compiled program needs beyond its inputs and outputs. The exponent is the slope of the largest
three sizes in logarithms. Over chips they are those of a train step compiled for TPU v5p with as many times
the batch, memory per chip and the least time of a step, from the table of `python -m experiments.pod`.
Expected: no memory grows with an exponent above 1.2, also where the work grows with the square; that of
samples, codes, steps and chips does not grow (at most 0.2).
Command: python -m experiments.bench growth
Time: three minutes on two quiet CPU cores.
"""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.bench.rounds import machine
from experiments.harness.cli import EXPERIMENTS, git_hash
from latentjax import objectives
from latentjax.diffusion import processes, samplers, spacings
from latentjax.losses.contrastive import nt_xent, siglip_loss
from latentjax.losses.elbo import tcvae_kl, total_correlation_terms
from latentjax.metrics import mig, precision_recall
from latentjax.models import mlp_vae
from latentjax.quantizers import vector_quantize
from latentjax.transport import sinkhorn_divergence

RESULT = EXPERIMENTS / "results" / "bench" / "growth.json"
PODS = RESULT.with_name("pods.json")
LINEAR, FLAT = 1.2, 0.2


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
  """Flags of this benchmark."""

  sizes: int = 5
  """How many sizes of each, from the smallest on; at least 3."""
  calls: int = 3
  """Timed calls of each size."""
  record: bool = False
  """Write the result and the picture, growth.png, to experiments/results/bench."""

  def __post_init__(self) -> None:
    if not 3 <= self.sizes <= 5 or self.calls < 1:
      raise ValueError(f"sizes, calls: got {self.sizes}, {self.calls}, wanted 3 to 5, at least 1")


Program = tuple[Callable[..., Any], tuple[Any, ...]]


def normal(seed: int, *shape: int) -> jax.Array:
  """Standard normal numbers."""
  return jax.random.normal(jax.random.key(seed), shape)


def with_gradient(loss: Callable[..., jax.Array], *arrays: jax.Array) -> Program:
  """Value and gradient with respect to all arrays."""
  return jax.value_and_grad(loss, tuple(range(len(arrays)))), arrays


def contrastive(loss: Callable[..., jax.Array], size: int) -> Program:
  """A loss of `size` pairs of 128 numbers, in blocks."""
  rows = [x / jnp.linalg.norm(x, axis=1, keepdims=True) for x in normal(0, 2, size, 128)]
  return with_gradient(lambda x, y: loss(x, y, block_size=256).mean(), *rows)


def total_correlation(batch_size: int, latent_dim: int) -> Program:
  """beta-TCVAE's penalty."""

  def loss(z: jax.Array, mean: jax.Array, log_scale: jax.Array) -> jax.Array:
    terms = total_correlation_terms(z, mean, log_scale, dataset_size=60_000, block_size=256)
    return tcvae_kl(terms).mean()

  return with_gradient(loss, *normal(0, 3, batch_size, latent_dim))


def quantizer(num_codes: int) -> Program:
  """VQ of 4,096 vectors of 64 numbers."""

  def loss(z: jax.Array, codebook: jax.Array) -> jax.Array:
    z_q, _, commitment = vector_quantize(z, codebook)
    return jnp.sum(jnp.square(z_q)) + jnp.sum(commitment)

  return with_gradient(loss, normal(0, 4096, 64), normal(1, num_codes, 64))


def sinkhorn(size: int) -> Program:
  """Divergence of two sets of 16 numbers each, 20 iterations."""
  loss = lambda x, y: sinkhorn_divergence(x[None], y[None], epsilon=1.0, num_iterations=20)[0]
  return with_gradient(loss, *normal(0, 2, size, 16))


def iwae(num_samples: int) -> Program:
  """Loss of 64 images by an MLP with blocks of 10 samples."""
  networks = mlp_vae((28, 28, 1), 20, hidden=(200, 200), activation="tanh")
  model = objectives.iwae(
    networks.encode_fn, networks.decode_fn, latent_dim=20, num_samples=num_samples
  )
  batch = {"image": jax.random.uniform(jax.random.key(1), (64, 28, 28, 1))}
  loss = lambda params: model.objective(params, (), jax.random.key(2), batch)[0]
  return with_gradient(loss, networks.init_fn(jax.random.key(0)))


def sampling(num_steps: int) -> Program:
  """DDIM of 256 vectors by a network of three layers."""
  weights = [normal(i, 64, 64) / 8 for i in range(3)]

  def sample(noise: jax.Array) -> jax.Array:
    def denoise_fn(x: jax.Array, t: jax.Array) -> jax.Array:
      for weight in weights:
        x = jnp.tanh(x @ weight)
      return x

    times = spacings.uniform(num_steps=num_steps)
    return samplers.ddim(
      jax.random.key(0), denoise_fn, noise, process=processes.vp_cosine(), times=times
    )

  return sample, (normal(0, 256, 64),)


def neighbours(size: int) -> Program:
  """Precision and recall of two sets of 64 features."""
  return precision_recall, tuple(normal(0, 2, size, 64))


def information_gap(size: int) -> Program:
  """MIG of 10 codes and 5 factors of 8 values."""
  factors = jax.random.randint(jax.random.key(0), (size, 5), 0, 8)
  return partial(mig, num_values=8), (normal(1, size, 10), factors)


# Smallest size, the factor from size to size, the largest exponent of memory, and the program of a size.
KERNELS: dict[str, tuple[int, int, float, Callable[[int], Program]]] = {
  "NT-Xent, pairs": (512, 2, LINEAR, partial(contrastive, partial(nt_xent, temperature=0.5))),
  "SigLIP, pairs": (
    512,
    2,
    LINEAR,
    partial(contrastive, partial(siglip_loss, logit_scale=10.0, logit_bias=-10.0)),
  ),
  "total correlation, batch": (256, 2, LINEAR, partial(total_correlation, latent_dim=16)),
  "total correlation, latents": (8, 2, LINEAR, partial(total_correlation, 512)),
  "VQ, codes": (1024, 2, FLAT, quantizer),
  "Sinkhorn, members of a set": (128, 2, math.inf, sinkhorn),
  "IWAE, samples": (10, 2, FLAT, iwae),
  "DDIM, steps": (25, 2, FLAT, sampling),
  "precision and recall, examples": (1024, 2, LINEAR, neighbours),
  "MIG, examples": (4096, 4, LINEAR, information_gap),
}


def measure(make: Callable[[int], Program], size: int, calls: int) -> tuple[float, float]:
  """Seconds of the fastest call, and MiB of temporary memory."""
  function, arrays = make(size)
  compiled = jax.jit(function).lower(*arrays).compile()
  jax.block_until_ready(compiled(*arrays))
  times = []
  for _ in range(calls):
    begin = time.perf_counter()
    jax.block_until_ready(compiled(*arrays))
    times.append(time.perf_counter() - begin)
  return min(times), compiled.memory_analysis().temp_size_in_bytes / 2**20


# Experiment and flags in the table of compiled steps.
STEPS = {
  "VAE, chips": ("vae_digits", ""),
  "VQ, chips": ("sim_vq", ""),
  "diffusion, chips": ("diffusion_mnist", ""),
  "NT-Xent in a ring, chips": (
    "ssl_table",
    "--probe_examples=200 --methods=nt_xent --parallel=pmap --block_size=128",
  ),
  "Barlow Twins, chips": ("ssl_table", "--probe_examples=200 --methods=barlow_twins"),
}


def compiled(experiment: str, flags: str) -> tuple[list[int], list[float], list[float]]:
  """Numbers of chips, and seconds and MiB per chip of the step compiled for them."""
  rows = {
    row["chips"]: row
    for row in json.loads(PODS.read_text())["rows"]
    if (row["experiment"], row["flags"]) == (experiment, flags)
  }
  chips = sorted(rows)
  return chips, [rows[n]["seconds"] for n in chips], [rows[n]["memory"] / 2**20 for n in chips]


def exponent(sizes: list[int], values: list[float]) -> float:
  """Slope of the largest three, in logarithms."""
  floor = [max(v, 1e-9) for v in values[-3:]]
  return float(np.polyfit(np.log(sizes[-3:]), np.log(floor), 1)[0])


def draw(found: dict[str, Any]) -> Any:
  """A panel for each kernel: time on the left axis, memory on the right one."""
  from matplotlib.figure import Figure

  figure = Figure(figsize=(16, 9.5))
  for i, (name, row) in enumerate(found.items()):
    left = figure.add_subplot(math.ceil(len(found) / 5), 5, i + 1)
    right = left.twinx()
    for axis, key, colour, unit in (
      (left, "milliseconds", "tab:blue", "ms"),
      (right, "mib", "tab:orange", "MiB"),
    ):
      axis.loglog(row["sizes"], row[key], "o-" if axis is left else "s--", color=colour)
      axis.set_ylabel(unit, color=colour)
      low, high = min(row[key]), max(row[key])
      axis.set_ylim(low / 2, max(high * 2, low * 20))
    time_power, memory_power = row["time_exponent"], row["memory_exponent"]
    for axis in (left, right):
      axis.minorticks_off()
    left.set_xticks(row["sizes"], [f"{size:,}" for size in row["sizes"]], fontsize=7, rotation=30)
    left.set_title(f"{name}\ntime ^{time_power:.2f}, memory ^{memory_power:.2f}", fontsize=9)
  figure.tight_layout()
  return figure


def run(config: Config) -> int:
  """Run the benchmark; 0 if memory grows as it should."""
  before, found, holds = machine(), {}, True
  for name in (*KERNELS, *STEPS):
    if name in STEPS:
      limit, (sizes, seconds, mib) = FLAT, compiled(*STEPS[name])
    else:
      smallest, factor, limit, make = KERNELS[name]
      sizes = [smallest * factor**i for i in range(config.sizes)]
      seconds, mib = zip(*(measure(make, size, config.calls) for size in sizes), strict=True)
    row = {"sizes": sizes, "milliseconds": [1e3 * s for s in seconds], "mib": list(mib)}
    row |= {"time_exponent": exponent(sizes, seconds), "memory_exponent": exponent(sizes, mib)}
    fits = row["memory_exponent"] <= limit
    holds, found[name] = holds and fits, row
    print(
      f"{name:32} {sizes[0]:>6} to {sizes[-1]:>7}: {1e3 * seconds[0]:9.2f} to {1e3 * seconds[-1]:9.2f} ms, "
      f"^{row['time_exponent']:5.2f};  {mib[0]:8.2f} to {mib[-1]:8.2f} MiB, ^{row['memory_exponent']:5.2f} "
      f"{'HOLDS' if fits else 'FAILS'}"
    )
  if config.record:
    result = {"benchmark": "growth", "kernels": found, "machine": before, "git": git_hash()}
    RESULT.write_text(json.dumps({**result, "holds": holds}, indent=2) + "\n")
    draw(found).savefig(RESULT.with_suffix(".png"), dpi=80)
  return 0 if holds else 1
