"""Disentanglement scores: time beside NumPy and scikit-learn as the reference library uses them.

10,000 examples of ten latents and five factors. The standard library, disentanglement_lib, needs TensorFlow
1.14: its algorithms, and those of the scores that it lacks, are written anew from their definitions, with its
calls of scikit-learn and its loops, in a process of its own that runs before ours. Ours is called as a user
would, checks included, one score after the other. Compared are CPU seconds, which the load of a machine
hardly changes: of all our threads, and of the other side held to one; the least of the calls, ours after the
first.
What is drawn at random agrees to 0.02, the rest to 0.001.
The scores of information are all that estimate mutual information or conditional entropy: MIG, DMIG,
DCIMIG, modularity, and the three numbers of InfoMEC with the fit of its probe. The report is that of
`disentanglement_report`, which adds DCI with 100 stages of boosted trees (not on the other side: minutes) to
most of the scores timed one by one; it runs first, and compiles everything without a cache.
Expected: the scores of information together at least 10 x as fast; a report, compiled before, in less than
10 CPU seconds of all threads, and so in less than 10 s on idle cores; all scores together faster than the
other side's.
Command: python -m experiments.bench disentanglement_speed
Time: two minutes on two quiet cores.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments.bench import rounds, vae_mlp
from experiments.harness.cli import EXPERIMENTS
from latentjax import metrics

RESULT = EXPERIMENTS / "results" / "bench" / "disentanglement_speed.json"
SIZES = (3, 6, 10, 8, 15)
INFORMATION = ("mig", "dmig", "dcimig", "modularity", "infomec")
DRAWN = ("beta_vae_score", "factor_vae_score")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
  """Flags of this benchmark."""

  num_examples: int = 10_000
  """N."""
  num_latents: int = 10
  """Z."""
  rounds: int = 7
  """Calls of every score; the other side makes fewer of what takes long."""
  record: bool = False
  """Write the result to experiments/results/bench/disentanglement_speed.json."""


def make_codes(num_examples: int, num_latents: int) -> tuple[np.ndarray, np.ndarray]:
  """Latents that know of a factor or two, and noise; integer factors."""
  rng = np.random.default_rng(0)
  factors = np.stack([rng.integers(size, size=num_examples) for size in SIZES], axis=1)
  weights = rng.standard_normal((len(SIZES), num_latents))
  weights *= rng.uniform(size=weights.shape) < 0.35
  noise = 0.2 * rng.standard_normal((num_examples, num_latents))
  return np.float32(3 * factors / SIZES @ weights + noise), factors


def scores(z: np.ndarray, v: np.ndarray) -> dict[str, Callable[[], Any]]:
  """Every score as the other side has it."""
  key, cut = jax.random.key(0), len(z) * 2 // 3
  test = {"test_codes": z[cut:], "test_factors": v[cut:]}
  return {
    "mig": lambda: metrics.mig(z, v),
    "dmig": lambda: metrics.dmig(z, v),
    "dcimig": lambda: metrics.dcimig(z, v),
    "modularity": lambda: metrics.modularity(z, v),
    "infomec": lambda: metrics.infomec(z, v)[:3],
    "explicitness": lambda: metrics.explicitness(z, v),
    "sap": lambda: metrics.sap(z[:cut], v[:cut], **test),
    "sap_continuous": lambda: metrics.sap(z, v, continuous=True),
    "irs": lambda: metrics.irs(z, v),
    "total_correlation": lambda: total_correlation(z),
    "wasserstein_correlation": lambda: wasserstein_correlation(z),
    "beta_vae_score": lambda: metrics.beta_vae_score(key, z, v),
    "factor_vae_score": lambda: metrics.factor_vae_score(key, z, v),
  }


total_correlation = jax.jit(metrics.gaussian_total_correlation)
wasserstein_correlation = jax.jit(metrics.gaussian_wasserstein_correlation)


def measured(call: Callable[[], Any], num_calls: int) -> tuple[Any, dict[str, float]]:
  """Value; the first call's seconds, and the least seconds and CPU seconds of the calls after it."""
  wall, cpu = [], []
  for _ in range(num_calls + 1):
    start, start_cpu = time.perf_counter(), time.process_time()
    value = jax.device_get(call())
    wall.append(time.perf_counter() - start)
    cpu.append(time.process_time() - start_cpu)
  return value, {"first": wall[0], "seconds": min(wall[1:]), "cpu_seconds": min(cpu[1:])}


def time_report(z: np.ndarray, v: np.ndarray) -> dict[str, Any]:
  """The whole report, and what of it is compilation."""
  report = lambda: metrics.disentanglement_report(jax.random.key(0), z, v)
  values, taken = measured(report, 3)
  compiling = taken.pop("first") - taken["seconds"]
  scalars = {name: float(value) for name, value in values.items()}
  return {**taken, "seconds_of_compilation": compiling, "values": scalars}


def time_ours(z: np.ndarray, v: np.ndarray, num_calls: int) -> dict[str, dict[str, float]]:
  """Value and seconds of every score."""
  found = {}
  for name, score in scores(z, v).items():
    value, taken = measured(score, num_calls)
    del taken["first"]
    found[name] = {"value": float(np.mean(value)), **taken}
  return found


def time_theirs(z: np.ndarray, v: np.ndarray, num_calls: int) -> dict[str, dict[str, float]]:
  """The same of the other side's process."""
  with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "data.npz"
    np.savez(path, codes=z, factors=v)
    module = "experiments.bench.disentanglement_speed_sklearn"
    command = [sys.executable, "-m", module, str(path), str(num_calls)]
    env = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
      command, capture_output=True, text=True, cwd=EXPERIMENTS.parent, env=env, check=False
    )
  if done.returncode:
    raise ValueError(f"the other side failed:\n{done.stderr[-2000:]}")
  return json.loads(done.stdout.splitlines()[-1])


def run(config: Config) -> int:
  """Measure; 0 if every expectation holds."""
  jax.config.update("jax_enable_compilation_cache", False)
  machine = rounds.machine()
  z, v = make_codes(config.num_examples, config.num_latents)
  theirs = time_theirs(z, v, config.rounds)
  report = time_report(z, v)
  ours = time_ours(z, v, config.rounds)
  total = lambda side, names: sum(side[name]["cpu_seconds"] for name in names)
  for name in ours:
    a, b = ours[name], theirs[name]
    mine, other = a["cpu_seconds"], b["cpu_seconds"]
    times = f"{mine:8.4f} s {other:8.3f} s {other / mine:7.1f} x"
    print(f"{name:24}{a['value']:9.4f}{b['value']:9.4f}{times}")
  ratio = total(theirs, INFORMATION) / total(ours, INFORMATION)
  all_ours, all_theirs = (total(side, ours) for side in (ours, theirs))
  print(f"information: {ratio:.1f} x; all: {all_ours:.2f} s against {all_theirs:.2f} s")
  compiling = report["seconds_of_compilation"]
  of_cpu = f"{report['cpu_seconds']:.2f} s of CPU"
  print(f"a report: {report['seconds']:.2f} s ({of_cpu}), and {compiling:.1f} s to compile it")
  close = lambda name: (
    abs(ours[name]["value"] - theirs[name]["value"]) <= (0.02 if name in DRAWN else 1e-3)
  )
  holds = {
    "scores of information at least 10 x as fast": ratio >= 10,
    "a report in less than 10 CPU seconds": report["cpu_seconds"] < 10,
    "all scores faster than the other side's": all_ours < all_theirs,
    "the same values": all(map(close, ours)),
  }
  print("\n".join(f"{what}: {'HOLDS' if held else 'FAILS'}" for what, held in holds.items()))
  if config.record:
    result = {
      "benchmark": "disentanglement_speed",
      "jax": jax.__version__,
      "machine": machine,
      **dataclasses.asdict(config),
      "ratio_of_information": ratio,
      "report": report,
      "ours": ours,
      "theirs": theirs,
      "holds": holds,
    }
    vae_mlp.save(RESULT, result)
  return 0 if all(holds.values()) else 1
