"""Decoded data sets on disk: one .npy file per feature, whole or absent, memory-mapped.

Beside each file lies its CRC-32, which is checked whenever the entry is opened: what a disk or a cable did to
the bytes since they were written costs a decoding, not a run.
"""

import contextlib
import fcntl
import glob
import hashlib
import io
import os
import re
import shutil
import socket
import tempfile
import time
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from latentjax.data.sources import ArraySource, Source, array_path, open_arrays

# Raised whenever decoding changes, so that arrays decoded by an older version are not read again.
DECODER_VERSION = 1
_HOST = socket.gethostname()
_ABANDONED_AFTER_S = 24 * 3600
_ROWS_PER_READ = 2048
_BYTES_PER_READ = 64 << 20
_BYTES_PER_CHECK = 1 << 20


def cache_root() -> Path:
  """Directory of decoded data sets: $LATENTJAX_CACHE, or ~/.cache/latentjax."""
  return Path(os.environ.get("LATENTJAX_CACHE") or "~/.cache/latentjax").expanduser()


def entry_path(name: str, identity: str) -> Path:
  """Directory of one decoded data set; everything that changes its arrays is in the identity."""
  digest = hashlib.sha256(f"{DECODER_VERSION}\n{name}\n{identity}".encode()).hexdigest()[:20]
  return cache_root() / f"{re.sub(r'[^A-Za-z0-9_.-]+', '-', name)}-{digest}"


def num_bytes(source: Source) -> int:
  """Size of all examples once decoded."""
  per_example = (
    int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    for shape, dtype in source.features.values()
  )
  return source.num_examples * sum(per_example)


def decode_once(source: Source, entry: Path) -> ArraySource:
  """Memory-mapped arrays of a source, decoded on first use.

  The arrays are written beside the entry, synced, and renamed into place: a kill or a full disk
  leaves no half entry. A lock makes the processes of a host decode once; hosts that share a file
  system without working locks decode side by side, and the first rename wins. An entry that is there is
  read once from end to end, for its checksums, at a few gigabytes a second where the system holds its pages;
  one whose bytes have changed is decoded again, with a warning.

  Args:
    source: the records to decode.
    entry: the directory that holds them, or will.

  Returns:
    The arrays, read from disk page by page as they are used.

  Raises:
    OSError: if the cache cannot be written, with its place and what to do.
  """
  cached = open_entry(source, entry)
  if cached is not None:
    return cached
  try:
    entry.parent.mkdir(parents=True, exist_ok=True)
    with exclusive(entry.parent / f"{entry.name}.lock"):
      return open_entry(source, entry) or _write_entry(source, entry)
  except OSError as error:
    raise OSError(
      error.errno,
      f"could not write {num_bytes(source) / 2**20:,.0f} MiB of decoded data to the cache {entry} "
      f"({error.strerror}); nothing half-written is left. Point LATENTJAX_CACHE at a place with "
      "room, or pass memory_limit=0 to read the data set record by record",
    ) from error


def open_entry(source: Source, entry: Path) -> ArraySource | None:
  """The arrays of an entry, None where it is absent or, with a warning, damaged."""
  if not entry.is_dir():
    return None
  try:
    for path in (array_path(entry, name) for name in source.features):
      if _sum_path(path).read_text() != _sum_of(path):
        raise ValueError(f"{path.name} does not hold the bytes that were written to it")
    cached = open_arrays(entry, tuple(source.features))
    for name, (shape, dtype) in source.features.items():
      array, wanted = cached.arrays[name], (source.num_examples, *shape)
      if array.shape != wanted or array.dtype != dtype:
        raise ValueError(f"{name} is {array.shape} {array.dtype}, not {wanted} {dtype}")
    return cached
  except (OSError, ValueError, EOFError) as error:
    warnings.warn(f"the cache {entry} is damaged and is decoded again: {error}", stacklevel=2)
    return None


def _sum_path(path: Path) -> Path:
  return path.with_suffix(".crc32")


def _sum_of(path: Path) -> str:
  """CRC-32 of a file's bytes, by plain reads: a disk that fails is an error instead of a SIGBUS."""
  crc, buffer = 0, memoryview(bytearray(_BYTES_PER_CHECK))
  with open(path, "rb", buffering=0) as handle:
    while count := handle.readinto(buffer):
      crc = zlib.crc32(buffer[:count], crc)
  return f"{crc:08x}"


@contextlib.contextmanager
def exclusive(path: Path) -> Iterator[None]:
  """Holds a file lock; the system releases it when the process dies, however it dies."""
  with open(path, "a") as handle:
    fcntl.flock(handle, fcntl.LOCK_EX)
    yield


def _write_entry(source: Source, entry: Path) -> ArraySource:
  _remove_left_overs(entry)
  partial = Path(tempfile.mkdtemp(prefix=f"{entry.name}.partial-{_HOST}-", dir=entry.parent))
  try:
    _write_arrays(source, partial)
    partial.chmod(0o755)  # a cache may be shared; temporary directories are private
    try:
      partial.rename(entry)
    except OSError:
      if not entry.is_dir():
        raise
      if open_entry(source, entry) is None:  # damaged; else another host was first
        shutil.rmtree(entry)
        partial.rename(entry)
    _sync(entry.parent)
  finally:
    shutil.rmtree(partial, ignore_errors=True)
  return open_arrays(entry, tuple(source.features))


def _remove_left_overs(entry: Path) -> None:
  """Removes what killed processes left. Under the lock nobody else on this host is writing."""
  for partial in entry.parent.glob(f"{glob.escape(entry.name)}.partial-*"):
    with contextlib.suppress(OSError):
      ours = partial.name.startswith(f"{entry.name}.partial-{_HOST}-")
      if ours or time.time() - partial.stat().st_mtime > _ABANDONED_AFTER_S:
        shutil.rmtree(partial)


def _write_arrays(source: Source, directory: Path) -> None:
  from tqdm import tqdm

  total = source.num_examples
  rows = max(1, min(_ROWS_PER_READ, _BYTES_PER_READ * total // max(num_bytes(source), 1)))
  with contextlib.ExitStack() as stack:
    files: dict[str, BinaryIO] = {}
    sums = dict.fromkeys(source.features, 0)

    def write(name: str, content: Any) -> None:
      # The sum is of what was meant, not of what came to lie on the disk.
      sums[name] = zlib.crc32(content, sums[name])
      files[name].write(content)

    for name, (shape, dtype) in source.features.items():
      files[name] = stack.enter_context(open(array_path(directory, name), "wb"))
      descr, header = np.lib.format.dtype_to_descr(dtype), io.BytesIO()
      np.lib.format.write_array_header_1_0(
        header, {"descr": descr, "fortran_order": False, "shape": (total, *shape)}
      )
      write(name, header.getvalue())
    # Plain writes, not a writable memory map: a full disk then is an error instead of a SIGBUS.
    with tqdm(total=total, desc="decoding once", unit=" examples", delay=2.0, leave=False) as bar:
      for start in range(0, total, rows):
        indices = np.arange(start, min(start + rows, total))
        for name, values in _read(source, indices).items():
          write(name, np.ascontiguousarray(values).data)
        bar.update(len(indices))
    for name, crc in sums.items():
      beside = stack.enter_context(open(_sum_path(array_path(directory, name)), "wb"))
      beside.write(f"{crc:08x}".encode())
      for handle in (files[name], beside):
        handle.flush()
        os.fsync(handle.fileno())
  _sync(directory)


def _read(source: Source, indices: np.ndarray) -> dict[str, np.ndarray]:
  try:
    return source.read(indices)
  except OSError as error:  # not to be taken for trouble with the cache
    raise RuntimeError(f"could not read examples {indices[0]} to {indices[-1]}: {error}") from error


def _sync(directory: Path) -> None:
  descriptor = os.open(directory, os.O_RDONLY)
  try:
    os.fsync(descriptor)
  finally:
    os.close(descriptor)
