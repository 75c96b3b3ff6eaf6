"""One run, on however many devices and processes, gives the same losses to float rounding."""

import os
import shutil
import signal
import socket
import subprocess
import sys

import numpy as np
import pytest
import runs

BASE = {"steps": 60, "batch_size": 16, "fused_steps": 10, "checkpoint_every": 30}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  return tmp_path_factory.mktemp("devices")


@pytest.fixture(scope="module")
def one_device(folder):
  runs.run(folder / "one", **BASE)
  return runs.logged(folder / "one")


def check_same(found: list[dict], expected: list[dict]) -> None:
  assert len(found) == len(expected) > 5
  for line, wanted in zip(found, expected):
    assert line.keys() == wanted.keys()
    for name in wanted:
      # The losses are sums of 36 terms of float32.
      np.testing.assert_allclose(line[name], wanted[name], rtol=2e-5, err_msg=f"{name}: {line}")


@pytest.mark.parametrize(
  "flags",
  [
    {"devices": 8},
    {"devices": 4, "parallel": "pmap", "stream": True, "num_workers": 1},
  ],
  ids=lambda flags: "-".join(map(str, flags.values())),
)
def test_devices(flags, folder, one_device):
  name = "-".join(map(str, flags.values()))
  runs.run(folder / name, **BASE | flags)
  check_same(runs.logged(folder / name), one_device)


def test_a_run_per_device_goes_on_on_other_devices(folder, one_device):
  """Four devices lose all after the first checkpoint, two go on from it, and eight find what these left."""
  name, flags = folder / "elastic", {**BASE, "parallel": "pmap"}
  runs.run(name, devices=4, **flags)
  shutil.rmtree(name / "checkpoints" / "60")
  on_two = runs.run(name, devices=2, **flags)
  assert on_two["steps_run"] == 30
  check_same(runs.logged(name), one_device)
  on_eight = runs.run(name, devices=8, **flags)
  assert on_eight == {"steps_run": 0, "fingerprints": on_two["fingerprints"]}


def test_two_processes_are_one_with_four_devices(folder, one_device):
  runs.finish_all(start_two(folder / "processes", **BASE, parallel="pmap"))
  check_same(runs.logged(folder / "processes"), one_device)


def test_two_processes_stop_at_the_same_step_and_one_goes_on(folder, one_device):
  # Long: jax looks once a second for the signal, and then the two agree on where to stop.
  config = BASE | {"steps": 600, "checkpoint_every": 200}
  stopped = start_two(folder / "terminated", **config)
  runs.send_at(stopped[0], folder / "terminated", BASE["steps"], signal.SIGTERM)
  stopped[1].send_signal(signal.SIGTERM)
  runs.finish_all(stopped)
  last = runs.reached(folder / "terminated")
  assert BASE["steps"] <= last < config["steps"], f"stopped at {last}"
  assert (folder / "terminated" / "checkpoints" / str(last)).is_dir(), (
    "no checkpoint where it stopped"
  )
  both = (losses(run)[:6] for run in (runs.logged(folder / "terminated"), one_device))
  check_same(*both)
  # Both go on from it and one is killed: the other says so and ends, and leaves a folder to go on from.
  killed = start_two(folder / "terminated", **config | {"checkpoint_every": 20})
  runs.send_at(killed[0], folder / "terminated", last + 50, signal.SIGSTOP)
  killed[1].kill()
  killed[0].send_signal(signal.SIGCONT)
  _, said = runs.finish(killed[0], status=-signal.SIGABRT)
  assert "another task died" in said
  runs.finish(killed[1], status=-signal.SIGKILL)
  kept = max(int(p.name) for p in folder.glob("terminated/checkpoints/*") if p.name.isdecimal())
  assert kept > last
  # One process with four devices goes on from it: the state was whole, and the same in both.
  finished = runs.run(folder / "terminated", devices=4, **config)
  assert finished["steps_run"] == config["steps"] - kept


def test_addresses_from_slurm():
  """The variables that SLURM sets for a task are all that it takes."""
  program = "import jax; from latentjax.training import initialize_distributed as join; join()"
  program += "; print(jax.process_index(), jax.process_count(), jax.device_count())"
  tasks = []
  for i in range(2):
    slurm = {
      "JOB_ID": os.getpid(),
      "STEP_NODELIST": "127.0.0.1",
      "NTASKS": 2,
      "PROCID": i,
      "LOCALID": i,
    }
    environment = {f"SLURM_{name}": str(value) for name, value in slurm.items()}
    environment |= {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": "", "PYTHONPATH": os.getcwd()}
    command = [sys.executable, "-c", program]
    tasks.append(
      subprocess.Popen(command, env=os.environ | environment, stdout=subprocess.PIPE, text=True)
    )
  said = [task.communicate(timeout=120)[0].split() for task in tasks]
  assert said == [["0", "2", "2"], ["1", "2", "2"]]


def losses(lines):
  """The lines of a log without its evaluations."""
  return [line for line in lines if "loss" in line]


def start_two(folder, **config):
  """Two processes with two devices each, which talk through gloo on the loopback address."""
  with socket.socket() as s:
    s.bind(("127.0.0.1", 0))
    address = f"127.0.0.1:{s.getsockname()[1]}"
  return [
    runs.start(
      folder,
      devices=2,
      distributed={
        "coordinator_address": address,
        "num_processes": 2,
        "process_id": i,
        "heartbeat_timeout_s": 10,
      },
      **config,
    )
    for i in range(2)
  ]
