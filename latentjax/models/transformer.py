"""Transformers over the patches of an image, some of which are missing."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

__all__ = ["PatchPredictor", "PatchTransformer"]


class PatchTransformer(nn.Module):
  """Patches (B, V, C) at positions (B, V) of a grid to features (B, V, width), float32.

  A pre-norm transformer with fixed sine and cosine positions. Patches that are left out cost nothing;
  those that `where` (B, V) excludes are not attended to, and what comes out at them means nothing.

  Attributes:
    grid: rows and columns of patches; positions count row by row.
    width: of the features, a multiple of 4 and of heads.
    depth: number of blocks.
    heads: attention heads.
    dtype: dtype of the computation; parameters and outputs are float32.
  """

  grid: tuple[int, int]
  width: int = 64
  depth: int = 3
  heads: int = 4
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(
    self, patches: jax.Array, positions: jax.Array, where: jax.Array | None = None
  ) -> jax.Array:
    x = nn.Dense(self.width, dtype=self.dtype)(patches)
    x += grid_positions(self.grid, self.width)[positions].astype(x.dtype)
    for _ in range(self.depth):
      x = Block(self.heads, self.dtype)(x, where)
    return nn.LayerNorm(dtype=self.dtype)(x).astype(jnp.float32)


class PatchPredictor(nn.Module):
  """Features (B, V, F) at positions to predictions (B, Q, features) at queries (B, Q), float32.

  A transformer over the features and one mask token for each query: the decoder of a masked
  autoencoder, or the predictor of I-JEPA. `where` (B, V + Q) excludes features and queries that only
  fill up a list: they are not attended to.

  Attributes:
    grid: rows and columns of patches; positions count row by row.
    features: entries of a prediction.
    width: of the tokens, a multiple of 4 and of heads.
    depth: number of blocks.
    heads: attention heads.
    dtype: dtype of the computation; parameters and outputs are float32.
  """

  grid: tuple[int, int]
  features: int
  width: int = 32
  depth: int = 1
  heads: int = 4
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(
    self,
    features: jax.Array,
    positions: jax.Array,
    queries: jax.Array,
    where: jax.Array | None = None,
  ) -> jax.Array:
    table = grid_positions(self.grid, self.width)
    seen = nn.Dense(self.width, dtype=self.dtype)(features)
    token = self.param("mask_token", nn.initializers.normal(0.02), (self.width,))
    asked = jnp.broadcast_to(token.astype(seen.dtype), (*queries.shape, self.width))
    places = jnp.concatenate([positions, queries], axis=1)
    x = jnp.concatenate([seen, asked], axis=1) + table[places].astype(seen.dtype)
    for _ in range(self.depth):
      x = Block(self.heads, self.dtype)(x, where)
    x = nn.LayerNorm(dtype=self.dtype)(x[:, positions.shape[1] :])
    return nn.Dense(self.features, dtype=self.dtype)(x).astype(jnp.float32)


class Block(nn.Module):
  """Attention to the tokens that count, then a layer of twice the width; both residual."""

  heads: int
  dtype: Any

  @nn.compact
  def __call__(self, x: jax.Array, where: jax.Array | None) -> jax.Array:
    mask = None if where is None else where[:, None, None, :]
    h = nn.LayerNorm(dtype=self.dtype)(x)
    x += nn.MultiHeadDotProductAttention(self.heads, dtype=self.dtype)(h, mask=mask)
    h = nn.LayerNorm(dtype=self.dtype)(x)
    h = nn.gelu(nn.Dense(2 * x.shape[-1], dtype=self.dtype)(h))
    return x + nn.Dense(x.shape[-1], dtype=self.dtype)(h)


def grid_positions(grid: tuple[int, int], width: int) -> jax.Array:
  """Sines and cosines of row and column at width / 4 frequencies each, shape (P, width)."""
  if width % 4:
    raise ValueError(f"width must be a multiple of 4, got {width}")
  frequency = 100.0 ** -(np.arange(width // 4) / (width // 4))
  places = np.indices(grid).reshape(2, -1, 1) * frequency
  table = np.concatenate([*np.sin(places), *np.cos(places)], axis=-1)
  return jnp.asarray(table, jnp.float32)
