"""What the README shows works: its snippets run, its commands are the ones that CI runs or are accepted."""

import importlib
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import tyro

from experiments.harness import cli, report
from experiments.pod import __main__ as pod

REPOSITORY = Path(__file__).resolve().parent.parent
TEXT = (REPOSITORY / "README.md").read_text()
SNIPPETS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
COMMANDS = [
  command.strip()
  for block in re.findall(r"```bash\n(.*?)```", TEXT, re.DOTALL)
  for line in block.splitlines()
  for command in line.split("&&")
]
# What its scripts for clusters start, less how they start it.
COMMANDS += [
  found
  for block in re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)
  for found in re.findall(r"python -m experiments [^'\n]*", block)
]


# One process for all of them, each with names of its own: most of a process's time is its imports.
RUN_ALL = """
import sys
for snippet in sys.argv[1:]:
  print("<snippet>", flush=True)
  exec(compile(snippet, snippet, "exec"), {"__name__": "__main__"})
"""


def test_snippets_run(tmp_path):
  environment = os.environ | {
    "XLA_FLAGS": "",
    "PYTHONPATH": str(REPOSITORY),
    "LATENTJAX_CACHE": str(tmp_path / "cache"),
  }
  done = subprocess.run(
    [sys.executable, "-c", RUN_ALL, *SNIPPETS],
    cwd=tmp_path,
    env=environment,
    capture_output=True,
    text=True,
    timeout=240,
  )
  assert done.returncode == 0, done.stderr
  printed = done.stdout.split("<snippet>\n")[1:]
  assert len(printed) == len(SNIPPETS) and all(map(str.strip, printed)), "each prints something"


@pytest.mark.parametrize("command", COMMANDS)
def test_command_is_run_by_ci_or_accepted(command):
  words = shlex.split(command)
  assert words[:2] == ["python", "-m"], command
  ci = (REPOSITORY / ".ci" / "run").read_text()
  extra = re.search(r"\.\[(cuda|tpu)\]", command)
  if extra:  # the extra has to be there; CI has no accelerator
    assert f"\n{extra[1]} = " in (REPOSITORY / "pyproject.toml").read_text()
  elif words[2] in ("pip", "pytest"):
    assert command in ci
  elif words[2] == "experiments.pod" and words[3] != "table":
    own, flags = tyro.cli(pod.Config, args=words[4:], return_unknown_args=True)
    assert own.topology
    cli.parse(importlib.import_module(f"experiments.{words[3]}"), words[3], flags)
  elif len(words) > 3 and words[3] not in ("report", "table"):
    flags = [word for word in words[4:] if word != "--help"]
    cli.parse(importlib.import_module(f"experiments.{words[3]}"), words[3], flags)


def test_first_screen_has_the_two_commands():
  assert TEXT.index("python -m pytest") < 1500


def test_layout_names_every_package():
  for package in (REPOSITORY / "latentjax").iterdir():
    if (package / "__init__.py").exists():
      assert f"  {package.name}/" in TEXT, package.name


def test_table_of_results_is_the_one_that_report_makes(tmp_path):
  report.write(cli.RESULTS, tmp_path / "README.md")
  assert (tmp_path / "README.md").read_text() == (cli.EXPERIMENTS / "README.md").read_text()
