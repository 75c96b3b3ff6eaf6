"""Pictures of a run as PNG files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np


def _figure(width: float, height: float) -> Any:
  from matplotlib.figure import Figure  # no pyplot: no backend, no global state

  return Figure(figsize=(width, height), dpi=150, layout="constrained")


def save(figure: Any, path: Path) -> None:
  """Write a figure, by the first of several processes: the others have made the same."""
  import jax

  if jax.process_index() == 0:
    figure.savefig(path)


def image_grid(
  path: Path,
  rows: Sequence[np.ndarray],
  *,
  title: str,
  labels: Sequence[str] | None = None,
) -> None:
  """Save rows of images.

  Args:
    path: PNG file.
    rows: each an array (n, H, W, C) with values in [0, 1], C = 1 (drawn black on white) or 3.
    title: above the grid.
    labels: one for each row, at its left.
  """
  height, width, channels = rows[0].shape[1:]
  gap = max(1, height // 8)
  columns = max(len(row) for row in rows)
  canvas = np.ones((len(rows) * (height + gap), columns * (width + gap), channels), np.float32)
  for r, row in enumerate(rows):
    for c, image in enumerate(np.clip(np.asarray(row, np.float32), 0.0, 1.0)):
      top, left = r * (height + gap), c * (width + gap)
      canvas[top : top + height, left : left + width] = 1.0 - image if channels == 1 else image
  canvas = canvas[:-gap, :-gap]
  inches = 0.6 / (width + gap)
  margin = 0.3 + 0.07 * max(map(len, labels)) if labels else 0.2
  figure = _figure(inches * canvas.shape[1] + margin, inches * canvas.shape[0] + 0.6)
  axes = figure.subplots()
  axes.imshow(
    canvas.squeeze(-1) if channels == 1 else canvas,
    cmap="gray",
    vmin=0,
    vmax=1,
    interpolation="nearest",
  )
  axes.set(xticks=[], yticks=[], frame_on=False)
  if labels:
    axes.set_yticks([r * (height + gap) + height / 2 for r in range(len(rows))], labels, fontsize=9)
    axes.tick_params(left=False)
  figure.suptitle(title, fontsize=11)
  save(figure, path)


def curves(
  path: Path,
  lines: Mapping[str, tuple[np.ndarray, np.ndarray]],
  *,
  title: str,
  x_label: str,
  y_label: str,
  reference: Mapping[str, float] | None = None,
) -> None:
  """Save curves.

  Args:
    path: PNG file.
    lines: for each name, x of shape (n,) and y of shape (n,) or (n, replicas); of replicas the mean and
      the range are drawn.
    title: above the picture.
    x_label: of the x axis.
    y_label: of the y axis.
    reference: named horizontal lines.
  """
  figure = _figure(6.4, 4.0)
  axes = figure.subplots()
  for name, (x, y) in lines.items():
    y = np.asarray(y, np.float64).reshape(len(x), -1)
    (line,) = axes.plot(
      x, y.mean(axis=1), label=name, linewidth=1.5, marker="o" if len(x) < 20 else "", markersize=3
    )
    if y.shape[1] > 1:
      axes.fill_between(x, y.min(axis=1), y.max(axis=1), alpha=0.25, color=line.get_color())
  for name, value in (reference or {}).items():
    axes.axhline(value, linestyle="--", linewidth=1, color="gray", label=name)
  # The first steps fall from far away and would flatten the rest.
  every = np.concatenate([np.ravel(y) for _, y in lines.values()])
  low, high = np.percentile(every, [1, 97]) if len(every) > 50 else (every.min(), every.max())
  margin = 0.08 * (high - low) + 1e-9
  axes.set(title=title, xlabel=x_label, ylabel=y_label, ylim=(low - margin, high + margin))
  axes.grid(alpha=0.3)
  axes.legend(frameon=False)
  save(figure, path)


def panels(
  path: Path,
  rows: Sequence[Mapping[str, Mapping[str, tuple[np.ndarray, np.ndarray]]]],
  *,
  title: str,
  x_label: str,
  y_label: str,
  y_range: tuple[float, float],
  reference: tuple[np.ndarray, np.ndarray] | None = None,
) -> None:
  """Save rows of panels of curves, all with the same axes.

  Args:
    path: PNG file.
    rows: panels by their titles, each a set of named curves (x, y) as `curves` takes them.
    title: above the picture.
    x_label: of the x axes.
    y_label: of the y axes.
    y_range: lowest and highest y shown.
    reference: x and y of a dashed curve in every panel.
  """
  figure = _figure(2.6 * len(rows[0]), 0.5 + 2.4 * len(rows))
  grid = figure.subplots(len(rows), len(rows[0]), squeeze=False, sharex=True, sharey=True)
  for line_of_axes, row in zip(grid, rows):
    for axes, (name, lines) in zip(line_of_axes, row.items()):
      for label, (x, y) in lines.items():
        y = np.asarray(y, np.float64).reshape(len(x), -1)
        (drawn,) = axes.plot(x, y.mean(axis=1), label=label, linewidth=1.2)
        axes.fill_between(x, y.min(axis=1), y.max(axis=1), alpha=0.25, color=drawn.get_color())
      if reference is not None:
        axes.plot(*reference, linestyle="--", linewidth=1, color="black")
      axes.set_title(name, fontsize=9)
      axes.set_ylim(*y_range)
      axes.grid(alpha=0.3)
      axes.legend(frameon=False, fontsize=7)
  figure.supxlabel(x_label, fontsize=9)
  figure.supylabel(y_label, fontsize=9)
  figure.suptitle(title, fontsize=11)
  save(figure, path)


def scatter(
  path: Path,
  panels: Mapping[str, Mapping[str, tuple[np.ndarray, np.ndarray]]],
  *,
  title: str,
  x_label: str,
  y_label: str,
) -> None:
  """Save panels of named points.

  Args:
    path: PNG file.
    panels: by title; for each name x and y of its replicas, which are drawn with their mean.
    title: above the picture.
    x_label: of the x axes.
    y_label: of the y axes.
  """
  figure = _figure(5.2 * len(panels), 4.4)
  for axes, (name, points) in zip(
    figure.subplots(1, len(panels), squeeze=False)[0], panels.items()
  ):
    for label, (x, y) in points.items():
      (drawn,) = axes.plot(x, y, ".", markersize=4, alpha=0.5)
      axes.plot(np.mean(x), np.mean(y), "o", markersize=5, color=drawn.get_color())
      text = {"xytext": (5, 3), "textcoords": "offset points", "fontsize": 8}
      axes.annotate(label, (np.mean(x), np.mean(y)), color=drawn.get_color(), **text)
    axes.set(title=name, xlabel=x_label, ylabel=y_label)
    axes.margins(x=0.15)
    axes.grid(alpha=0.3)
  figure.suptitle(title, fontsize=11)
  save(figure, path)
