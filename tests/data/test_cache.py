import os
import signal
import subprocess
import sys
import textwrap
import time
import warnings
import zlib

import numpy as np
import pytest

from latentjax.data import cache
from latentjax.data.sources import ArraySource, array_path

ROWS = 5000


class Records:
  """A source that is not in memory: record i is known from i alone."""

  num_examples = ROWS

  def __init__(self):
    self.features = {"x": ((3,), np.dtype(np.int32)), "a/b c": ((), np.dtype(np.uint8))}
    self.rows_read = 0

  def read(self, indices):
    self.rows_read += len(indices)
    return {
      "x": (indices[:, None] * 3 + np.arange(3)).astype(np.int32),
      "a/b c": (indices % 251).astype(np.uint8),
    }


X = np.arange(3 * ROWS).reshape(ROWS, 3)
# Runs in a process of its own, on the same records.
PROGRAM = textwrap.dedent("""
  import sys, time
  from pathlib import Path
  sys.path.insert(0, {tests!r})
  from test_cache import Records
  from latentjax.data import cache
  class Slow(Records):
    def read(self, indices):
      if len(indices) and indices[0] > 0 and {pause}:
        print("half", flush=True)
        time.sleep({pause})
      return super().read(indices)
  source = Slow()
  cached = cache.decode_once(source, Path({entry!r}))
  print(source.rows_read, int(cached.arrays["x"].sum()))
""")


def start(entry, *, pause=0.0, prefix=""):
  code = prefix + PROGRAM.format(tests=os.path.dirname(__file__), pause=pause, entry=str(entry))
  return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)


def listing(directory):
  return sorted(path.name for path in directory.iterdir() if path.suffix != ".lock")


def test_decodes_once_into_memory_maps(tmp_path):
  source, entry = Records(), tmp_path / "deep" / "entry"
  first = cache.decode_once(source, entry)
  second = cache.decode_once(source, entry)
  assert source.rows_read == ROWS
  for cached in (first, second):
    assert isinstance(cached.arrays["x"], np.memmap)
    assert not cached.arrays["x"].flags.writeable
    assert np.array_equal(cached.arrays["x"], X)
    assert np.array_equal(cached.arrays["a/b c"], np.arange(ROWS) % 251)
    assert cached.features == source.features
  assert np.array_equal(np.load(array_path(entry, "x")), X)
  assert listing(entry.parent) == ["entry"]
  assert entry.stat().st_mode & 0o777 == 0o755


def test_pickles_by_place_not_by_content(tmp_path):
  import pickle

  cached = cache.decode_once(Records(), tmp_path / "entry")
  pickled = pickle.dumps(cached)
  assert len(pickled) < 1000
  assert np.array_equal(pickle.loads(pickled).read(np.array([4, 2]))["x"], X[[4, 2]])


def cut(path):
  os.truncate(path, path.stat().st_size - 1)


def lengthen(path):
  path.write_bytes(path.read_bytes() + b"\0")


def reshape(path):
  np.save(path, np.zeros((ROWS, 4), np.int32))
  sign(path)


def retype(path):
  np.save(path, np.zeros((ROWS, 3), np.float32))
  sign(path)


def scribble(path):
  path.write_bytes(b"not numpy")
  sign(path)


def sign(path):
  """What is wrong then is not the sum."""
  path.with_suffix(".crc32").write_text(f"{zlib.crc32(path.read_bytes()):08x}")


def flip(path, byte=-1):
  """One bit: neither the size, nor the shape, nor the type tells."""
  content = bytearray(path.read_bytes())
  content[byte] ^= 1
  path.write_bytes(content)


def flip_in_the_header(path):
  flip(path, byte=20)  # within the dictionary that numpy evaluates


def flip_in_the_middle(path):
  flip(path, byte=path.stat().st_size // 2)


def flip_the_sum(path):
  flip(path.with_suffix(".crc32"))


def lose_the_sum(path):  # as in an entry from before there were any
  path.with_suffix(".crc32").unlink()


DAMAGES = [cut, lengthen, reshape, retype, scribble, os.remove]
DAMAGES += [flip, flip_in_the_header, flip_in_the_middle, flip_the_sum, lose_the_sum]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda f: f.__name__)
def test_damage_is_reported_and_repaired(tmp_path, damage):
  source, entry = Records(), tmp_path / "entry"
  cache.decode_once(source, entry)
  damage(array_path(entry, "x"))
  with pytest.warns(UserWarning, match=r"the cache .*entry is damaged and is decoded again: "):
    cached = cache.decode_once(source, entry)
  assert np.array_equal(cached.arrays["x"], X)
  assert source.rows_read == 2 * ROWS
  with warnings.catch_warnings():
    warnings.simplefilter("error")
    cache.decode_once(source, entry)
  assert source.rows_read == 2 * ROWS


def test_killed_while_decoding(tmp_path):
  entry = tmp_path / "entry"
  process = start(entry, pause=60)
  assert process.stdout.readline() == "half\n"
  os.kill(process.pid, signal.SIGKILL)
  process.wait()
  (left_over,) = listing(tmp_path)
  assert left_over.startswith("entry.partial-")
  source = Records()
  assert np.array_equal(cache.decode_once(source, entry).arrays["x"], X)
  assert source.rows_read == ROWS
  assert listing(tmp_path) == ["entry"]


def test_processes_that_start_together_decode_once(tmp_path):
  both = [start(tmp_path / "entry", pause=0.3) for _ in range(2)]
  said = [process.communicate(timeout=60)[0].split()[-2:] for process in both]
  assert sorted(said) == [["0", str(X.sum())], [str(ROWS), str(X.sum())]]
  assert listing(tmp_path) == ["entry"]


def test_hosts_without_working_locks_agree_too(tmp_path):
  both = [
    start(
      tmp_path / "entry",
      pause=0.5,
      prefix="import fcntl, socket; fcntl.flock = lambda *a: None\n"
      f"socket.gethostname = lambda: 'host{i}'\n",
    )
    for i in range(2)
  ]
  said = [process.communicate(timeout=60)[0].split()[-1] for process in both]
  assert said == [str(X.sum())] * 2
  assert listing(tmp_path) == ["entry"]


def test_abandoned_work_of_another_host_goes_after_a_day(tmp_path):
  for name, age in [("entry.partial-gone-1", 90_000), ("entry.partial-busy-1", 60)]:
    (tmp_path / name).mkdir()
    (tmp_path / name / "x.npy").write_text("half")
    os.utime(tmp_path / name, times=(time.time() - age,) * 2)
  cache.decode_once(Records(), tmp_path / "entry")
  assert listing(tmp_path) == ["entry", "entry.partial-busy-1"]


def test_disk_that_fills_up_while_decoding(tmp_path):
  # The limit on file size makes a plain write fail in the middle, as a full disk does.
  limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))\n"
  code = limit + PROGRAM.format(
    tests=os.path.dirname(__file__), pause=0.0, entry=str(tmp_path / "entry")
  )
  done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
  assert done.returncode == 1
  assert "could not write 0 MiB of decoded data to the cache" in done.stderr
  assert "LATENTJAX_CACHE" in done.stderr
  assert listing(tmp_path) == []


def test_cache_that_cannot_be_made(tmp_path):
  (tmp_path / "file").write_text("")
  with pytest.raises(
    OSError, match=r"could not write .* Point LATENTJAX_CACHE at a place with room"
  ):
    cache.decode_once(Records(), tmp_path / "file" / "entry")


def test_trouble_with_the_source_is_not_blamed_on_the_cache(tmp_path):
  class Broken(Records):
    def read(self, indices):
      raise OSError(5, "Input/output error")

  with pytest.raises(
    RuntimeError, match=r"could not read examples 0 to 2047: .*Input/output error"
  ):
    cache.decode_once(Broken(), tmp_path / "entry")
  assert listing(tmp_path) == []


def test_place_and_key(monkeypatch, tmp_path):
  monkeypatch.setenv("LATENTJAX_CACHE", str(tmp_path / "here"))
  entry = cache.entry_path("glue/cola", "1.0.0 train[0:5]")
  assert entry.parent == tmp_path / "here"
  assert entry.name.startswith("glue-cola-")
  assert entry == cache.entry_path("glue/cola", "1.0.0 train[0:5]")
  assert entry != cache.entry_path("glue/cola", "1.0.0 train[0:6]")
  monkeypatch.setattr(cache, "DECODER_VERSION", cache.DECODER_VERSION + 1)
  assert entry != cache.entry_path("glue/cola", "1.0.0 train[0:5]")
  monkeypatch.delenv("LATENTJAX_CACHE")
  monkeypatch.setenv("HOME", str(tmp_path))
  assert cache.cache_root() == tmp_path / ".cache" / "latentjax"


def test_num_bytes():
  assert cache.num_bytes(Records()) == ROWS * 13
  assert cache.num_bytes(ArraySource({"x": np.zeros((4, 2, 2), np.float64)})) == 128
