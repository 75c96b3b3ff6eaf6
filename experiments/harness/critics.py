"""Critics of pairs: scores (B, B) of all pairs of a batch, joint samples on the diagonal."""

from __future__ import annotations

import flax.linen as nn
import jax

from latentjax.models import MLP


class JointCritic(nn.Module):
  """One network of both members; its first layer is a sum over them, so made once for each row.

  Attributes:
    hidden: widths of the hidden layers, at least one.
  """

  hidden: tuple[int, ...]

  @nn.compact
  def __call__(self, x: jax.Array, y: jax.Array) -> jax.Array:
    h = nn.Dense(self.hidden[0])(x)[:, None] + nn.Dense(self.hidden[0], use_bias=False)(y)
    for width in self.hidden[1:]:
      h = nn.Dense(width)(nn.relu(h))
    return nn.Dense(1)(nn.relu(h))[..., 0]


class SeparableCritic(nn.Module):
  """Inner products of two networks' outputs.

  Attributes:
    features: dimension of the outputs.
    hidden: widths of the hidden layers of both.
  """

  features: int
  hidden: tuple[int, ...]

  @nn.compact
  def __call__(self, x: jax.Array, y: jax.Array) -> jax.Array:
    return MLP(self.features, self.hidden)(x) @ MLP(self.features, self.hidden)(y).T
