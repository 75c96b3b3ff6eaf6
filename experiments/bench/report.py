"""One table of all recorded speeds; `python -m experiments.bench report` writes it beside the results."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from experiments.harness.cli import EXPERIMENTS

FOLDER = EXPERIMENTS / "results" / "bench"
HEAD = """# Speed, beside what people use today

Made by `python -m experiments.bench report` from the results beside it; the command that measures each is in
its module's docstring (`python -m experiments.bench NAME --help`). Ratios are of sides that took turns on one
machine: all cores, float32, medians. Ratios below their goal are bold. Memory is the most that a process had,
what a kernel added to it or, where it says so, what a compiled program sets aside. The first call compiles.

| benchmark | work | ours | peer | ratio | goal | memory, ours / peer | first call, s | machine | commit |
|---|---|---:|---|---:|---:|---|---|---|---|
"""


class Row(NamedTuple):
  """One line: what was done, in how long, and by whom else."""

  work: str
  ours: str
  peer: str
  ratio: float | None
  goal: float | None
  memory: str = ""
  first: str = ""


Found = Mapping[str, Any]


def beside(sides: Found, peer: str, ours: str = "ours") -> tuple[str, str]:
  """Peak memory, and seconds of the first call, of two processes."""
  pair = [sides[name] for name in (ours, peer)]
  memory = " / ".join(f"{side['peak_rss_mib']:,.0f}" for side in pair) + " MiB"
  return memory, " / ".join(f"{side['first_seconds']:.2g}" for side in pair)


def training(work: str) -> Callable[[Found], Iterator[Row]]:
  """Rows of a benchmark of whole training loops."""

  def rows(found: Found) -> Iterator[Row]:
    rates = found["median_images_per_second"]
    for peer, ratio in found["median_ratios"].items():
      goal = found["goals"].get(peer)
      times = f"{rates['ours']:,.0f} images/s", f"{peer}: {rates[peer]:,.0f} images/s"
      yield Row(work, *times, ratio, goal, *beside(found["sides"], peer))

  return rows


def kernels(found: Found) -> Iterator[Row]:
  """Rows of `kernel_speed`: each form of ours beside the peer."""
  for name, kernel in found["kernels"].items():
    peer = kernel["sides"]["peer"]
    for side, row in kernel["sides"].items():
      if side != "peer":
        memory = f"{row['added_mib']:,.0f} / {peer['added_mib']:,.0f} MiB"
        times = (f"{s['milliseconds']:,.1f} ms" for s in (row, peer))
        form = side.removeprefix("ours").strip()
        _, first = beside(kernel["sides"], "peer", side)
        yield Row(f"{name} {form}".strip(), *times, row["ratio"], found["goal"], memory, first)


def contrastive(found: Found) -> Iterator[Row]:
  """Rows of `contrastive_speed`: blocks beside all pairs at once, both in JAX."""
  for size, row in found["timed"].items():
    work, ours = (
      f"NT-Xent of {int(size):,} pairs, value and gradient",
      f"{row['ours_seconds']:.2f} s",
    )
    if "dense_seconds" in row:
      peer, memory = f"plain JAX: {row['dense_seconds']:.2f} s", f"{row['dense_mib']:,.0f} MiB"
      yield Row(work, ours, peer, row["dense_over_ours"], 1.5, f"{row['ours_mib']:,.0f} / {memory}")
    else:
      yield Row(work, ours, "not run", None, None, f"{row['ours_mib']:,.0f} / - MiB")


def quantizers(found: Found) -> Iterator[Row]:
  """Rows of `quantize_speed`."""
  mine = found["ours"]["forward_backward"]
  for name, peer in found["peers"].items():
    yield Row(
      f"VQ of {found['vectors']:,} vectors, {found['codes']:,} codes, forward and backward",
      f"{mine['seconds']:.2f} s",
      f"{name}: {peer['seconds']:.1f} s",
      peer["seconds"] / mine["seconds"],
      1.5,
      f"{mine['temporary_mib']:.0f} (temporary) / {peer['peak_rss_mib']:,.0f} MiB (process)",
    )


def sampling(found: Found) -> Iterator[Row]:
  """Rows of `ddim_speed`; of a peer's layouts, the one in which it does best beside us."""
  for network, row in found["networks"].items():
    ratio = {side: statistics.median(values) for side, values in row["ours_over"].items()}
    for peer in ("diffusers", "bare"):
      goal = {("unet", "diffusers"): 1.5, ("mlp", "bare"): 1.0}.get((network, peer))
      times = row["seconds"]
      side = min((name for name in ratio if name.startswith(peer)), key=ratio.__getitem__)
      yield Row(
        f"DDIM, 50 steps, {network}",
        f"{1e3 * times['ours']:,.0f} ms",
        f"{side}: {1e3 * times[side]:,.0f} ms",
        ratio[side],
        goal,
        *beside(row["sides"], side),
      )


def scores(found: Found) -> Iterator[Row]:
  """Rows of `disentanglement_speed`: all scores, and one by one."""
  both = [name for name in found["ours"] if name in found["theirs"]]
  total = lambda side: sum(found[side][name]["seconds"] for name in both)
  times = (f"{total(side):.2f} s" for side in ("ours", "theirs"))
  yield Row(f"all {len(both)} scores below", *times, total("theirs") / total("ours"), 1.5)
  for name, mine in found["ours"].items():
    if peer := found["theirs"].get(name):
      times = (f"{1e3 * side['seconds']:,.2f} ms" for side in (mine, peer))
      yield Row(f"{name}, 10,000 x 10 codes", *times, peer["seconds"] / mine["seconds"], None)


def checkpoints(found: Found) -> Iterator[Row]:
  """Rows of `checkpoint_speed`."""
  for what, row in found["rows"].items():
    work = f"checkpoint of {found['mib']} MiB, {'blocked' if what == 'save' else 'read'}"
    times = (
      f"{side}{row['seconds'][name]:.2f} s" for name, side in (("ours", ""), ("torch", "torch: "))
    )
    yield Row(work, *times, row["ratio"], found["goal"] if what == "save" else None)


def pipelines(found: Found) -> Iterator[Row]:
  """Rows of `data_speed`."""
  rates = found["median_images_per_second"]
  for name, ratio in found["median_ratios"].items():
    peer = found["peers"][name]
    times = f"{rates[name]:,.0f} images/s", f"{peer}: {rates[peer]:,.0f} images/s"
    work = f"MNIST to float batches on the device, {name}"
    yield Row(work, *times, ratio, found["goal"], *beside(found["sides"], peer, name))


def startup(found: Found) -> Iterator[Row]:
  """The row of `startup_speed`; its goal is of seconds."""
  ours, peer = found["seconds"]["ours"], found["seconds"].get("torch", float("nan"))
  work = f"start-up to the first step, goal under {found['goal_seconds']:g} s"
  first = " / ".join(f"{found['first'].get(name, float('nan')):.2g}" for name in ("ours", "torch"))
  yield Row(work, f"{ours:.2f} s", f"torch: {peer:.2f} s", peer / ours, None, "", first)


ROWS: dict[str, Callable[[Found], Iterator[Row]]] = {
  "vae_mlp": training("MLP VAE, end to end"),
  "vae_conv": training("convolutional VAE, end to end"),
  "iwae_k50": training("IWAE, k = 50"),
  "kernel_speed": kernels,
  "contrastive_speed": contrastive,
  "quantize_speed": quantizers,
  "ddim_speed": sampling,
  "disentanglement_speed": scores,
  "data_speed": pipelines,
  "checkpoint_speed": checkpoints,
  "startup_speed": startup,
}


def table(folder: Path = FOLDER) -> str:
  """The page, from the results in a folder; those that are not there are left out."""
  lines = []
  for name, rows in ROWS.items():
    path = folder / f"{name}.json"
    if not path.is_file():
      continue
    found = json.loads(path.read_text())
    about = found.get("machine", {})
    where = f"{about['cpu']}, {about['cores']} cores" if about else "not recorded"
    for row in rows(found):
      missed = row.goal is not None and row.ratio is not None and row.ratio < row.goal
      figure = "" if row.ratio is None else f"{row.ratio:.2f}"
      ratio = f"**{figure}**" if missed else figure
      goal = "" if row.goal is None else f"{row.goal:g}"
      cells = (name, row.work, row.ours, row.peer, ratio, goal, row.memory, row.first, where)
      lines.append(f"| {' | '.join(cells)} | {found.get('git', '')[:12]} |")
  return HEAD + "\n".join(lines) + "\n"


def main() -> int:
  """Write the page."""
  (FOLDER / "README.md").write_text(table())
  print(f"written to {(FOLDER / 'README.md').relative_to(EXPERIMENTS.parent)}")
  return 0
