"""The soak's bookkeeping, with faults that cost nothing, and its committed result."""

import json

import pytest

from experiments.soak import __main__ as soak
from experiments.soak import kills, table
from experiments.soak.lives import Outcome, SoakError


@pytest.fixture
def called(monkeypatch):
  """Two cases that note how often they ran; the second fails the first time."""
  counts = {"one": 0, "two": 0}

  def one(place):
    counts["one"] += 1
    return Outcome("a fault", "by hand", 2, f"in {place.root}/x", 0.5, True)

  def two(place):
    counts["two"] += 1
    if counts["two"] == 1:
      raise SoakError("first line\nwhat went wrong")
    return [Outcome("b", "", 1, "", 0.0, True), Outcome("c", "", 1, "", 0.0, True)]

  monkeypatch.setattr(soak, "CASES", {"one": one, "two": two})
  monkeypatch.setattr(soak, "make_images", lambda root: root.mkdir())
  monkeypatch.setattr(kills, "unbroken", lambda place: {})
  return counts


def test_goes_on_where_it_was(called, tmp_path, monkeypatch, capsys):
  monkeypatch.setattr(soak, "RESULT", tmp_path / "results" / "faults.json")
  config = soak.Config(workdir=tmp_path / "work", only=("one", "two"), record=True)
  assert soak.run(config) == 1
  assert "FAILS  two (0): FAILED: what went wrong" in capsys.readouterr().out
  assert soak.run(config) == 0
  assert called == {"one": 1, "two": 2}
  result = json.loads(soak.RESULT.read_text())
  assert [row["fault"] for row in result["outcomes"]] == ["a fault", "b", "c"]
  assert result["outcomes"][0]["outcome"] == "in WORKDIR/x"
  page = soak.RESULT.with_name("README.md").read_text()
  assert "| a fault | by hand | 2 | in WORKDIR/x | 0.5 | yes |" in page


def test_some_cases_recorded_replace_their_own_rows(called, tmp_path, monkeypatch):
  result = tmp_path / "results" / "faults.json"
  monkeypatch.setattr(soak, "RESULT", result)
  monkeypatch.setattr(soak, "git_hash", lambda: "first")
  monkeypatch.setattr(soak, "killed", lambda *_: [])
  called["two"] = 1  # nothing fails
  assert soak.run(soak.Config(workdir=tmp_path / "all", record=True)) == 0
  monkeypatch.setattr(soak, "git_hash", lambda: "second")
  assert soak.run(soak.Config(workdir=tmp_path / "one", only=("one",), record=True)) == 0
  recorded = json.loads(result.read_text())
  assert recorded["git"] == "first"
  commits = {row["fault"]: row.get("git") for row in recorded["outcomes"]}
  assert commits == {"a fault": "second", "b": None, "c": None}
  page = result.with_name("README.md").read_text()
  assert "commit first;" in page and "Later: a fault, " in page and ", commit second." in page


def test_stops_when_time_is_up(called, tmp_path):
  config = soak.Config(workdir=tmp_path, only=("one",), limit_s=-1.0)
  assert soak.run(config) == 3
  assert called["one"] == 0


def test_what_an_earlier_life_left_half_written_is_not_taken_for_new(tmp_path):
  (tmp_path / "20.orbax-checkpoint-tmp").mkdir()
  before = kills.half(tmp_path, "*orbax-checkpoint-tmp*")
  assert len(before) == 1 and not kills.half(tmp_path, "*orbax-checkpoint-tmp*") - before
  (tmp_path / "20.orbax-checkpoint-tmp").rmdir()
  (tmp_path / "20.orbax-checkpoint-tmp").mkdir()
  assert len(kills.half(tmp_path, "*orbax-checkpoint-tmp*") - before) == 1


def test_the_committed_table_is_that_of_the_result(repository):
  result = json.loads((repository / "experiments/results/soak/faults.json").read_text())
  readme = repository / "experiments/results/soak/README.md"
  assert table.markdown(result) == readme.read_text()
  for _, test in table.IN_TESTS:
    assert (repository / test).is_file()
