"""The benchmark's turns and arithmetic with fake workers, and our own side on small images."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from experiments.bench import __main__ as cli
from experiments.bench import iwae_k50, report, rounds, vae_mlp, worker

# Speaks the protocol without our help: 3 images in its first round, then 6, ... at SCALE rounds per second,
# and notes when it works.
FAKE = """
import json, sys, time
name, scale, journal = sys.argv[1], float(sys.argv[2]), sys.argv[3]
say = lambda **message: print(json.dumps({"peak_rss_mib": 10.0, **message}), flush=True)
def note(what):
  with open(journal, "a") as f:
    f.write(f"{name} {what}\\n")
note("begin"); note("end")
say(first_seconds=0.5, negative_elbo=100.0, num_params=7)
for i, line in enumerate(sys.stdin):
  note("begin"); time.sleep(float(line.split()[1])); note("end")
  say(images=3 * (i + 1), seconds=1 / scale)
note("left")
"""


def fakes(tmp_path, **scales):
  journal = tmp_path / "journal"
  commands = {n: [sys.executable, "-c", FAKE, n, str(s), str(journal)] for n, s in scales.items()}
  return commands, journal


def alternate(commands, tmp_path, num_rounds):
  return rounds.alternate(
    commands, tmp_path, rounds=num_rounds, seconds=0.02, say=lambda line: None
  )


def test_one_side_at_a_time_in_turn(tmp_path):
  commands, journal = fakes(tmp_path, a=1, b=1, c=1)
  sides = alternate(commands, tmp_path, 2)
  lines = journal.read_text().split("\n")[:18]  # warm-up and two rounds of three sides
  assert lines == [f"{name} {what}" for name in "abc" * 3 for what in ("begin", "end")]
  assert journal.read_text().count("left") == 3  # all ended of themselves
  assert [len(side["rounds"]) for side in sides.values()] == [2, 2, 2]
  assert all(0 <= r["others"] <= 1 for side in sides.values() for r in side["rounds"])


def test_rates_and_ratios_by_round(tmp_path):
  commands, _ = fakes(tmp_path, ours=8, torch=2)
  sides = alternate(commands, tmp_path, 3)
  assert rounds.rates(sides["ours"]) == [24, 48, 72]
  assert rounds.rates(sides["torch"]) == [6, 12, 18]
  assert rounds.ratios(sides["ours"], sides["torch"]) == [4, 4, 4]
  assert "48 (24 to 72)" in rounds.table(sides)


def made(loss=100.0, params=7, rates=(1.0,)):
  return {
    "first_seconds": 0.1,
    "negative_elbo": loss,
    "num_params": params,
    "peak_rss_mib": 1.0,
    "rounds": [
      {
        "images_per_second": rate,
        "others": 0.0,
        "peak_rss_mib": 2.0,
        "loop_images_per_second": rate,
        "call_images_per_second": rate,
        "first_call_seconds": 0.1,
      }
      for rate in rates
    ],
  }


def judge(num_rounds, **sides):
  config = vae_mlp.Config(sides=",".join(sides), rounds=num_rounds)
  found = vae_mlp.summary(sides)
  return vae_mlp.show(config, sides, found), found


def test_the_median_of_the_pairs_decides(capsys):
  # Rounds differ by what the machine did meanwhile; the medians of the rates alone would say 2.5.
  ours, torch = made(rates=(10, 50, 30, 20, 40)), made(rates=(5, 25, 12, 10, 20))
  holds, found = judge(5, ours=ours, torch=torch)
  assert found["median_ratios"] == {"torch": 2.0} and holds
  assert "ours / torch: 2.00 (2.00 to 2.50), goal at least 2.0: HOLDS" in capsys.readouterr().out
  assert not judge(5, ours=ours, torch=made(rates=(6, 26, 16, 11, 21)))[0]
  assert "FAILS" in capsys.readouterr().out


def test_few_rounds_are_not_judged(capsys):
  assert judge(1, ours=made(rates=(1,)), torch=made(rates=(1,)))[0]
  assert "not judged below 5 rounds" in capsys.readouterr().out


@pytest.mark.parametrize("other", [made(loss=104.0), made(params=8)])
def test_sides_that_train_different_things(other, capsys):
  assert not judge(1, ours=made(), plain_jax=other)[0]
  assert "NOT THE SAME THING IS TRAINED" in capsys.readouterr().out


def test_other_processes_are_pointed_out(capsys):
  busy = made()
  busy["rounds"][0]["others"] = 0.4
  judge(1, ours=made(), torch=busy)
  assert "up to 40% of the cores" in capsys.readouterr().out


def test_a_worker_that_dies_is_shown_with_its_log(tmp_path):
  commands, _ = fakes(tmp_path, good=1)
  commands["bad"] = [sys.executable, "-c", "import module_that_is_not_there"]
  with pytest.raises(rounds.WorkerError, match=r"'bad' gave ''(?s:.*)module_that_is_not_there"):
    alternate(commands, tmp_path, 1)


def test_without_torch_the_commands_are_said(capsys):
  assert cli.main(["vae_mlp"]) == 2
  error = capsys.readouterr().err
  assert "python -m venv" in error and "-m pip install torch==" in error and "pythae==" in error
  assert "--torch_python=" in error


@pytest.mark.parametrize(
  "flags", [{"sides": "ours,theirs"}, {"sides": "ours,ours"}, {"rounds": 0}, {"seconds": -1.0}]
)
def test_bad_flags_are_refused(flags):
  with pytest.raises(ValueError, match=next(iter(flags))):
    vae_mlp.Config(**flags)


def test_random_images_stand_in_but_are_no_result(tmp_path, capsys):
  x, which = vae_mlp.images(vae_mlp.Config(data_dir=tmp_path))
  assert (x.shape, x.dtype, which) == ((60_000, 28, 28, 1), np.uint8, "random")
  assert "RANDOM IMAGES" in capsys.readouterr().out
  with pytest.raises(FileNotFoundError, match="mnist"):
    vae_mlp.images(vae_mlp.Config(data_dir=tmp_path, record=True))


def test_our_side_and_plain_jax_train_the_same_thing(tmp_path, monkeypatch, capsys):
  """Two real workers on small images, with a record."""
  monkeypatch.delenv("XLA_FLAGS")  # one device, as outside the tests
  x = np.random.default_rng(0).integers(0, 256, (300, 4, 4, 1), np.uint8)
  monkeypatch.setattr(vae_mlp, "images", lambda config: (x, "made up"))
  monkeypatch.setattr(vae_mlp, "EXPERIMENTS", tmp_path / "experiments")
  monkeypatch.setattr(vae_mlp, "RESULT", tmp_path / "bench" / "vae_mlp.json")
  flags = ["--sides=ours,plain_jax", "--rounds=1", "--seconds=0.1", "--check_steps=100", "--record"]
  assert cli.main(["vae_mlp", *flags]) == 0, capsys.readouterr().out
  result = json.loads((tmp_path / "bench" / "vae_mlp.json").read_text())
  ours = result["sides"]["ours"]
  assert (
    ours["rounds"][0]["images"] == 1000 * worker.Problem("").batch_size
  )  # one checkpoint interval
  assert result["loss_spread"] < vae_mlp.AGREE and result["same_num_params"]
  assert ours["num_params"] == (16 + 1) * 400 + (400 + 1) * 40 + (20 + 1) * 400 + (400 + 1) * 16
  assert ours["first_seconds"] > 0 and ours["peak_rss_mib"] > 50
  assert "the sides train the same thing" in capsys.readouterr().out


def test_iwae_has_its_own_sides_and_defaults():
  config = iwae_k50.Config(torch_python=Path(sys.executable))
  asked = vae_mlp.commands(config, worker.Problem("x.npy", num_samples=50))
  assert list(asked) == ["ours", "ours_blocks", "ours_at_once", "torch", "pythae"]
  assert asked["pythae"][2] == "experiments.bench.iwae_k50_pythae"
  assert worker.Problem(**json.loads(asked["ours"][3])).num_samples == 50
  with pytest.raises(
    ValueError, match="wanted some of ours, ours_blocks, ours_at_once, torch, torch_fused, pythae"
  ):
    iwae_k50.Config(sides="ours,plain_jax")


def test_table_of_speeds_is_the_one_of_the_results():
  """Also that every recorded result can still be read."""
  written = (report.FOLDER / "README.md").read_text()
  assert written == report.table(), "run python -m experiments.bench report"
  assert all(
    f"| {name} |" in written for name in report.ROWS if (report.FOLDER / f"{name}.json").is_file()
  )


def test_a_missed_goal_is_bold(tmp_path):
  found = {
    "median_images_per_second": {"ours": 90.0, "torch": 100.0, "pythae": 30.0},
    "median_ratios": {"torch": 0.9, "pythae": 3.0},
    "goals": {"torch": 1.0, "pythae": 2.4},
    "sides": {
      name: {"peak_rss_mib": 1000.0 * i, "first_seconds": 0.25 * i}
      for i, name in enumerate(("ours", "torch", "pythae"), 1)
    },
  }
  (tmp_path / "vae_conv.json").write_text(json.dumps(found))
  slow, fast = report.table(tmp_path).splitlines()[-2:]
  assert "| **0.90** | 1 | 1,000 / 2,000 MiB | 0.25 / 0.5 |" in slow
  assert "torch: 100 images/s" in slow
  assert "| 3.00 | 2.4 | 1,000 / 3,000 MiB | 0.25 / 0.75 |" in fast and "not recorded" in fast
