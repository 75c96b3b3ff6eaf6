"""Faults of disks, files and clocks in one process.

Command: python -m experiments.soak.inside CASE ROOT IMAGES SEED

Each case runs to the fault, looks at the error, takes the fault away and runs on: the same bits have to come
out. It prints one outcome as JSON. The cases with mounts need a name space of their own (`unshare -rm`).
"""

from __future__ import annotations

import collections
import ctypes
import json
import logging
import os
import random
import shutil
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments.soak.lives import Outcome, newest
from experiments.soak.run import CHECKPOINT_EVERY, ERRORS, log, train
from latentjax import data
from latentjax.training import CheckpointError, WorkdirError

STEPS = 200
ROOM = ("4k", "12k", "40k", "100k", "200k", "400k", "600k")
NUM_FLIPS, NUM_RECORDS = 150, 60


class Bench:
  """A whole run to hold others against, and what is common to the cases."""

  def __init__(self, root: Path, images: Path, seed: int) -> None:
    self.root, self.images, self.chance = root, images, random.Random(seed)
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    self.whole = root / "whole"
    self.expected = train(self.whole, images, steps=STEPS)
    self.slowest = 0.0

  def copy(self, name: str, steps: int = STEPS) -> Path:
    """The run as it was after so many steps."""
    folder = self.root / name
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(self.whole, folder)
    for path in (folder / "checkpoints").iterdir():
      if int(path.name) > steps:
        shutil.rmtree(path)
    return folder

  def fails(self, folder: Path) -> Exception | None:
    """The error of a run that has to stop, one of those that are promised; None if it does not stop."""
    begin = time.monotonic()
    try:
      train(folder, self.images, steps=STEPS)
    except ERRORS as error:
      return error
    finally:
      self.slowest = max(self.slowest, time.monotonic() - begin)
    return None

  def ends_alike(self, folder: Path) -> bool:
    """Whether a run goes on from its newest checkpoint and ends as the whole one did."""
    begin, steps = time.monotonic(), STEPS - newest(folder)
    printed = train(folder, self.images, steps=STEPS)
    self.slowest = max(self.slowest, time.monotonic() - begin)
    same = printed["fingerprints"] == self.expected["fingerprints"]
    return same and printed["steps_run"] == steps and log(folder) == log(self.whole)


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


def damaged_checkpoints(bench: Bench) -> Outcome:
  """One random bit of one random file of the newest checkpoint, or its end, is lost."""
  logging.disable(logging.CRITICAL)
  seen: collections.Counter[str] = collections.Counter()
  bad: list[str] = []
  for _ in range(NUM_FLIPS):
    folder = bench.copy("flipped")
    files = sorted(p for p in (folder / "checkpoints" / str(STEPS)).rglob("*") if p.is_file())
    path = bench.chance.choice(files)
    content = bytearray(path.read_bytes())
    cut = bench.chance.random() < 0.25
    at = bench.chance.randrange(max(1, len(content)))
    if cut:
      content = content[:at]
    elif content:
      content[at] ^= 1 << bench.chance.randrange(8)
    path.write_bytes(content)
    what = f"{path.relative_to(folder)}, {'cut at' if cut else 'bit of'} byte {at}"
    try:
      printed = train(folder, bench.images, steps=STEPS)
    except Exception as error:
      bad.append(f"{what}: {type(error).__name__} {error}"[:300])
      continue
    same = printed["fingerprints"] == bench.expected["fingerprints"]
    if (
      not same
      or log(folder) != log(bench.whole)
      or printed["steps_run"] not in (0, CHECKPOINT_EVERY)
    ):
      bad.append(f"{what}: not the same")
    seen["the one before" if printed["steps_run"] else "the same one, whose content was whole"] += 1
  said = ", ".join(f"{count} from {name}" for name, count in sorted(seen.items()))
  return Outcome(
    "damaged checkpoint",
    "a random bit flipped, or the end cut off, in a random file of the newest",
    NUM_FLIPS,
    f"went on {said}; {NUM_FLIPS - len(bad)} of {NUM_FLIPS} bit-identical",
    round(bench.slowest, 1),
    not bad,
    {"failures": bad[:10]},
  )


def damaged_records(bench: Bench) -> Outcome:
  """A shard of a TFDS data set with a flipped bit, a run of zeros, without its end, or gone."""
  warnings.simplefilter("ignore")
  prepared = bench.root / "tfds"
  wanted = data.load("digits", data_dir=prepared, memory_limit=0).read(np.arange(1500))
  seen: collections.Counter[str] = collections.Counter()
  bad: list[str] = []
  for i in range(NUM_RECORDS):
    copy = bench.root / "damaged_tfds"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(prepared, copy)
    (shard,) = copy.glob("digits/*/*train.array_record*")
    how = bench.chance.choice(["flip", "zeros", "cut", "flip"]) if i else "remove"
    content = bytearray(shard.read_bytes())
    at = bench.chance.randrange(len(content))
    if how == "flip":
      content[at] ^= 1 << bench.chance.randrange(8)
    elif how == "zeros":
      content[at : at + 64] = bytes(len(content[at : at + 64]))
    else:
      content = content[:at]
    shard.unlink() if how == "remove" else shard.write_bytes(content)
    begin = time.monotonic()
    try:
      found = data.load("digits", data_dir=copy, memory_limit=0).read(np.arange(1500))
      same = all(np.array_equal(found[name], wanted[name]) for name in wanted)
      seen["harmless"] += 1
      bad += [] if same else [f"{how} at {at}: other records"]
    except ValueError as error:
      seen["refused"] += 1
      bench.slowest = max(bench.slowest, time.monotonic() - begin)
      bad += [] if str(shard.parent) in str(error) else [f"{how} at {at}: {error}"[:300]]
  return Outcome(
    "corrupt or missing shard",
    "a bit, 64 zeros, the end or all of an array_record file",
    NUM_RECORDS,
    f"{seen['refused']} refused, naming the directory; {seen['harmless']} hit bytes that no record "
    "needs and read alike; never other records",
    round(bench.slowest, 1),
    not bad and seen["refused"] > 0,
    {"failures": bad[:10]},
  )


def clock(bench: Bench) -> Outcome:
  """A preloaded library makes the system's clock jump; the files come from the future.

  Orbax measures its time limits with that clock: a checkpoint whose writing it jumps ahead in is given up.
  """
  ctypes.CDLL(None).soak_jump(1)
  seen, good, given_up = [], 0, 0
  for _ in range(30):
    seen.append(time.time())
    time.sleep(0.04)
  for steps in (0, 60, 140):
    folder = bench.copy("jumping", steps)
    for path in folder.rglob("*"):
      os.utime(path, (2**31 - 2, 2**31 - 2))
    for _ in range(20):
      try:
        good += bench.ends_alike(folder)
        break
      except CheckpointError:
        given_up += 1
  ctypes.CDLL(None).soak_jump(0)
  return Outcome(
    "clock that jumps",
    "CLOCK_REALTIME ten years ahead and ten behind in turn, twice a second; files of 2038",
    3,
    f"{good} of 3 bit-identical; {given_up} checkpoints were given up in their writing, with an error, "
    "and the run started again",
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
