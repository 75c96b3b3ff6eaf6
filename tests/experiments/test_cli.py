"""The command line as a user meets it."""

import json
import os
import re
import resource
import subprocess
import sys

import pytest
from PIL import Image

from experiments.harness import cli
from experiments.harness.claims import Claim, Outcome

# Several commands in one process: most of its time are its imports.
RUN_ALL = """
import json, sys
from experiments.harness import cli
for command in map(json.loads, sys.argv[1:]):
  status = cli.main(command)
  for stream in (sys.stdout, sys.stderr):
    print(f"<status {status}>", file=stream, flush=True)
"""


def run(repository, cache, *arguments, start=("-m", "experiments")):
  environment = os.environ | {
    "JAX_PLATFORMS": "cpu",
    "XLA_FLAGS": f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=1",
    "LATENTJAX_CACHE": str(cache / "cache"),
    "TFDS_DATA_DIR": str(cache / "tfds"),
    "PYTHONPATH": str(repository),
  }
  return subprocess.run(
    [sys.executable, *start, *map(str, arguments)],
    cwd=repository,
    env=environment,
    capture_output=True,
    text=True,
    timeout=240,
  )


@pytest.fixture(scope="module")
def quick(repository, tmp_path_factory):
  """vae_digits --quick, from nothing: the data set is prepared, the workdir is made."""
  root = tmp_path_factory.mktemp("quick")
  return root, run(repository, root, "vae_digits", "--quick", f"--workdir={root / 'run'}")


def test_quick_run_leaves_what_is_promised(quick):
  root, finished = quick
  assert finished.returncode == 0, finished.stderr
  assert "not judged (--quick)" in finished.stdout and "measured" in finished.stdout
  assert "200/200" in finished.stderr, "no progress bar"
  folder = root / "run"
  for name in ("samples", "reconstructions", "traversal", "loss"):
    with Image.open(folder / f"{name}.png") as image:
      assert min(image.size) > 300 and len(image.convert("L").getcolors(2**20)) > 20, name
  steps = [json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
  assert steps[-1] == 200
  assert (folder / "checkpoints" / "200").is_dir()
  result = json.loads((folder / "result.json").read_text())
  assert result["papers"] == {"91": "Auto-Encoding Variational Bayes"}
  assert [len(claim["measured"]) for claim in result["claims"]] == [2, 2], "one value for each seed"
  assert result["versions"]["jax"] and result["git"] and result["device"] == "1 x cpu"


def test_further_starts(quick, repository):
  """Other flags are refused, data that is not there is an error of one line, the same command goes on."""
  root, first = quick
  flags = ("vae_digits", "--quick", f"--workdir={root / 'run'}")
  log = (root / "run" / "metrics.jsonl").read_bytes()
  missing = ("vae_mnist", "--quick", f"--data_dir={root}", f"--workdir={root / 'r'}")
  commands = [(*flags, "--batch_size=50"), missing, (*flags, "--num_workers=1")]
  done = run(repository, root, *map(json.dumps, commands), start=("-c", RUN_ALL))
  assert done.returncode == 0, done.stderr
  refused, failed, again = (re.split(r"<status \d>\n", done.stderr))[:3]
  assert re.findall(r"<status (\d)>", done.stderr) == ["1", "1", "0"], again
  assert "batch_size: 100 there, 50 asked for" in refused
  assert "mnist" in failed and "prepare" in failed and "Traceback" not in done.stderr
  measured = [line for line in first.stdout.splitlines() if line.startswith("measured")]
  assert [line for line in done.stdout.splitlines() if line.startswith("measured")] == measured
  assert (root / "run" / "metrics.jsonl").read_bytes() == log


def test_list_names_every_experiment_without_importing_it(capsys):
  assert cli.main([]) == 0
  printed = capsys.readouterr().out
  for path in cli.EXPERIMENTS.glob("*.py"):
    if not path.stem.startswith("_"):
      assert f"  {path.stem} " in printed
  assert "report" in printed


def test_unknown_names_and_flags_list_the_near_ones(capsys):
  assert cli.main(["vae_digit"]) == 2
  assert "near it: vae_digits" in capsys.readouterr().err
  with pytest.raises(SystemExit) as error:
    cli.main(["vae_digits", "--step=5"])
  assert error.value.code == 2
  assert "--steps INT" in capsys.readouterr().err


@pytest.mark.parametrize(
  ("flag", "message"),
  [
    ("--steps=many", "invalid literal"),
    ("--parallel=xla", "jit"),
    ("--seeds=0", "seeds: got 0, wanted at least 1"),
  ],
)
def test_bad_values_are_refused(flag, message, capsys):
  with pytest.raises(SystemExit):
    cli.main(["vae_digits", flag])
  assert message in capsys.readouterr().err


def test_quick_run_cannot_be_recorded(capsys):
  assert cli.main(["vae_digits", "--quick", "--record"]) == 2
  assert "record: got --record with --quick" in capsys.readouterr().err


@pytest.mark.parametrize(
  ("flags", "joined"),
  [
    ([], []),
    (["--distributed"], [(None, None, None)]),
    (
      ["--coordinator_address=10.0.0.1:1234", "--num_processes=4", "--process_id=3"],
      [("10.0.0.1:1234", 4, 3)],
    ),
    (["--num_processes=4", "--process_id=0"], [(None, 4, 0)]),
  ],
)
def test_flags_of_several_processes(flags, joined, monkeypatch, tmp_path, capsys):
  from experiments import vae_digits
  from latentjax import training

  def no_run(config):
    raise ValueError("enough")

  found = []
  monkeypatch.setattr(vae_digits, "run", no_run)
  monkeypatch.setattr(training, "initialize_distributed", lambda *args: found.append(args))
  assert cli.main(["vae_digits", f"--workdir={tmp_path}", *flags]) == 1
  assert found == joined and "error: enough" in capsys.readouterr().err


def test_processes_that_nobody_can_join_are_an_error(repository, tmp_path):
  """In a process of its own, where nothing has touched a device."""
  flags = ["--quick", f"--workdir={tmp_path}", "--num_processes=2", "--process_id=0"]
  result = run(repository, tmp_path, "vae_digits", *flags)
  assert result.returncode == 1
  wanted = "error: coordinator_address, num_processes, process_id: got None, 2, 0, wanted all three"
  assert result.stderr.startswith(wanted), result.stderr


def test_a_result_that_cannot_be_written_is_an_error_of_one_line(monkeypatch, tmp_path, capsys):
  from experiments import vae_digits

  claim = Claim("half", 0.5, [0.5], "nowhere")
  monkeypatch.setattr(vae_digits, "run", lambda config: Outcome([claim], {}))
  before = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))  # as on a full disk
  try:
    status = cli.main(["vae_digits", f"--workdir={tmp_path}"])
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
  assert status == 1 and not list(tmp_path.iterdir())
  assert capsys.readouterr().err.startswith("error: [Errno 27] File too large")
  assert cli.main(["vae_digits", f"--workdir={tmp_path}"]) == 0
  assert json.loads((tmp_path / "result.json").read_text())["claims"][0]["holds"]


@pytest.mark.parametrize("name", cli.available())
def test_every_experiment_says_what_it_has_to(name):
  import importlib

  module = importlib.import_module(f"experiments.{name}")
  for word in ("Claim", "Command:", "Expected", "Time:"):
    assert f"\n{word}" in module.__doc__, word
  assert isinstance(module.PAPERS, dict), "empty where the paper has no number in the list"
  assert module.FUNCTIONS and module.Config(**module.QUICK)
  lines = len((cli.EXPERIMENTS / f"{name}.py").read_text().splitlines())
  assert lines <= 250, f"{lines} lines"


@pytest.mark.parametrize("name", cli.available())
def test_functions_that_an_experiment_names_exist(name):
  import importlib

  for path in importlib.import_module(f"experiments.{name}").FUNCTIONS:
    package, attribute = f"latentjax.{path}".rsplit(".", 1)
    assert callable(getattr(importlib.import_module(package), attribute)), path
