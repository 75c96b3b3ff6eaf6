"""Weak scaling of every experiment that trains: a fixed batch for each chip, more and more chips.

For 1, 16, 256 and 1,024 chips of TPU v5p the train step is compiled with the experiment's own flags (one
seed) and as many times its batch size. Memory and bytes sent per chip must stay what they are as chips are
added. One process for each experiment; results are kept as they come, and the command goes on where it was
ended.
Command: python -m experiments.pod table [--names=vae_mnist,ssl_table] [--data_dir=DIR]
Time: about an hour and a half on one core.
"""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
import re
import resource
import signal
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.harness.cli import EXPERIMENTS, available
from experiments.pod.report import TOPOLOGIES, markdown

RESULT = EXPERIMENTS / "results" / "bench" / "pods.json"
# Flags in the place of none: what one seed cannot do, the kinds of loss of a table of losses, and as many
# examples as a batch of the most chips.
FLAGS = {
  "latent_consistency": ("", "--parallel=pmap --match_size=128"),
  "disentanglement_study": ("--seeds=2",),
  "ssl_table": tuple(
    f"--probe_examples=200 --methods={name}" for name in ("nt_xent", "barlow_twins", "vicreg")
  ),
  "time_series": ("--num_train=65536",),
}
BLOCKS = "block_size: int | None = harness.free(None)"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
  """Flags of the table."""

  names: str = ""
  """Experiments, separated by commas; all that train by default."""
  program: str | None = None
  """Name of a network that is trained; None: the first with the experiment's flags; "all"."""
  chips: tuple[int, ...] = tuple(TOPOLOGIES)
  """Numbers of chips."""
  flags: str = ""
  """Further flags for them, separated by blanks."""
  data_dir: Path | None = None
  """Where TFDS data sets lie."""
  seconds: int = 400
  """Limit for one experiment with its flags, of processor time."""
  render: bool = False
  """Write the table from what is there."""


def main(argv: Sequence[str]) -> int:
  """Run the command; returns the exit status."""
  import tyro

  config = tyro.cli(
    Config, args=list(argv), prog="python -m experiments.pod table", description=__doc__,
    use_underscores=True,
  )  # fmt: skip
  names = config.names.split(",") if config.names else list(filter(trains, available()))
  os.environ.setdefault("JAX_PLATFORMS", "cpu")
  found = json.loads(RESULT.read_text()) if RESULT.exists() else {"rows": [], "left_out": {}}
  todo = [(name, flags) for name in names for flags in flag_sets(name, config.flags)]
  for name, flags in todo if not config.render else ():
    label = (name, config.program or "", flags)
    known = {
      r["chips"] for r in found["rows"] if (r["experiment"], r["asked"], r["flags"]) == label
    }
    left = tuple(n for n in config.chips if n not in known)
    if not left:
      continue
    start = time.perf_counter()
    new, error = compile_rows(name, dataclasses.replace(config, chips=left, flags=flags))
    found["rows"] += new
    found["left_out"].pop(f"{name} {flags}".strip(), None)
    if error:
      missing = " / ".join(str(n) for n in left if n not in {row["chips"] for row in new})
      found["left_out"][f"{name} {flags}".strip()] = f"{missing} chips, {error}"
    RESULT.write_text(json.dumps(found, indent=1) + "\n")
    seconds = time.perf_counter() - start
    print(f"{name} {flags}: {len(new)} rows in {seconds:.0f} s {error}", flush=True)
  RESULT.with_suffix(".md").write_text(page(found))
  return 0


def page(found: dict[str, Any]) -> str:
  """The table, and what has no row in it yet."""
  done = {row["experiment"] for row in found["rows"]} | {k.split()[0] for k in found["left_out"]}
  waiting = ", ".join(name for name in filter(trains, available()) if name not in done)
  return markdown(found) + (f"\nNot compiled yet: {waiting}.\n" if waiting else "")


def trains(name: str) -> bool:
  """Whether an experiment, or a part of the harness that it imports, calls `train`."""
  source = (EXPERIMENTS / f"{name}.py").read_text()
  imported = " ".join(
    re.findall(r"^from experiments\.harness.* import (?:\([^)]*\)|.*)", source, re.M)
  )
  harness = (EXPERIMENTS / "harness").glob("*.py")
  parts = [p.read_text() for p in harness if re.search(rf"\b{p.stem}\b", imported)]
  return any(re.search(r"[^_]\btrain\(", text) for text in (source, *parts))


def flag_sets(name: str, flags: str) -> tuple[str, ...]:
  """Flags to compile an experiment with: those asked for; else its own, and blocks round a ring.

  The latter where its loss compares all rows and takes them in blocks, each of the rows of a device.
  """
  if flags:
    return (flags,)
  plain = FLAGS.get(name, ("",))
  source = (EXPERIMENTS / f"{name}.py").read_text()
  if BLOCKS not in source:
    return plain
  rows = re.search(r"batch_size: int = (\d+)", source)
  assert rows is not None, "it has a batch size of its own"
  return (*plain, f"{plain[0]} --parallel=pmap --block_size={rows[1]}".strip())


def compile_rows(name: str, config: Config) -> tuple[list[dict[str, Any]], str]:
  """Rows of an experiment, from a process of its own, and why there are none or no more."""
  context = multiprocessing.get_context("forkserver")
  context.set_forkserver_preload(["experiments.pod.analysis", "experiments.pod.capture"])
  with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "rows"
    path.touch()
    process = context.Process(target=write_rows, args=(name, config, path))
    process.start()
    process.join()
    error = f"more than {config.seconds} s" if process.exitcode == -signal.SIGXCPU else ""
    found = [json.loads(line) for line in path.read_text().splitlines()]
  if found and "error" in found[-1]:
    error = found.pop()["error"]
  elif process.exitcode and not error:
    error = f"the compiler ended the process ({process.exitcode})"
  return found, error


def write_rows(name: str, config: Config, path: Path) -> None:
  """Write rows to a file as they come, and what went wrong in place of a row."""
  resource.setrlimit(resource.RLIMIT_CPU, (config.seconds, config.seconds + 10))
  with path.open("a") as out:
    try:
      for row in rows(name, config):
        out.write(json.dumps(row) + "\n")
        out.flush()
    except Exception as error:  # an experiment may raise anything; the table says what
      text = f"{type(error).__name__}: {error}".splitlines()[0]
      out.write(json.dumps({"error": text[:300]}) + "\n")


def rows(name: str, config: Config) -> Any:
  """Compile for one number of chips after another."""
  import importlib.metadata

  from experiments.pod import analysis, chips
  from experiments.pod.__main__ import Config as Single
  from experiments.pod.__main__ import calls
  from experiments.pod.capture import intercept
  from experiments.pod.findings import findings

  intercept()
  own = [*config.flags.split(), *([f"--data_dir={config.data_dir}"] if config.data_dir else [])]
  for count in config.chips:
    topology = TOPOLOGIES[count]
    target = chips.target(topology)
    for call in calls(Single(program=config.program), name, own, count):
      program = call.program(target.devices)
      found, jaxpr, _ = analysis.program_cost(program, target.platform)
      least = analysis.roofline(found, target.chip)
      yield {
        "experiment": name,
        "program": call.name,
        "asked": config.program or "",
        "flags": config.flags,
        "chips": count,
        "topology": topology,
        "batch_per_chip": call.config.batch_size // count,
        **{f: getattr(found, f) for f in ("params", "opt_state", "model_state", "data")},
        **{f: getattr(found, f) for f in ("temporaries", "memory", "sent", "flops", "accessed")},
        "collectives": sent_by_kind(found.collectives),
        "seconds": least.seconds,
        "bound": least.bound,
        "utilisation": least.utilisation,
        "warnings": findings(
          found, jaxpr, program.args[0], batch_size=call.config.batch_size, large=2**20
        ),
        "compile_seconds": round(found.compile_seconds, 1),
        "versions": {p: importlib.metadata.version(p) for p in ("jax", "libtpu")},
      }


def sent_by_kind(exchanged: Sequence[Any]) -> dict[str, float]:
  """Bytes that leave a chip by each kind of collective."""
  return {
    kind: sum(c.sent for c in exchanged if c.kind == kind)
    for kind in sorted({c.kind for c in exchanged})
  }
