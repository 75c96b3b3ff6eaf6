"""What experiments with discrete latent variables share: one run of a method, and how well clusters match."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from experiments.harness.config import Config
from latentjax.data import Dataset
from latentjax.data.transforms import to_float
from latentjax.training import train


def fit(
  config: Config,
  name: str,
  objective: Callable[..., Any],
  init_fn: Callable[[Any], Any],
  dataset: Dataset,
  *,
  model_state: Any = (),
  transform: Callable[..., Any] = to_float,
) -> Any:
  """Train one method into a folder of its own; returns the parameters of all replicas."""
  result = train(
    objective,
    lambda key: (init_fn(key), model_state),
    config.optimizer(),
    dataset,
    config,
    config.folder / name,
    transform=transform,
    name=name,
  )
  return result.state.eval_params


def hungarian_accuracy(labels: np.ndarray, clusters: np.ndarray) -> float:
  """Share of examples whose cluster, matched one to one with a class, is that of their label."""
  size = int(max(labels.max(), clusters.max())) + 1
  counts = np.zeros((size, size), int)
  np.add.at(counts, (clusters, labels), 1)
  return counts[linear_sum_assignment(-counts)].sum() / len(labels)


def kmeans_accuracy(labels: np.ndarray, points: np.ndarray, *, num_clusters: int) -> float:
  """`hungarian_accuracy` of k-means, the best of ten starts by its own criterion."""
  from sklearn.cluster import KMeans

  model = KMeans(num_clusters, n_init=10, random_state=0)
  return hungarian_accuracy(labels, model.fit_predict(points))
