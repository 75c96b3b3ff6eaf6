"""The other side of `disentanglement_speed`: `DATA.npz ROUNDS`, one JSON object of values and seconds.

NumPy and scikit-learn as disentanglement_lib and the authors' programs use them, written anew from the
definitions: that library needs TensorFlow 1.14 and cannot be installed any more. One column, class, pair or
vote after the other, as there. For the scores that draw examples the encoder is a table: rows of the data,
which is less work than any encoder.
"""

import json
import sys
import time
from collections.abc import Callable

import numpy as np
from scipy import linalg
from sklearn.feature_selection import mutual_info_classif
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, mutual_info_score, roc_auc_score
from sklearn.svm import LinearSVC


def bins(columns: np.ndarray, num_bins: int) -> np.ndarray:
  """Of equal width."""
  edges = [np.histogram(column, num_bins)[1][:-1] for column in columns.T]
  return np.stack([np.digitize(c, e) for c, e in zip(columns.T, edges)], axis=1)


def information(a: np.ndarray, b: np.ndarray) -> np.ndarray:
  """Of every pair of columns."""
  return np.array([[mutual_info_score(y, x) for y in b.T] for x in a.T])


def entropies(v: np.ndarray) -> np.ndarray:
  """Of every column."""
  return np.array([mutual_info_score(column, column) for column in v.T])


def mig(z: np.ndarray, v: np.ndarray) -> float:
  """Chen et al. 2018."""
  table = np.sort(information(bins(z, 20), v), axis=0)
  return float(np.mean((table[-1] - table[-2]) / entropies(v)))


def dmig(z: np.ndarray, v: np.ndarray) -> float:
  """Watcharasupat & Lerch 2021, information by frequencies; the mean over the factors."""
  table, heights = information(bins(z, 20), v), entropies(v)
  own, out = table.argmax(axis=0), []
  for f, column in enumerate(table.T):
    runner_up = np.argsort(column)[-2]
    others = [g for g in range(len(own)) if own[g] == runner_up and g != f]
    shared = max(others, key=lambda g: table[runner_up, g]) if others else None
    known = 0.0 if shared is None else mutual_info_score(v[:, f], v[:, shared])
    out.append((column.max() - column[runner_up]) / (heights[f] - known))
  return float(np.mean(out))


def dcimig(z: np.ndarray, v: np.ndarray) -> float:
  """Sepliarskaia et al. 2019."""
  table = information(bins(z, 10), v)
  best = np.zeros(v.shape[1])
  for row in table:
    f = row.argmax()
    best[f] = max(best[f], row[f] - np.sort(row)[-2])
  return float(best.sum() / entropies(v).sum())


def modularity(z: np.ndarray, v: np.ndarray) -> float:
  """Ridgeway & Mozer 2018."""
  squares = np.square(information(bins(z, 20), v))
  largest = squares.max(axis=1)
  rest = (squares.sum(axis=1) - largest) / (largest * (v.shape[1] - 1))
  return float(np.mean(np.where(largest > 0, 1 - rest, 0)))


def infomec(z: np.ndarray, v: np.ndarray) -> float:
  """Hsu et al. 2023: the mean of its three numbers, for latents that are all active."""
  heights = entropies(v)
  nmi = np.array([mutual_info_classif(z, s, n_neighbors=10, random_state=0) for s in v.T])
  nmi /= heights[:, None]
  above = lambda share, n: (share.mean() - 1 / n) / (1 - 1 / n)
  modular = above(nmi.max(axis=0) / nmi.sum(axis=0), len(nmi))
  compact = above(nmi.max(axis=1) / nmi.sum(axis=1), nmi.shape[1])
  z = (z - z.mean(axis=0)) / z.std(axis=0)
  fits = [LogisticRegression(C=np.inf, max_iter=500).fit(z, s).predict_proba(z) for s in v.T]
  losses = np.array([log_loss(s, fit) for s, fit in zip(v.T, fits)])
  return float((modular + compact + np.mean(1 - losses / heights)) / 3)


def explicitness(z: np.ndarray, v: np.ndarray) -> float:
  """Ridgeway & Mozer 2018: of the scores of each value against the rest, from -1 to 1."""
  z = (z - z.mean(axis=0)) / z.std(axis=0)
  areas = []
  for s in v.T:
    fit = LogisticRegression(max_iter=500).fit(z, s).predict_log_proba(z)
    odds = fit - np.log(-np.expm1(np.minimum(fit, -1e-12)))
    areas.append(
      np.mean([roc_auc_score(s == value, odds[:, value]) for value in range(s.max() + 1)])
    )
  return float(2 * np.mean(areas) - 1)


def top_gap(table: np.ndarray) -> float:
  """Between the two best rows."""
  table = np.sort(table, axis=0)
  return float(np.mean(table[-1] - table[-2]))


def sap(z: np.ndarray, v: np.ndarray) -> float:
  """Kumar et al. 2017, discrete; the last third is the test."""
  cut = len(z) * 2 // 3
  machine = lambda: LinearSVC(C=0.01, class_weight="balanced")
  judge = lambda x, y: machine().fit(x[:cut, None], y[:cut]).score(x[cut:, None], y[cut:])
  return top_gap(np.array([[judge(x, y) for y in v.T] for x in z.T]))


def sap_continuous(z: np.ndarray, v: np.ndarray) -> float:
  """Kumar et al. 2017, continuous."""
  return top_gap(np.array([[np.corrcoef(x, y)[0, 1] ** 2 for y in v.T] for x in z.T]))


def irs(z: np.ndarray, v: np.ndarray) -> float:
  """Suter et al. 2019."""
  v = bins(v, 20)
  largest = np.abs(z - z.mean(axis=0)).max(axis=0)
  moved = np.zeros((v.shape[1], z.shape[1]))
  for f, factor in enumerate(v.T):
    values = np.unique(factor)
    for value in values:
      rows = z[factor == value]
      moved[f] += np.percentile(np.abs(rows - rows.mean(axis=0)), 99, axis=0) / len(values)
  return float(np.average(1 - moved.min(axis=0) / largest, weights=largest))


def total_correlation(z: np.ndarray, v: np.ndarray) -> float:
  """Of a Gaussian fit."""
  covariance = np.cov(z, rowvar=False)
  return float(0.5 * (np.log(np.diag(covariance)).sum() - np.linalg.slogdet(covariance)[1]))


def wasserstein_correlation(z: np.ndarray, v: np.ndarray) -> float:
  """Of a Gaussian fit."""
  covariance = np.cov(z, rowvar=False)
  root = linalg.sqrtm(covariance * np.diag(covariance)[:, None])
  return float(2 * np.trace(covariance) - 2 * np.trace(root).real)


class Sampler:
  """Examples with a factor fixed, from the rows of the data."""

  def __init__(self, v: np.ndarray) -> None:
    self.rng, self.v = np.random.default_rng(0), v
    self.rows = [[np.flatnonzero(s == value) for value in range(s.max() + 1)] for s in v.T]

  def draw(self) -> tuple[int, np.ndarray]:
    """A factor, and 64 rows."""
    return self.rng.integers(self.v.shape[1]), self.rng.integers(len(self.v), size=64)

  def like(self, f: int, values: np.ndarray) -> np.ndarray:
    """Rows with these values of the factor."""
    groups, shares = self.rows[f], self.rng.uniform(size=len(values))
    return np.array([groups[s][int(u * len(groups[s]))] for s, u in zip(values, shares)])


def beta_vae_score(z: np.ndarray, v: np.ndarray) -> float:
  """Higgins et al. 2017."""
  sampler, points, labels = Sampler(v), [], []
  for _ in range(15_000):
    f, first = sampler.draw()
    second = sampler.like(f, v[first, f])
    points.append(np.mean(np.abs(z[first] - z[second]), axis=0))
    labels.append(f)
  x, y = np.array(points), np.array(labels)
  return float(LogisticRegression().fit(x[:10_000], y[:10_000]).score(x[10_000:], y[10_000:]))


def factor_vae_score(z: np.ndarray, v: np.ndarray) -> float:
  """Kim & Mnih 2018."""
  sampler, scale = Sampler(v), np.var(z, axis=0, ddof=1)
  votes = np.zeros((2, z.shape[1], v.shape[1]), np.int64)
  for i in range(15_000):
    f, first = sampler.draw()
    group = sampler.rows[f][v[first[0], f]]
    rows = group[sampler.rng.integers(len(group), size=64)]
    votes[int(i >= 10_000), np.argmin(np.var(z[rows], axis=0, ddof=1) / scale), f] += 1
  chosen = votes[0].argmax(axis=1)
  return float(votes[1][np.arange(len(chosen)), chosen].sum() / votes[1].sum())


SCORES: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
  fn.__name__: fn
  for fn in (
    mig,
    dmig,
    dcimig,
    modularity,
    infomec,
    explicitness,
    sap,
    sap_continuous,
    irs,
    total_correlation,
    wasserstein_correlation,
    beta_vae_score,
    factor_vae_score,
  )
}


def main() -> None:
  """Time every score: the least of some calls, or one call if it takes a second."""
  with np.load(sys.argv[1]) as data:
    z, v = data["codes"].astype(np.float64), data["factors"]
  found = {}
  for name, score in SCORES.items():
    wall: list[float] = []
    cpu: list[float] = []
    while not cpu or (len(cpu) < int(sys.argv[2]) and cpu[0] < 1):
      start, start_cpu = time.perf_counter(), time.process_time()
      value = score(z, v)
      wall.append(time.perf_counter() - start)
      cpu.append(time.process_time() - start_cpu)
    found[name] = {"value": value, "seconds": min(wall), "cpu_seconds": min(cpu), "calls": len(cpu)}
  print(json.dumps(found))


if __name__ == "__main__":
  main()
