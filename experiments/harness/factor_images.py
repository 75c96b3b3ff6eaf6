"""Procedural images with known factors of variation, and how well a code's dimensions follow them."""

from __future__ import annotations

import itertools

import numpy as np

SIZES = (8, 8, 4, 3)  # number of values of x, y, size, shape
NAMES = ("x", "y", "size", "shape")
STRIDES = (96, 12, 3, 1)  # an image's index is the sum of factor times stride
ORDERED = (0, 1, 2)


def make() -> tuple[np.ndarray, np.ndarray]:
  """All combinations of the factors: images (N, 16, 16, 1), uint8, and factors (N, 4)."""
  factors = np.array(list(itertools.product(*map(range, SIZES))))
  x, y, size, shape = (factors[:, i, None, None] for i in range(4))
  rows, columns = np.mgrid[:16, :16]
  dx, dy = np.abs(columns - 4 - x * 8 / 7), np.abs(rows - 4 - y * 8 / 7)
  disc, square = np.hypot(dx, dy), np.maximum(dx, dy)
  cross = np.maximum(dx + dy, 3 * np.minimum(dx, dy))
  distance = np.choose(shape, [disc, square, cross])
  images = np.clip(2.0 + 0.6 * size - distance, 0, 1)
  return (255 * images[..., None]).astype(np.uint8), factors


def mutual_information_gap(z: np.ndarray, factors: np.ndarray, *, bins: int = 20) -> float:
  """Mean over factors v of (I(z_1; v) - I(z_2; v)) / H(v) for the two most informative latents."""
  return float(np.mean(information_gaps(z, factors, bins=bins)))


def information_gaps(z: np.ndarray, factors: np.ndarray, *, bins: int = 20) -> np.ndarray:
  """The gap of every factor; latents are binned by equal widths."""

  def entropy(*columns: np.ndarray) -> float:
    _, counts = np.unique(np.stack(columns), axis=1, return_counts=True)
    share = counts / counts.sum()
    return float(-(share * np.log(share)).sum())

  edges = [np.histogram_bin_edges(column, bins)[1:-1] for column in z.T]
  binned = [np.digitize(column, edge) for column, edge in zip(z.T, edges)]
  gaps = []
  for v in factors.T:
    information = sorted(entropy(b) + entropy(v) - entropy(b, v) for b in binned)
    gaps.append((information[-1] - information[-2]) / entropy(v))
  return np.array(gaps)


def sap(z: np.ndarray, factors: np.ndarray) -> float:
  """Mean over the ordered factors of the gap between the two latents with the largest R^2."""
  centred = z - z.mean(axis=0)
  gaps = []
  for v in factors.T[list(ORDERED)]:
    v = v - v.mean()
    squared = (centred.T @ v) ** 2 / ((centred**2).sum(axis=0) * (v**2).sum() + 1e-12)
    best = np.sort(squared)
    gaps.append(best[-1] - best[-2])
  return float(np.mean(gaps))
