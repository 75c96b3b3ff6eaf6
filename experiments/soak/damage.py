"""Bytes that change on a disk: of checkpoints, of records, of the decode cache."""

from __future__ import annotations

import collections
import logging
import os
import shutil
import time
import warnings

import numpy as np

from experiments.soak.lives import Outcome
from experiments.soak.run import CHECKPOINT_EVERY, NUM_IMAGES, log, train
from experiments.soak.whole import STEPS, Bench
from latentjax import data

NUM_FLIPS, NUM_RECORDS, NUM_CACHED = 150, 60, 100


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


def damaged_cache(bench: Bench) -> Outcome:
  """The decoded images that every run reads, or their checksums, are not what was written."""
  os.environ["LATENTJAX_CACHE"] = str(bench.root / "damaged_cache")
  load = lambda: data.load(bench.images).read(np.arange(NUM_IMAGES))
  wanted = load()
  (entry,) = (p for p in (bench.root / "damaged_cache").iterdir() if p.is_dir())
  noticed, bad = 0, []

  def spoil() -> str:
    path = bench.chance.choice(sorted(entry.iterdir()))
    content = bytearray(path.read_bytes())
    at, cut = bench.chance.randrange(len(content)), bench.chance.random() < 0.25
    content[at] ^= 1 << bench.chance.randrange(8)
    path.write_bytes(content[:at] if cut else content)
    return f"{path.name}, {'cut at' if cut else 'bit of'} byte {at}"

  for _ in range(NUM_CACHED):
    what, begin = spoil(), time.monotonic()
    with warnings.catch_warnings(record=True) as said:
      warnings.simplefilter("always")
      found = load()
    bench.slowest = max(bench.slowest, time.monotonic() - begin)
    told = any("is damaged and is decoded again" in str(each.message) for each in said)
    same = all(np.array_equal(found[name], wanted[name]) for name in wanted)
    noticed += told
    bad += [] if told and same else [f"{what}: {'same' if same else 'other'} images"]
  warnings.simplefilter("ignore")
  runs = 0
  for steps in (0, 60, 140):
    spoil()
    runs += bench.ends_alike(bench.copy("on_a_damaged_cache", steps))
  return Outcome(
    "damaged decode cache",
    "a random bit flipped, or the end cut off, in a random file of decoded images",
    NUM_CACHED + 3,
    f"{noticed} of {NUM_CACHED} noticed and decoded again, the same images; {runs} of 3 runs that met it "
    "bit-identical",
    round(bench.slowest, 1),
    not bad and noticed == NUM_CACHED and runs == 3,
    {"failures": bad[:10]},
  )
