"""Random access to the records of a split: what every kind of data set offers to the layers above."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol
from urllib.parse import quote

import numpy as np

# Shape and dtype of one example.
Feature = tuple[tuple[int, ...], np.dtype]


class Source(Protocol):
  """Records that can be read in any order; pickles by reference, so workers open their own."""

  num_examples: int
  features: dict[str, Feature]

  def read(self, indices: np.ndarray) -> dict[str, np.ndarray]:
    """Rows in the order asked, stacked: feature -> (len(indices), *shape)."""


class Collection(NamedTuple):
  """A data set with all its splits, before one of them is chosen."""

  name: str
  version: str
  location: str
  splits: Mapping[str, Source]
  class_names: tuple[str, ...] | None
  # Whatever changes the decoded arrays beyond name and version: part of the cache's key.
  identity: str = ""


class ArraySource:
  """Arrays in memory or memory-mapped from a directory of .npy files."""

  def __init__(self, arrays: Mapping[str, np.ndarray], directory: Path | None = None):
    self.arrays = dict(arrays)
    self.num_examples = len(next(iter(self.arrays.values())))
    self.features: dict[str, Feature] = {k: (v.shape[1:], v.dtype) for k, v in self.arrays.items()}
    self._directory = directory

  def read(self, indices: np.ndarray) -> dict[str, np.ndarray]:
    return {name: array[indices] for name, array in self.arrays.items()}

  def __reduce__(self) -> tuple[Any, ...]:
    if self._directory is None:
      return ArraySource, (self.arrays,)
    return open_arrays, (self._directory, tuple(self.arrays))


class Concatenation:
  """Slices of several sources with equal features, one after the other."""

  def __init__(self, parts: Sequence[tuple[Source, int, int]]):
    self._parts = list(parts)
    self._ends = np.cumsum([stop - start for _, start, stop in self._parts])
    self.num_examples = int(self._ends[-1])
    self.features = self._parts[0][0].features

  def read(self, indices: np.ndarray) -> dict[str, np.ndarray]:
    indices = np.asarray(indices, np.int64)
    rows = {
      name: np.empty((len(indices), *shape), dtype)
      for name, (shape, dtype) in self.features.items()
    }
    owners = np.searchsorted(self._ends, indices, side="right")
    for owner in np.unique(owners):
      source, start, stop = self._parts[owner]
      here = owners == owner
      found = source.read(indices[here] - (self._ends[owner] - (stop - start)) + start)
      for name, values in found.items():
        rows[name][here] = values
    return rows


def array_path(directory: Path, feature: str) -> Path:
  """File of a feature; quoting keeps any feature name one unique, legal file name."""
  return directory / f"{quote(feature, safe='')}.npy"


def open_arrays(directory: Path, features: tuple[str, ...]) -> ArraySource:
  """Memory-maps the arrays that a cache entry holds."""
  arrays = {name: np.load(array_path(directory, name), mmap_mode="r") for name in features}
  return ArraySource(arrays, directory)
