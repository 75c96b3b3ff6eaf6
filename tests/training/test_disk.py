"""Disks that are full or cannot be written, bytes that change, clocks that jump, files from strangers."""

import ast
import itertools
import logging
import os
import pickle
import resource
import shutil
import time
import zlib
from contextlib import contextmanager

import jax
import jax.numpy as jnp
import numpy as np
import problem
import pytest

from latentjax import training
from latentjax.data import cache
from latentjax.data.sources import ArraySource, array_path
from latentjax.training import checkpoint, make_mesh, state_shardings


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
  """A finished run of 40 steps, checkpoints at 20, 30 and 40: copy it before you break it."""
  folder = tmp_path_factory.mktemp("disk") / "run"
  return folder, np.asarray(checkpoint.fingerprints(problem.run(folder).state))


def check_ends_alike(folder, finished, *steps_run):
  """Run on to the end: nothing lost, nothing done twice, the same bits."""
  result = problem.run(folder)
  assert result.steps_run in steps_run
  np.testing.assert_array_equal(checkpoint.fingerprints(result.state), finished[1])
  assert (folder / "metrics.jsonl").read_bytes() == (finished[0] / "metrics.jsonl").read_bytes()
  return result.steps_run


@contextmanager
def largest_file(size):
  """Writes beyond a size fail in the middle, as on a full disk; also those of Orbax's threads."""
  before = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
  try:
    yield
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_disk_full_while_saving(finished, tmp_path):
  folder = tmp_path / "run"
  with (
    largest_file(2000),
    pytest.raises(training.CheckpointError, match=r"could not be written to .*; there is none yet"),
  ):
    problem.run(folder)
  check_ends_alike(folder, finished, 40)


def test_disk_full_at_the_next_checkpoint(finished, tmp_path):
  folder = tmp_path / "run"
  shutil.copytree(finished[0], folder)
  for step in ("30", "40"):
    shutil.rmtree(folder / "checkpoints" / step)
  with (
    largest_file(2000),
    pytest.raises(training.CheckpointError, match="step 20 is the last one there"),
  ):
    problem.run(folder)
  check_ends_alike(folder, finished, 20)


def test_folder_that_cannot_be_written(finished, tmp_path):
  (tmp_path / "file").write_text("")
  with pytest.raises(
    training.WorkdirError, match=r"workdir .*/file/run cannot be written \(Not a d"
  ):
    problem.run(tmp_path / "file" / "run")
  for folder in (tmp_path / "new", tmp_path / "old"):
    if folder.name == "old":
      shutil.copytree(finished[0], folder)
    with (
      largest_file(0),
      pytest.raises(training.WorkdirError, match=r"(new|old) cannot be written"),
    ):
      problem.run(folder)
    assert not list(folder.glob(".*.tmp"))
  check_ends_alike(tmp_path / "new", finished, 40)
  check_ends_alike(tmp_path / "old", finished, 0)


@pytest.mark.parametrize(
  ("file", "word"),
  [
    ("meta/metadata", b"params/w"),  # the name of an array
    ("meta/metadata", b"batch_size"),  # the order of the data
    ("state/array_metadatas/process_0", b'{"array_metadata'),  # what Orbax keeps
  ],
)
def test_a_bit_beside_the_arrays(file, word, finished, tmp_path, caplog):
  folder = tmp_path / "run"
  shutil.copytree(finished[0], folder)
  path = folder / "checkpoints" / "40" / file
  content = path.read_bytes()
  assert word in content
  path.write_bytes(content.replace(word, word[:-1] + bytes([word[-1] ^ 1])))
  with caplog.at_level(logging.WARNING):
    harmless = check_ends_alike(folder, finished, 0, 10) == 0
  assert ("damaged checkpoint" not in caplog.text) == harmless
  assert not harmless or file.startswith("state")  # not every version of Orbax reads what it wrote


def test_clock_that_jumps(finished, tmp_path, monkeypatch):
  """Back by forty years within the run, on files that come from the future."""
  folder = tmp_path / "run"
  shutil.copytree(finished[0], folder)
  for step in ("30", "40"):
    shutil.rmtree(folder / "checkpoints" / step)
  for path in folder.rglob("*"):
    os.utime(path, (2**31 - 2, 2**31 - 2))
  begin, real = time.monotonic(), time.time()
  years = lambda: 86400 * 365 * (10 if time.monotonic() - begin < 0.05 else -30)
  monkeypatch.setattr(time, "time", lambda: real + years())
  monkeypatch.setattr(time, "time_ns", lambda: int((real + years()) * 1e9))
  check_ends_alike(folder, finished, 20)


def test_clock_that_jumps_within_the_writing(finished, tmp_path, monkeypatch):
  """Ten years ahead and ten behind in turn, every time that somebody looks."""
  real, years = time.time, itertools.cycle((10, -10))
  monkeypatch.setattr(time, "time", lambda: real() + 365 * 86400 * next(years))
  check_ends_alike(tmp_path / "run", finished, 40)


def test_restored_on_other_devices(tmp_path):
  """Written on n devices and restored on m, replicated or split, every bit is the same."""
  counts = (1, 2, 4, 8)
  random = np.random.default_rng(0)
  state = {
    "w": random.standard_normal((128, 136)).astype(np.float32),
    "half": random.standard_normal((16, 2048)).astype(jnp.bfloat16),
    "step": np.int32(7),
  }
  abstract = {}
  for n in counts:
    for sharding in ("replicated", "fsdp"):
      mesh = make_mesh(devices=jax.devices()[:n])
      shardings = state_shardings(state, mesh, rules=sharding)
      abstract[n, sharding] = jax.tree.map(
        lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), state, shardings
      )
  assert len(abstract[8, "fsdp"]["w"].sharding.device_set) == 8
  assert abstract[8, "fsdp"]["w"].sharding.shard_shape((128, 136)) != (128, 136)
  manager = checkpoint.open_checkpoints(tmp_path, keep=8)
  for number, placed in enumerate(abstract.values()):
    checkpoint.save(
      manager, number, jax.tree.map(lambda x, a: jax.device_put(x, a.sharding), state, placed), {}
    )
  checkpoint.finish(manager)
  for number, (n, _) in enumerate(abstract):
    for (m, sharding), wanted in abstract.items():
      found = checkpoint._read(manager, number, wanted)[0]
      for name, x in state.items():
        assert found[name].sharding == wanted[name].sharding
        assert np.asarray(found[name]).tobytes() == x.tobytes(), (n, m, sharding, name)
  checkpoint.close(manager)


def test_no_file_is_unpickled(tmp_path, recwarn):
  """An array file of the cache that would run a command is damaged data, not a command."""

  class Trap:
    def __reduce__(self):
      return os.mkdir, (str(tmp_path / "sprung"),)

  source = ArraySource({"x": np.arange(3)})
  for content in (np.array([Trap()]), Trap()):
    (tmp_path / "entry").mkdir()
    path = array_path(tmp_path / "entry", "x")
    with path.open("wb") as f:
      np.save(f, content, allow_pickle=True) if isinstance(content, np.ndarray) else pickle.dump(
        content, f
      )
    path.with_suffix(".crc32").write_text(f"{zlib.crc32(path.read_bytes()):08x}")
    assert cache.open_entry(source, tmp_path / "entry") is None
    shutil.rmtree(tmp_path / "entry")
  assert len(recwarn) == 2 and not (tmp_path / "sprung").exists()


def test_nothing_evaluates_or_unpickles_files(repository):
  forbidden = {"eval", "exec", "compile", "__import__"}
  modules = {"pickle", "cPickle", "marshal", "shelve", "dill", "joblib", "cloudpickle", "yaml"}
  for path in [*repository.glob("latentjax/**/*.py"), *repository.glob("experiments/**/*.py")]:
    for node in ast.walk(ast.parse(path.read_text())):
      where = f"{path}:{getattr(node, 'lineno', 0)}"
      if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        assert node.func.id not in forbidden, where
      if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
        assert isinstance(node.value, ast.Constant) and node.value.value is False, where
      if isinstance(node, ast.Import):
        assert not modules & {alias.name.split(".")[0] for alias in node.names}, where
      if isinstance(node, ast.ImportFrom):
        assert (node.module or "").split(".")[0] not in modules, where
