"""Images as whitened principal components: an auto-encoder that is linear and needs no training."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Components(NamedTuple):
  """Principal components of images in [0, 1].

  Attributes:
    mean: image, shape (H, W, C).
    basis: columns whose scores have mean 0 and variance 1, shape (H W C, D).
  """

  mean: np.ndarray
  basis: np.ndarray

  def encode(self, images: Any) -> Any:
    """Scores (N, D) of images (N, H, W, C)."""
    return (images - self.mean).reshape(len(images), -1) @ self.basis

  def decode(self, scores: Any) -> jax.Array:
    """Images (N, H, W, C), in [0, 1], of scores."""
    back = self.basis / np.sum(np.square(self.basis), axis=0)  # its columns are orthogonal
    return jnp.clip((scores @ back.T).reshape(-1, *self.mean.shape) + self.mean, 0, 1)


def fit_components(images: np.ndarray, dim: int) -> Components:
  """The components of greatest variance of images (N, H, W, C)."""
  values, vectors = np.linalg.eigh(np.cov(images.reshape(len(images), -1).T))
  basis = vectors[:, -dim:] / np.sqrt(values[-dim:])
  return Components(images.mean(axis=0), basis.astype(np.float32))
