"""The folder of a run: files that are whole or not there, and the metrics log."""

import errno
import json
import os
import subprocess
import sys

import pytest

from latentjax.training import WorkdirError, workdir


def test_atomic_write_leaves_old_or_new(tmp_path):
  path = tmp_path / "x.json"
  workdir.write_atomically(path, "old")
  workdir.write_atomically(path, "new")
  assert path.read_text() == "new" and [p.name for p in tmp_path.iterdir()] == ["x.json"]


def test_lock_ends_with_its_process(tmp_path):
  hold = "import sys, time; from latentjax.training import workdir; from pathlib import Path\n"
  hold += "h = workdir.lock(Path(sys.argv[1])); print('held', flush=True); time.sleep(60)"
  child = subprocess.Popen([sys.executable, "-c", hold, str(tmp_path)], stdout=subprocess.PIPE)
  assert child.stdout.readline() == b"held\n"
  with pytest.raises(WorkdirError, match="another run is using it"):
    workdir.lock(tmp_path)
  child.kill()
  child.wait()
  workdir.lock(tmp_path).close()


def test_a_file_system_without_locks_is_an_error(tmp_path, monkeypatch):
  def flock(*_):
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

  monkeypatch.setattr(workdir.fcntl, "flock", flock)
  with pytest.raises(WorkdirError, match=r"cannot be locked \(No locks available"):
    workdir.lock(tmp_path)


def test_log_is_cut_back_to_the_step_that_is_resumed(tmp_path):
  log = workdir.MetricsLog(tmp_path, step=0)
  for step in (10, 20, 30):
    log.write(step, {"loss": 0.1 * step})
  log.close()
  with (tmp_path / "metrics.jsonl").open("a") as f:
    f.write('{"step": 40, "lo')  # cut off by a kill
  log = workdir.MetricsLog(tmp_path, step=20)
  log.write(30, {"loss": -1.0})
  log.close()
  lines = workdir.read_lines(tmp_path / "metrics.jsonl")
  assert [line["step"] for line in lines] == [10, 20, 30] and lines[-1]["loss"] == -1.0


def test_damaged_lines_of_a_log_are_reported(tmp_path, caplog):
  path = tmp_path / "metrics.jsonl"
  path.write_bytes(b'{"step": 1}\n{"step": 2, "\xff": 0}\n{"stfp": 3}\n[4]\n{"step": 5}\n')
  with path.open("ab") as f:
    f.write(b'{"step": Infinity}\n' + b"[" * 100_000 + b'\n{"step"')
  assert workdir.read_lines(path) == [{"step": 1}, {"step": 5}]
  damaged = [n for n in range(1, 9) if f"line {n} is damaged" in caplog.text]
  assert damaged == [2, 3, 4, 6, 7], "the eighth was cut off, not damaged"


def test_left_overs_of_a_killed_write_go(tmp_path):
  (tmp_path / ".metrics.jsonl.123.tmp").write_text("half")
  (tmp_path / ".other.tmp").mkdir()
  workdir.lock(tmp_path).close()
  assert {p.name for p in tmp_path.iterdir()} == {".lock", ".other.tmp"}


def test_claim_writes_config_and_versions_once(tmp_path):
  workdir.claim(tmp_path / "run", {"a": (1, 2)}, {"versions": {"jax": "x"}})
  first = (tmp_path / "run" / "config.json").read_text()
  workdir.claim(tmp_path / "run", {"a": [1, 2]}, {"versions": {"jax": "y"}})
  assert (tmp_path / "run" / "config.json").read_text() == first
  assert json.loads(first) == {"config": {"a": [1, 2]}, "about": {"versions": {"jax": "x"}}}
  with pytest.raises(WorkdirError, match=r"b: '\(absent\)' there, 3 asked for"):
    workdir.claim(tmp_path / "run", {"a": [1, 2], "b": 3}, {})
