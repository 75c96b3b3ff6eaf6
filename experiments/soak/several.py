"""Several processes on one folder: killed, stopped, terminated, refused, and other numbers of devices."""

from __future__ import annotations

import shutil
import signal
import time
from pathlib import Path
from typing import Any

from experiments.soak.lives import (
  DEADLINE_S,
  Outcome,
  Place,
  end,
  end_all,
  last_line,
  newest,
  pair,
  reached,
  start,
  wait_until,
  whole,
  whole_pair,
)
from experiments.soak.run import STEPS, log

COUNTS = (1, 2, 4, 8)
PAIR = {
  "steps": 200,
  "checkpoint_every": 50,
}  # shorter: two processes wait for each other at every save
MODES: dict[str, dict[str, Any]] = {
  "jit, replicated": {},
  "jit, split": {"sharding": "fsdp"},
  "pmap": {"parallel": "pmap"},
}


def two_runs_on_one_folder(place: Place) -> Outcome:
  """The second is refused at once, the first does not notice."""
  folder = place.root / "taken"
  shutil.rmtree(folder, ignore_errors=True)
  seconds, refused = 0.0, 0
  first = start(place, folder)
  wait_until(lambda: reached(folder) > 0, first, pause=0.002)
  first.send_signal(signal.SIGSTOP)  # or it might end before the second has started
  for _ in range(2):
    begin = time.monotonic()
    _, said = end(start(place, folder), status=1)
    seconds = max(seconds, time.monotonic() - begin)
    refused += "another run is using it right now" in last_line(said)
  first.send_signal(signal.SIGCONT)
  printed = end(first)[0][-1]
  same = log(folder) == log(place.root / "unbroken") and printed["steps_run"] == STEPS
  return Outcome(
    "two runs on one folder",
    "started in the middle of the first",
    2,
    f"{refused} of 2 refused: {last_line(said)}; the first {'unharmed' if same else 'HARMED'}",
    seconds,
    refused == 2 and same,
  )


def _break_pair(
  place: Place, folder: Path, victim: int, signals: signal.Signals
) -> tuple[float, int, str]:
  """Kill or stop one of two processes: seconds until the other has ended, its status, its last words."""
  processes = pair(place, folder, **PAIR)
  wait_until(lambda: newest(folder) >= 50, processes[0], pause=0.002)
  processes[victim].send_signal(signals)
  begin = time.monotonic()
  survivor = processes[1 - victim]
  try:
    _, said = end(survivor, status=None)
  finally:
    seconds = time.monotonic() - begin
    processes[victim].kill()
    processes[victim].communicate(timeout=DEADLINE_S)
  return seconds, survivor.returncode, said


def one_of_two_processes_is_lost(place: Place) -> list[Outcome]:
  """Killed or stopped, the first or the second: the other ends by itself, and both go on."""
  folder = place.root / "pair"
  shutil.rmtree(folder, ignore_errors=True)
  expected = whole_pair(place, folder, **PAIR)
  rows = []
  for which, verb in ((signal.SIGKILL, "killed"), (signal.SIGSTOP, "stopped")):
    seconds, good, says = [], 0, ""
    for victim in (0, 1):
      broken = place.root / f"pair_{verb}_{victim}"
      shutil.rmtree(broken, ignore_errors=True)
      waited, status, said = _break_pair(place, broken, victim, which)
      clear = status != 0 and "another task died" in said
      kept = newest(broken)
      printed = whole_pair(place, broken, **PAIR)
      same = printed["fingerprints"] == expected["fingerprints"] and log(broken) == log(folder)
      good += clear and same and printed["steps_run"] == PAIR["steps"] - kept
      seconds.append(waited)
      says = next((s for s in said.splitlines() if "another task died" in s), last_line(said))
    rows.append(
      Outcome(
        f"one of two processes is {verb}",
        f"{which.name} to the first, and to the second, of two that talk through gloo",
        2,
        f"the other ended in {max(seconds):.0f} s (heartbeat 10 s): "
        f"{says.partition('] ')[2][:140]}; {good} of 2 pairs then ended bit-identical",
        max(seconds),
        good == 2,
      )
    )
  return rows


def terminated_together(place: Place) -> Outcome:
  """SIGTERM to both: one checkpoint of one step, and they go on from it."""
  # Long: jax looks once a second for the signal, and then the two agree on where to stop.
  long = {"steps": 1000, "checkpoint_every": 250}
  moments = (50, 100)  # steps
  good, seconds, times = 0, 0.0, len(moments)
  unbroken = place.root / "terminated"
  shutil.rmtree(unbroken, ignore_errors=True)
  whole_pair(place, unbroken, **long)
  for moment in moments:
    folder = place.root / f"terminated_{moment}"
    shutil.rmtree(folder, ignore_errors=True)
    processes = pair(place, folder, **long)
    wait_until(lambda: reached(folder) > moment, processes[0], pause=0.002)  # noqa: B023
    begin = time.monotonic()
    for process in processes:
      process.send_signal(signal.SIGTERM)
    for process in processes:
      end(process)
    seconds = max(seconds, time.monotonic() - begin)
    stopped = reached(folder)
    printed = whole_pair(place, folder, **long)
    kept = printed["steps_run"] == long["steps"] - stopped
    good += kept and stopped < long["steps"] and log(folder) == log(unbroken)
  return Outcome(
    "SIGTERM to both processes",
    "preemption at two moments",
    times,
    f"{good} of {times}: both exit 0, one checkpoint of the step they stopped at, the rest as if "
    "nothing had been",
    seconds,
    good == times,
  )


def damaged_for_a_pair(place: Place) -> Outcome:
  """The newest checkpoint of two processes is damaged where one reads and where both do."""
  good, seconds, times = 0, 0.0, 0
  base = place.root / "split"
  shutil.rmtree(base, ignore_errors=True)
  expected = whole_pair(place, base, sharding="fsdp", **PAIR)
  for part in ("ocdbt.process_0", "ocdbt.process_1", "d"):
    folder = place.root / "damaged_pair"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(base, folder)
    for path in (folder / "checkpoints" / str(PAIR["steps"])).rglob("*"):
      inside = path.parent.name == "d" and part in (path.parent.parent.name, "d")
      if path.is_file() and inside:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 16
        path.write_bytes(content)
    begin = time.monotonic()
    printed = whole_pair(place, folder, sharding="fsdp", **PAIR)
    seconds = max(seconds, time.monotonic() - begin)
    times += 1
    whole_again = printed["steps_run"] in (0, PAIR["checkpoint_every"])
    good += whole_again and printed["fingerprints"] == expected["fingerprints"]
  return Outcome(
    "damaged checkpoint of two processes",
    "a bit of the arrays that one of them, or both, wrote",
    times,
    f"{good} of {times} went on from the one before, or did not need the file; bit-identical",
    seconds,
    good == times,
  )


def elastic(place: Place) -> Outcome:
  """Written on n devices, read on m, each in three ways; and by two processes and by one."""
  begin = time.monotonic()
  steps = {"steps": 100}
  written: dict[tuple[int, str], dict[str, Any]] = {}
  folder_of = lambda n, mode: place.root / "elastic" / f"{n}_{mode.replace(', ', '_')}"
  shutil.rmtree(place.root / "elastic", ignore_errors=True)
  for n in COUNTS:
    for mode, flags in MODES.items():
      written[n, mode] = whole(place, folder_of(n, mode), devices=n, **steps, **flags)
  two = place.root / "elastic" / "two_processes"
  written[0, "two processes"] = whole_pair(place, two, **steps, sharding="fsdp")
  sources = [folder_of(n, mode) if n else two for n, mode in written]
  good, times = 0, 0
  for m in COUNTS:
    for flags in MODES.values():
      found = end(start(place, sources, devices=m, **steps, **flags))[0]
      for printed, expected in zip(found, written.values(), strict=True):
        times += 1
        good += printed == {"steps_run": 0, "fingerprints": expected["fingerprints"]}
  found = end_all(pair(place, sources, **steps, sharding="fsdp"))
  for printed, expected in zip(found, written.values(), strict=True):
    times += 1
    good += printed == {"steps_run": 0, "fingerprints": expected["fingerprints"]}
  return Outcome(
    "other devices after a restart",
    "written on 1, 2, 4, 8 devices and two processes, read on each of these, jit (replicated, "
    "split) and pmap",
    times,
    f"{good} of {times} restored bit-identical, no step run",
    time.monotonic() - begin,
    good == times,
  )
