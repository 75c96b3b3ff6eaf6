"""Images per second that the sets of known factors render, and a sheet of what they look like.

From factors on the device to uint8 on the device, in batches. CPU seconds are those of all threads of this
process, wall seconds are also what others do to it: the rate per core is of CPU seconds. Both are medians
over the calls.
Expected: at least 150,000 grey sprites of 64 x 64 pixels per CPU second, and so 300,000 of two idle cores.
Command: python -m experiments.bench factor_speed
Time: half a minute on one quiet core.
"""

from __future__ import annotations

import dataclasses
import json
import os
import time
from typing import Any

import jax
import numpy as np

from experiments.bench.rounds import machine
from experiments.harness.cli import EXPERIMENTS, git_hash
from latentjax.data.factors import (
  FactorSet,
  dsprites_grid,
  melodies,
  moving_sprites,
  read_caption,
  rooms,
  sample_factors,
  scenes,
  sprites,
)

RESULT = EXPERIMENTS / "results" / "bench" / "factor_speed.json"
WANTED = 150_000
COLUMNS = 10


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
  """Flags of this benchmark."""

  batch_size: int = 1024
  """Examples of one call; videos and rooms an eighth of it."""
  rounds: int = 20
  """Calls that are timed, one by one."""
  record: bool = False
  """Write the result and the sheet, factor_speed.png, to experiments/results/bench."""


SETS = {
  "sprites_grey": lambda: sprites(num_colours=1),
  "sprites": sprites,
  "dsprites_grid": dsprites_grid,
  "scenes": scenes,
  "moving_sprites": moving_sprites,
  "rooms": rooms,
  "melodies": melodies,
}


def rates(made: FactorSet, batch_size: int, rounds: int) -> dict[str, float]:
  """Examples per CPU second and per wall second: medians over the calls."""
  factors = sample_factors(jax.random.key(0), made, batch_size)
  render = jax.jit(jax.vmap(made.render))
  jax.block_until_ready(render(factors))
  taken = []
  for _ in range(rounds):
    before = time.process_time(), time.perf_counter()
    jax.block_until_ready(render(factors))
    taken.append((time.process_time() - before[0], time.perf_counter() - before[1]))
  cpu, wall = np.median(taken, axis=0)
  return {"per_cpu_second": float(batch_size / cpu), "per_wall_second": float(batch_size / wall)}


def rows_of(made: FactorSet) -> list[np.ndarray]:
  """Rows of ten images (n, 64, 64, 3): two of random examples, or two videos, and masks."""
  factors = sample_factors(jax.random.key(1), made, 2 * COLUMNS)
  features = {made.feature: made.render, **made.extras}
  rendered = {
    name: np.asarray(jax.jit(jax.vmap(render))(factors))
    for name, render in features.items()
    if name in ("image", "video", "mask")
  }
  if "video" in rendered:
    frames = np.linspace(0, rendered["video"].shape[1] - 1, COLUMNS).astype(int)
    return list(rendered["video"][:2, frames])
  rows = [rendered["image"][:COLUMNS], rendered["image"][COLUMNS:]]
  if "mask" in rendered:
    rows[1] = 60 * rendered["mask"][:COLUMNS]
  return [np.broadcast_to(row, (*row.shape[:-1], 3)) for row in rows]


def sheet() -> None:
  """Save one picture of all sets that are pictures."""
  from PIL import Image

  shown = [name for name in SETS if name not in ("melodies", "sprites_grey")]
  rows = [row for name in shown for row in rows_of(SETS[name]())]
  framed = np.pad(np.stack(rows), ((0, 0), (0, 0), (1, 1), (1, 1), (0, 0)), constant_values=128)
  high = framed.transpose(0, 2, 1, 3, 4).reshape(66 * len(rows), 66 * COLUMNS, 3)
  Image.fromarray(high).save(RESULT.with_suffix(".png"), optimize=True)


def run(config: Config) -> int:
  """Measure; 0 if sprites are as fast as expected."""
  about = {
    "git": git_hash(),
    "machine": machine(),
    "jax": jax.__version__,
    "cores_used": len(os.sched_getaffinity(0)),
  }
  timed: dict[str, Any] = {}
  for name, make in SETS.items():
    small = name in ("moving_sprites", "rooms")
    timed[name] = rates(make(), config.batch_size // (8 if small else 1), config.rounds)
    print(f"{name:16}" + "".join(f"{rate:12,.0f} {unit}" for unit, rate in timed[name].items()))
  caption = scenes().extras["caption"](sample_factors(jax.random.key(1), scenes(), 1)[0])
  print(f"the first scene: {read_caption(caption)}")
  holds = bool(timed["sprites_grey"]["per_cpu_second"] >= WANTED)
  print(f"at least {WANTED:,} sprites per CPU second: {'HOLDS' if holds else 'FAILS'}")
  if config.record:
    sheet()
    RESULT.write_text(json.dumps({**about, "rates": timed, "holds": holds}, indent=2) + "\n")
  return 0 if holds else 1
