"""SIGKILL at random moments over a run, inside a checkpoint's write and inside the decode cache's write."""

from __future__ import annotations

import contextlib
import random
import shutil
import signal
import time
from pathlib import Path
from typing import Any

from experiments.soak.lives import (
  Outcome,
  Place,
  SoakError,
  end,
  newest,
  reached,
  start,
  wait_until,
)
from experiments.soak.run import CHECKPOINT_EVERY, STEPS, log

KINDS = ("anywhere", "checkpoint", "cache")


def unbroken(place: Place) -> dict[str, Any]:
  """A run that nothing happened to, for the others. The first compiles, the second is timed."""
  folder = place.root / "unbroken"
  for _ in range(2):
    shutil.rmtree(folder, ignore_errors=True)
    begin = time.monotonic()
    printed = end(start(place, folder))[0][-1]
  return {**printed, "seconds": time.monotonic() - begin}


def half(folder: Path, pattern: str) -> set[tuple[str, int, int]]:
  """What is being written, or was when its writer died; what an earlier life left differs."""
  found = set()
  for path in folder.glob(pattern):
    with contextlib.suppress(OSError):
      status = path.stat()
      found.add((path.name, status.st_ino, status.st_ctime_ns))
  return found


def kill_once(
  place: Place, folder: Path, cache: Path, kind: str, chance: random.Random, seconds: float
) -> dict[str, Any]:
  """One life of a run, ended by SIGKILL unless it ends by itself before."""
  half_checkpoints = lambda: half(folder / "checkpoints", "*orbax-checkpoint-tmp*")
  half_entries = lambda: half(cache, "*.partial-*")
  begin, first = time.monotonic(), newest(folder)
  before = half_checkpoints() | half_entries()
  process = start(place, folder, cache=cache)
  if kind == "cache":
    moment = lambda: bool(half_entries() - before)
  elif kind == "checkpoint":
    after = first + CHECKPOINT_EVERY * chance.randrange(
      4
    )  # not always the first that this life writes
    moment = lambda: newest(folder) >= after and bool(half_checkpoints() - before)
  else:
    life = chance.uniform(0, seconds)
    moment = lambda: time.monotonic() - begin > life
  if wait_until(moment, process, pause=0.0005):
    if kind != "anywhere":
      time.sleep(chance.uniform(0, 0.02))
    process.send_signal(signal.SIGKILL)
  printed, _ = end(process, status=None)
  if process.returncode != -signal.SIGKILL:  # it ended before, if only just
    if process.returncode:
      raise SoakError(f"status {process.returncode} of a run that was to be killed")
    return {"kind": kind, "ended": True, **printed[-1]}
  return {
    "kind": kind,
    "ended": False,
    "seconds": round(time.monotonic() - begin, 3),
    "from": first,
    "step": reached(folder),
    "checkpoint": newest(folder),
    "inside_checkpoint": bool(half_checkpoints() - before),
    "inside_cache": bool(half_entries() - before),
  }


def campaign(place: Place, number: int, kills: int, reference: dict[str, Any]) -> dict[str, Any]:
  """One run killed up to so many times, then left to end: the kills, and whether it ended alike."""
  chance = random.Random(1000 * place.seed + number)
  folder, cache = place.root / f"killed_{number}", place.root / f"cache_{number}"
  for left_over in (folder, cache):
    shutil.rmtree(left_over, ignore_errors=True)
  done: list[dict[str, Any]] = []
  last: dict[str, Any] | None = None
  kinds = ["cache", *chance.choices(["anywhere", "checkpoint"], k=kills - 1)]
  for kind in kinds:
    life = kill_once(place, folder, cache, kind, chance, reference["seconds"])
    if life["ended"]:
      last = life
      break
    done.append(life)
  whole = newest(folder)
  begin = time.monotonic()
  if last is None:
    try:
      last = end(start(place, folder, cache=cache))[0][-1]
    except SoakError as error:
      return {"kills": done, "same": False, "error": str(error)[-500:]}
    resumed = last["steps_run"] == STEPS - whole
  else:
    resumed = last["steps_run"] == STEPS - (done[-1]["checkpoint"] if done else 0)
  same_state = last["fingerprints"] == reference["fingerprints"]
  same_log = log(folder) == log(place.root / "unbroken")
  left_overs = [*folder.glob(".*.tmp"), *folder.glob("*/*tmp*"), *cache.glob("*.partial-*")]
  result = {
    "kills": done,
    "same": same_state and same_log and resumed and not left_overs,
    "same_state": same_state,
    "same_log": same_log,
    "resumed_from_newest_checkpoint": resumed,
    "left_overs": [path.name for path in left_overs],
    "last_life_seconds": round(time.monotonic() - begin, 1),
  }
  if result["same"]:
    shutil.rmtree(folder)
    shutil.rmtree(cache)
  return result


def summary(campaigns: list[dict[str, Any]]) -> list[Outcome]:
  """Three rows: all kills, and those that hit a write."""
  kills = [kill for each in campaigns for kill in each["kills"]]
  good = sum(each["same"] for each in campaigns)
  text = f"{good} of {len(campaigns)} runs ended with the unbroken one's state and log, bit for bit"
  slowest = max((each.get("last_life_seconds", 0.0) for each in campaigns), default=0.0)
  rows = []
  for fault, chosen in {
    "SIGKILL at a random moment": kills,
    "of these, inside a checkpoint's write": [k for k in kills if k["inside_checkpoint"]],
    "of these, inside the decode cache's write": [k for k in kills if k["inside_cache"]],
  }.items():
    how = "signal to the process; the half-written files were seen afterwards"
    how = (
      "to a process of its own, at any time from its start to its end" if chosen is kills else how
    )
    rows.append(Outcome(fault, how, len(chosen), text, slowest, good == len(campaigns)))
  return rows
