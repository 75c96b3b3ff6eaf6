"""Faults at random, many times, and what came of them.

Runs are killed at random moments, inside the write of a checkpoint and inside that of the decode cache; two
processes lose each other; disks fill up, bits flip, clocks jump; checkpoints go on on other devices.
Expected: every run ends with the bits of one that nothing happened to, or with an error that says
what is wrong.
Command: python -m experiments.soak
Time: 44 minutes on cores shared with others; stopped and started again it goes on where it was.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from experiments.bench.rounds import machine
from experiments.harness.cli import EXPERIMENTS, git_hash
from experiments.soak import inside, kills, several, table
from experiments.soak.lives import Outcome, Place, SoakError, last_line
from experiments.soak.run import make_images
from latentjax.data.cache import exclusive
from latentjax.training.loop import versions
from latentjax.training.workdir import write_atomically

RESULT = EXPERIMENTS / "results" / "soak" / "faults.json"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
  """Flags of the soak."""

  kills: int = 100
  """How often a run is killed, at least."""
  kills_per_run: int = 10
  """How often one run is killed before it is left to end."""
  seed: int = 0
  """Decides all that is random."""
  workdir: Path = Path("runs/soak")
  """Where it works; started again it goes on from what is there."""
  only: tuple[str, ...] = ()
  """Cases to run; all by default. Recorded, they replace their own rows, the others stay."""
  limit_s: float | None = None
  """Begin nothing new after so many seconds; exit status 3 if something is left to do."""
  record: bool = False
  """Write the result and the table to experiments/results/soak."""


def killed(place: Place, config: Config, hurry: Callable[[], bool]) -> list[Outcome] | None:
  """Run after run until there were kills enough; None if time is up."""
  reference = json.loads((place.root / "unbroken.json").read_text())
  campaigns: list[dict[str, Any]] = []
  while sum(len(each["kills"]) for each in campaigns) < config.kills:
    path = place.root / f"campaign_{len(campaigns)}.json"
    if not path.exists():
      if hurry():
        return None
      result = kills.campaign(place, len(campaigns), config.kills_per_run, reference)
      write_atomically(path, json.dumps(result, indent=2))
    campaigns.append(json.loads(path.read_text()))
    print(
      f"run {len(campaigns)}: {len(campaigns[-1]['kills'])} kills, same: {campaigns[-1]['same']}"
    )
  return kills.summary(campaigns)


def inside_case(name: str) -> Callable[[Place], Outcome]:
  """A case of inside.py in a process of its own, with mounts or a clock of its own where it needs them."""

  def run(place: Place) -> Outcome:
    command = [sys.executable, "-m", "experiments.soak.inside", name]
    command += [str(place.root / name), str(place.images), str(place.seed)]
    environment = os.environ | {
      "LATENTJAX_CACHE": str(place.root / "cache"),
      "SOAK_XLA_CACHE": str(place.root / "xla"),
    }
    if name in ("disk_full", "read_only"):
      command = ["unshare", "--user", "--map-root-user", "--mount", *command]
    if name == "clock":
      source, library = place.root / "clock.c", place.root / "clock.so"
      source.write_text(inside.CLOCK_SOURCE)
      subprocess.run(["cc", "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
      environment["LD_PRELOAD"] = str(library)
    done = subprocess.run(
      command,
      env=environment,
      cwd=EXPERIMENTS.parent,
      capture_output=True,
      text=True,
      timeout=600,
    )
    if done.returncode:
      raise SoakError(f"status {done.returncode}: {done.stderr[-2000:]}")
    return Outcome(**json.loads(done.stdout.splitlines()[-1]))

  return run


CASES: dict[str, Callable[[Place], Outcome | list[Outcome]]] = {
  "two_runs_on_one_folder": several.two_runs_on_one_folder,
  "one_of_two_processes_is_lost": several.one_of_two_processes_is_lost,
  "terminated_together": several.terminated_together,
  "damaged_for_a_pair": several.damaged_for_a_pair,
  "elastic": several.elastic,
  **{name: inside_case(name) for name in inside.CASES},
}


def outcomes_of(
  name: str, place: Place, config: Config, hurry: Callable[[], bool]
) -> list[dict] | None:
  """Rows of one case, from what is there or from running it; None if time is up."""
  path = place.root / f"case_{name}.json"
  if path.exists():
    return json.loads(path.read_text())
  if name != "killed" and hurry():
    return None
  print(f"{name} ...", flush=True)
  try:
    found = killed(place, config, hurry) if name == "killed" else CASES[name](place)
  except (SoakError, subprocess.SubprocessError, OSError) as error:
    found = Outcome(name, "", 0, f"FAILED: {last_line(str(error))}", 0.0, False)
    print(error)
    return [found._asdict()]  # not kept: it is tried again next time
  if found is None:
    return None
  rows = [row._asdict() for row in ([found] if isinstance(found, Outcome) else found)]
  text = json.dumps(rows, indent=2).replace(str(place.root), "WORKDIR")
  write_atomically(path, text)
  return json.loads(text)


def run(config: Config) -> int:
  """All cases; 0 if every fault came out as promised."""
  begin = time.perf_counter()
  os.environ["JAX_PLATFORMS"] = "cpu"  # here, before the process that runs are forked from
  hurry = lambda: config.limit_s is not None and time.perf_counter() - begin > config.limit_s
  place = Place(config.workdir.absolute(), config.workdir.absolute() / "images", config.seed)
  place.root.mkdir(parents=True, exist_ok=True)
  if not place.images.exists():
    make_images(place.root / "images_half")
    (place.root / "images_half").rename(place.images)
  if not (place.root / "unbroken.json").exists():
    write_atomically(place.root / "unbroken.json", json.dumps(kills.unbroken(place)))
  spent_file = place.root / "seconds"
  before = float(spent_file.read_text()) if spent_file.exists() else 0.0
  rows: list[dict[str, Any]] = []
  unfinished = False
  for name in ("killed", *CASES):
    if config.only and name not in config.only:
      continue
    found = outcomes_of(name, place, config, hurry)
    unfinished |= found is None
    for row in found or []:
      print(
        f"{'holds' if row['holds'] else 'FAILS'}  {row['fault']} ({row['times']}): {row['outcome']}"
      )
    rows += found or []
    spent = before + time.perf_counter() - begin
    write_atomically(spent_file, f"{spent}")
  if unfinished:
    print("not finished: run it again to go on")
    return 3
  if config.record:
    result = table.merged(
      json.loads(RESULT.read_text()) if config.only and RESULT.exists() else None,
      {
        "outcomes": rows,
        "seed": config.seed,
        "seconds": round(spent, 1),
        "machine": machine(),
        "versions": versions(),
        "git": git_hash(),
        "date": time.strftime("%Y-%m-%d"),
      },
    )
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(RESULT, json.dumps(result, indent=2) + "\n")
    write_atomically(RESULT.with_name("README.md"), table.markdown(result))
  good = all(row["holds"] for row in rows)
  if good and config.record:
    shutil.rmtree(place.root / "elastic", ignore_errors=True)
  return 0 if good else 1


def main() -> int:
  """Run the command; returns the exit status."""
  import tyro

  config = tyro.cli(Config, prog="python -m experiments.soak", description=__doc__)
  config.workdir.mkdir(parents=True, exist_ok=True)
  with exclusive(config.workdir / "lock"):  # a second one goes on where the first ends
    return run(config)


if __name__ == "__main__":
  sys.exit(main())
