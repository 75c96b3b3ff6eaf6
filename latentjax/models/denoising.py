"""What networks of diffusion models share: time and condition as features; and one for vectors."""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

__all__ = ["ConditionEmbedding", "DenoisingMLP", "time_features"]


def time_features(t: jax.Array, width: int) -> jax.Array:
  """Sines and cosines of times in [0, 1] at frequencies from 1,000 down to 0.1, (B,) to (B, width)."""
  if width % 2 or width < 4:
    raise ValueError(f"width must be even and at least 4, got {width}")
  frequency = 1000.0 * jnp.exp(-math.log(1e4) * jnp.linspace(0.0, 1.0, width // 2))
  angle = jnp.asarray(t, jnp.float32)[:, None] * frequency
  return jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], axis=-1)


class ConditionEmbedding(nn.Module):
  """Times (B,) and a condition to one vector (B, width) that all layers see.

  Attributes:
    width: of the vector, even.
    num_classes: of labels; label num_classes means no class. None: conditions are vectors.
    dtype: dtype of the computation; parameters are float32.
  """

  width: int
  num_classes: int | None = None
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, t: jax.Array, condition: jax.Array | None = None) -> jax.Array:
    """Embed.

    Args:
      t: times, shape (B,).
      condition: labels (B,), integer, if there are classes, where None is no class; otherwise
        vectors (B, C), or None.
    """
    h = nn.Dense(self.width, dtype=self.dtype)(time_features(t, self.width).astype(self.dtype))
    h = nn.Dense(self.width, dtype=self.dtype)(nn.silu(h))
    if self.num_classes is not None:
      if condition is None:
        condition = jnp.full(t.shape, self.num_classes)
      if condition.shape != t.shape or not jnp.issubdtype(condition.dtype, jnp.integer):
        raise ValueError(
          f"condition must be integer labels of shape {t.shape}, got {condition.dtype} {condition.shape}"
        )
      normal = nn.initializers.normal(0.02)
      embed = nn.Embed(self.num_classes + 1, self.width, dtype=self.dtype, embedding_init=normal)
      return h + embed(condition)
    if condition is None:
      return h
    return h + nn.Dense(self.width, dtype=self.dtype)(condition.astype(self.dtype))


class DenoisingMLP(nn.Module):
  """Noised data (B, ...) and times to a prediction of the same shape, float32.

  Residual layers that time and condition scale, shift and gate; at first it predicts 0.

  Attributes:
    width: of the layers, even.
    depth: number of residual layers.
    num_classes: see `ConditionEmbedding`.
    dtype: dtype of the computation; parameters and outputs are float32.
  """

  width: int = 256
  depth: int = 3
  num_classes: int | None = None
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array, t: jax.Array, condition: jax.Array | None = None) -> jax.Array:
    t = jnp.broadcast_to(t, x.shape[:1])
    embedding = ConditionEmbedding(self.width, self.num_classes, self.dtype)(t, condition)
    embedding = nn.silu(embedding)
    h = nn.Dense(self.width, dtype=self.dtype)(x.reshape(x.shape[0], -1))
    for _ in range(self.depth):
      shift, scale, gate = jnp.split(nn.Dense(3 * self.width, dtype=self.dtype)(embedding), 3, -1)
      normal = nn.LayerNorm(use_bias=False, use_scale=False, dtype=self.dtype)(h)
      inner = nn.Dense(2 * self.width, dtype=self.dtype)(normal * (1 + scale) + shift)
      h += gate * nn.Dense(self.width, dtype=self.dtype)(nn.silu(inner))
    h = nn.LayerNorm(dtype=self.dtype)(h)
    out = nn.Dense(math.prod(x.shape[1:]), dtype=self.dtype, kernel_init=nn.initializers.zeros)(h)
    return out.reshape(x.shape).astype(jnp.float32)
