"""A run that nothing happened to, and how others are held against it."""

from __future__ import annotations

import random
import shutil
import time
from pathlib import Path

from experiments.soak.lives import newest
from experiments.soak.run import ERRORS, log, train

STEPS = 200


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
