"""Faults of disks, files and clocks in one process.

Command: python -m experiments.soak.inside CASE ROOT IMAGES SEED

Each case runs to the fault, looks at the error, takes the fault away and runs on: the same bits have to come
out. It prints one outcome as JSON. The cases with mounts need a name space of their own (`unshare -rm`).
"""

from __future__ import annotations

import collections
import ctypes
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import jax

from experiments.soak.damage import damaged_cache, damaged_checkpoints, damaged_records
from experiments.soak.lives import Outcome
from experiments.soak.whole import STEPS, Bench
from latentjax.training import CheckpointError, WorkdirError

ROOM = ("4k", "12k", "40k", "100k", "200k", "400k", "600k")


@contextmanager
def mounted(place: Path, *options: str) -> Iterator[Callable[[str], None]]:
  """A mount that is gone afterwards; the function mounts it again with other options."""
  place.mkdir(exist_ok=True)
  subprocess.run(["mount", *options, str(place)], check=True)
  try:
    yield lambda o: subprocess.run(["mount", "-o", f"remount,{o}", str(place)], check=True)
  finally:
    subprocess.run(["umount", str(place)], check=True)


def disk_full(bench: Bench) -> Outcome:
  """A tmpfs of a few kilobytes, then the same one with room."""
  good, errors, failures = 0, collections.Counter(), []
  for room in ROOM:
    place = bench.root / "mount"
    with mounted(place, "-t", "tmpfs", "-o", f"size={room}", "tmpfs") as remount:
      error = bench.fails(place / "run")
      clear = isinstance(error, WorkdirError | CheckpointError) and "No space left" in str(error)
      errors[type(error).__name__] += 1
      if not clear:
        failures.append(f"{room}: {error}"[:500])
        continue
      remount("size=64m")
      good += bench.ends_alike(place / "run")
  said = ", ".join(f"{count} x {name}" for name, count in sorted(errors.items()))
  return Outcome(
    "disk full",
    f"tmpfs of {', '.join(ROOM)}, then with room",
    len(ROOM),
    f"{said}, naming the file and 'No space left on device'; {good} of {len(ROOM)} then ended "
    "bit-identical",
    round(bench.slowest, 1),
    good == len(ROOM),
    {"failures": failures},
  )


def read_only(bench: Bench) -> Outcome:
  """A folder mounted read-only: before, in the middle of, and after a run."""
  good = 0
  for steps in (0, 140, STEPS):
    folder = bench.copy("locked", steps)
    if steps == 0:
      shutil.rmtree(folder)
      folder.mkdir()
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    with mounted(folder, "--bind", str(folder)) as remount:
      remount("bind,ro")
      error = bench.fails(folder)
    clear = isinstance(error, WorkdirError) and "Read-only file system" in str(error)
    untouched = before == {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    good += clear and untouched and bench.ends_alike(folder)
  return Outcome(
    "read-only folder",
    "mounted read-only, then writable: new, in the middle, finished",
    3,
    f"{good} of 3: {error}, nothing changed; then bit-identical",
    round(bench.slowest, 1),
    good == 3,
  )


def clock(bench: Bench) -> Outcome:
  """A preloaded library makes the system's clock jump; the files come from the future."""
  ctypes.CDLL(None).soak_jump(1)
  seen, good = [], 0
  for _ in range(30):
    seen.append(time.time())
    time.sleep(0.04)
  for steps in (0, 60, 140):
    folder = bench.copy("jumping", steps)
    for path in folder.rglob("*"):
      os.utime(path, (2**31 - 2, 2**31 - 2))
    with suppress(CheckpointError):  # a checkpoint that was given up
      good += bench.ends_alike(folder)
  ctypes.CDLL(None).soak_jump(0)
  return Outcome(
    "clock that jumps",
    "CLOCK_REALTIME ten years ahead and ten behind in turn, twice a second; files of 2038",
    3,
    f"{good} of 3 bit-identical, without a stop",
    round(bench.slowest, 1),
    good == 3 and max(seen) - min(seen) > 15 * YEAR_S,
  )


# Between the program and the system's clock, for Python and for C++ alike.
CLOCK_SOURCE = """
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
static volatile int jumping = 0;
void soak_jump(int on) { jumping = on; }
int clock_gettime(clockid_t id, struct timespec *t) {
  int status = syscall(SYS_clock_gettime, id, t);
  if (jumping && id == CLOCK_REALTIME) {
    struct timespec m;
    syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &m);
    t->tv_sec += m.tv_nsec < 500000000 ? 315360000 : -315360000;
  }
  return status;
}
int gettimeofday(struct timeval *v, void *zone) {
  struct timespec t;
  int status = clock_gettime(CLOCK_REALTIME, &t);
  v->tv_sec = t.tv_sec; v->tv_usec = t.tv_nsec / 1000;
  return status;
}
time_t time(time_t *out) {
  struct timespec t;
  clock_gettime(CLOCK_REALTIME, &t);
  if (out) *out = t.tv_sec;
  return t.tv_sec;
}
"""
YEAR_S = 365 * 86400

CASES: dict[str, Callable[[Bench], Outcome]] = {
  "disk_full": disk_full,
  "read_only": read_only,
  "damaged_checkpoints": damaged_checkpoints,
  "damaged_records": damaged_records,
  "damaged_cache": damaged_cache,
  "clock": clock,
}


def main(argv: list[str]) -> int:
  """Run a case and print its outcome."""
  case, root, images, seed = argv
  jax.config.update("jax_compilation_cache_dir", os.environ["SOAK_XLA_CACHE"])
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
  outcome: Any = CASES[case](Bench(Path(root), Path(images), int(seed)))
  print(json.dumps(outcome._asdict()))
  return 0


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
