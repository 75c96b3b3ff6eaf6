"""Chips to compile for: how many there are, and what one of them can do."""

from __future__ import annotations

import importlib.util
import math
import os
from collections.abc import Sequence
from typing import NamedTuple

import jax


class Chip(NamedTuple):
  """Rates of one chip, in units per second.

  Attributes:
    memory: bytes.
    flops: bfloat16 matrix products with float32 sums; TPUs round the factors of float32 products to it.
    bandwidth: bytes to and from memory.
    interconnect: bytes that leave a chip, and as many that arrive at the same time.
  """

  memory: float
  flops: float
  bandwidth: float
  interconnect: float


# Of the makers' data sheets: cloud.google.com/tpu/docs (v5e, v5p, v6e; half of the bandwidth that they call
# bidirectional), NVIDIA's of the H100 SXM (dense products).
CHIPS = {
  "v5e": Chip(16e9, 197e12, 819e9, 200e9),
  "v5p": Chip(95e9, 459e12, 2765e9, 600e9),
  "v6e": Chip(32e9, 918e12, 1640e9, 400e9),
  "gpu": Chip(80e9, 989e12, 3350e9, 450e9),
}


class Target(NamedTuple):
  """Devices to compile for.

  Attributes:
    name: such as "v5e:16x16", "gpu:8", "cpu:8".
    chip: what one can do; None where nobody says.
    devices: to make a mesh of.
    platform: to lower for.
  """

  name: str
  chip: Chip | None
  devices: Sequence[jax.Device]
  platform: str


def parse(topology: str) -> tuple[str, int]:
  """Kind of chip and how many.

  Raises:
    ValueError: unless it reads like v5e:16x16, gpu:8 or cpu:8.
  """
  kind, _, sizes = topology.partition(":")
  numbers = [int(n) if n.isdigit() else 0 for n in sizes.split("x")]
  known = [*CHIPS, "cpu"]
  if kind not in known or min(numbers) < 1:
    raise ValueError(
      f"topology: got {topology!r}, wanted KIND:SIZES, KIND one of {', '.join(known)}"
    )
  return kind, math.prod(numbers)


def target(topology: str) -> Target:
  """The devices of a topology; ask before anything else has touched a device.

  TPUs are described by the libtpu wheel and need not be there. For "gpu" and "cpu" simulated devices of
  the host stand in: the program is partitioned in the same way, and fused for the host.

  Raises:
    ValueError: for a topology that does not exist, without libtpu where it is wanted, or for more host
      devices than were asked for in time.
  """
  kind, count = parse(topology)
  if kind in ("cpu", "gpu"):
    devices = jax.devices("cpu")
    if len(devices) < count:
      raise ValueError(
        f"topology: got {topology!r}, wanted at most the {len(devices)} host devices"
      )
    return Target(topology, CHIPS.get(kind), devices[:count], "cpu")
  if importlib.util.find_spec("libtpu") is None:
    raise ValueError(
      f"topology: got {topology!r}, wanted the libtpu wheel with it: python -m pip install "
      "-c constraints.txt -e '.[tpu]' (no TPU is needed), or gpu:8 or cpu:8, which need none"
    )
  from jax.experimental import topologies

  os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")  # ask no metadata server what TPU this is
  os.environ.setdefault(
    "ALLOW_MULTIPLE_LIBTPU_LOAD", "1"
  )  # no TPU is used, so none has to be shared
  # A host has four chips at least; one chip is one of theirs.
  name = f"{kind}:2x2" if count == 1 else topology
  if kind == "v5p":
    name = f"{kind}:2x2x1" if count == 1 else topology
  try:
    devices = topologies.get_topology_desc(name, "tpu").devices
  except Exception as error:
    raise ValueError(f"topology: got {topology!r}, wanted one that libtpu has: {error}") from error
  return Target(topology, CHIPS[kind], devices[:count], "tpu")
