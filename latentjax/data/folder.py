"""A folder of images: root/<class>/<file>, or root/<split>/<class>/<file>, or root/<file>."""

import hashlib
import json
import os
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from latentjax.data.cache import DECODER_VERSION, cache_root
from latentjax.data.images import FORMATS, Header, check_file, parse_size, read_file
from latentjax.data.sources import Collection, Feature

_THREADS = min(16, os.cpu_count() or 1)
_LAYOUT = "root/<class>/<image>, root/<split>/<class>/<image>, or root/<image> without labels"


class FolderSource:
  """Images of one split, decoded when read."""

  def __init__(
    self, files: Sequence[str], labels: np.ndarray | None, shape: tuple[int, ...], *, resize: bool
  ):
    self._files, self._labels, self._shape, self._resize = list(files), labels, shape, resize
    self.num_examples = len(self._files)
    self.features: dict[str, Feature] = {"image": (shape, np.dtype(np.uint8))}
    if labels is not None:
      self.features["label"] = ((), np.dtype(np.int32))

  def read(self, indices: np.ndarray) -> dict[str, np.ndarray]:
    images = np.empty((len(indices), *self._shape), np.uint8)
    with ThreadPoolExecutor(_THREADS) as pool:  # decoders release the interpreter lock
      for row, pixels in enumerate(pool.map(self._read_one, indices)):
        images[row] = pixels
    rows = {"image": images}
    return rows if self._labels is None else rows | {"label": self._labels[indices]}

  def _read_one(self, index: int) -> np.ndarray:
    size = (self._shape[0], self._shape[1]) if self._resize else None
    pixels = read_file(Path(self._files[index]), grey=self._shape[-1] == 1, size=size)
    if pixels.shape != self._shape:
      raise ValueError(f"{self._files[index]} changed: now {pixels.shape}, was {self._shape}")
    return pixels


def open_folder(
  root: str | os.PathLike[str], image_size: int | tuple[int, int] | None
) -> Collection:
  """The images under a directory, with classes and splits from the names of its sub-directories.

  Images become RGB, or one channel if every image is grey. Files that are no images or cannot be
  decoded are left out with one warning. Every file is decoded once to find out; the outcome is kept
  until a file's size or time changes.

  Raises:
    FileNotFoundError: if the directory does not exist or holds no image.
    ValueError: if files lie at different depths, or images differ in size and image_size is None.
  """
  root = Path(root).expanduser()
  if not root.is_dir():
    raise FileNotFoundError(f"no directory {os.fspath(root)!r}; wanted {_LAYOUT}")
  size = parse_size(image_size)
  found = _list_files(root)
  headers = _check_all(root, found)
  paths = sorted(headers)
  _warn_skipped(root, [path for path in found if path not in headers])
  if not paths:
    raise FileNotFoundError(f"no readable image under {os.fspath(root)!r}; wanted {_LAYOUT}")
  shape = _common_shape(root, headers, size)
  groups, classes = _group(root, paths)
  number = {each: index for index, each in enumerate(classes)}
  splits = {}
  for split, files in groups.items():
    labels = np.array([number[Path(f).parent.name] for f in files], np.int32) if classes else None
    absolute = [os.fspath(root / f) for f in files]
    splits[split] = FolderSource(absolute, labels, shape, resize=size is not None)
  version = _digest([[path, found[path][0]] for path in paths])
  identity = _digest([os.path.abspath(root), sorted(found.items()), size])
  return Collection(
    root.resolve().name, version, os.fspath(root), splits, classes or None, identity
  )


def _list_files(root: Path) -> dict[str, tuple[int, int]]:
  """Relative path -> (size, mtime) of every file down to the third level, hidden ones aside.

  (-1, 0) for what there is no file behind: a link that leads nowhere or to itself, a pipe, which would block
  who reads it.
  """
  files: dict[str, tuple[int, int]] = {}

  def is_directory(entry: os.DirEntry[str]) -> bool:
    try:
      return entry.is_dir()
    except OSError:  # a link to itself
      return False

  def walk(directory: Path, depth: int) -> None:
    for entry in os.scandir(directory):
      if entry.name.startswith("."):
        continue
      if is_directory(entry):
        if depth == 3:
          raise ValueError(f"{entry.path} lies too deep for a folder of images; wanted {_LAYOUT}")
        walk(Path(entry.path), depth + 1)
      elif os.path.isfile(entry):
        stat = entry.stat()
        files[os.path.relpath(entry.path, root)] = (stat.st_size, stat.st_mtime_ns)
      else:
        files[os.path.relpath(entry.path, root)] = (-1, 0)

  walk(root, 1)
  return dict(sorted(files.items()))


def _check_all(root: Path, files: dict[str, tuple[int, int]]) -> dict[str, Header]:
  """Header of every readable image, remembered in the cache by the list of files."""
  from tqdm import tqdm

  key = _digest([DECODER_VERSION, os.path.abspath(root), list(files.items())])
  index = cache_root() / f"index-{key}.json"
  try:
    digest, remembered = json.loads(index.read_text())
    if digest == _digest(remembered):
      return {path: Header(*header) for path, header in remembered.items()}
  except (OSError, ValueError, TypeError, RecursionError):
    pass  # absent, or not what was written

  def check(path: str) -> Header | None:
    try:
      return check_file(root / path)
    except ValueError:
      return None

  images = [
    path for path, (size, _) in files.items() if size >= 0 and Path(path).suffix.lower() in FORMATS
  ]
  with ThreadPoolExecutor(_THREADS) as pool:
    checked = tqdm(pool.map(check, images), "checking images", len(images), delay=2.0, leave=False)
    headers = {path: header for path, header in zip(images, checked) if header is not None}
  _write_text(index, json.dumps([_digest(headers), headers]))
  return headers


def _write_text(path: Path, text: str) -> None:
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial-{os.getpid()}")
    partial.write_text(text)
    partial.replace(path)
  except OSError as error:
    warnings.warn(f"could not write {path}: {error}; images are checked again", stacklevel=2)


def _group(root: Path, paths: list[str]) -> tuple[dict[str, list[str]], tuple[str, ...]]:
  """Files of every split, and the class names (empty where there are none)."""
  depths = {len(Path(path).parts): path for path in paths}
  if len(depths) > 1:
    examples = " and ".join(sorted(depths.values()))
    raise ValueError(f"images under {root} lie at different depths ({examples}); wanted {_LAYOUT}")
  (depth,) = depths
  classes = tuple(sorted({Path(path).parent.name for path in paths})) if depth > 1 else ()
  groups: dict[str, list[str]] = {}
  for path in paths:
    groups.setdefault(Path(path).parts[0] if depth == 3 else "train", []).append(path)
  return groups, classes


def _common_shape(
  root: Path, headers: dict[str, Header], size: tuple[int, int] | None
) -> tuple[int, int, int]:
  channels = 1 if all(header.grey for header in headers.values()) else 3
  if size is not None:
    return (*size, channels)
  by_size: dict[tuple[int, int], str] = {}
  for path, header in sorted(headers.items()):
    by_size.setdefault((header.height, header.width), path)
  if len(by_size) > 1:
    examples = [f"{path} is {h} x {w}" for (h, w), path in list(by_size.items())[:3]]
    raise ValueError(
      f"images under {root} have {len(by_size)} different sizes ({'; '.join(examples)}); "
      "pass image_size= to crop and resize them to one"
    )
  ((height, width),) = by_size
  return height, width, channels


def _warn_skipped(root: Path, skipped: list[str]) -> None:
  if skipped:
    first = ", ".join(skipped[:5]) + (", ..." if len(skipped) > 5 else "")
    warnings.warn(
      f"{root}: skipped {len(skipped):,} files that are no readable images: {first}", stacklevel=2
    )


def _digest(content: object) -> str:
  return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]
