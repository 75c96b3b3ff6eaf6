"""Encoders of two views with a critic and a bound on mutual information, or against a classifier."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

HALF = 14 * 28


class Couplings(nn.Module):
  """Bijective encoder of half images (B, 392): additive couplings of even and odd pixels.

  It starts close to the identity.
  """

  num_layers: int
  hidden: int

  @nn.compact
  def __call__(self, x: jax.Array, inverse: bool = False) -> jax.Array:
    small = nn.initializers.truncated_normal(1e-4)
    shifts = []
    for _ in range(self.num_layers):
      hidden = [nn.Dense(self.hidden), nn.relu, nn.Dense(self.hidden), nn.relu]
      shifts.append(nn.Sequential([*hidden, nn.Dense(HALF // 2, kernel_init=small)]))
    a, b = x[:, ::2], x[:, 1::2]
    for shift in reversed(shifts) if inverse else shifts:
      a, b = (b - shift(a), a) if inverse else (b, a + shift(b))
    return jnp.stack([a, b], axis=2).reshape(x.shape)


class Bilinear(nn.Module):
  """x' W y of all pairs."""

  @nn.compact
  def __call__(self, x: jax.Array, y: jax.Array) -> jax.Array:
    return x @ nn.Dense(x.shape[1], use_bias=False)(y).T


class InfoMax(NamedTuple):
  """Two encoders, a critic, a bound."""

  encoder: nn.Module
  critic: nn.Module
  bound: Callable

  def init(self, key: jax.Array) -> dict[str, Any]:
    key_top, key_bottom, key_critic = jax.random.split(key, 3)
    half = jnp.zeros((2, HALF))
    code, top = self.encoder.init_with_output(key_top, half)
    critic = self.critic.init(key_critic, code, code)
    return {"top": top, "bottom": self.encoder.init(key_bottom, half), "critic": critic}

  def value(self, params: Any, top: jax.Array, bottom: jax.Array, label: jax.Array) -> jax.Array:
    codes = self.encoder.apply(params["top"], top), self.encoder.apply(params["bottom"], bottom)
    return jnp.mean(self.bound(self.critic.apply(params["critic"], *codes)))


class Adversarial(NamedTuple):
  """An encoder against a linear classifier: it wants all classes to look as likely."""

  encoder: nn.Module
  classifier: nn.Module = nn.Dense(10)

  def init(self, key: jax.Array) -> dict[str, Any]:
    code, top = self.encoder.init_with_output(key, jnp.zeros((2, HALF)))
    return {"top": top, "classifier": self.classifier.init(key, code)}

  def value(self, params: Any, top: jax.Array, bottom: jax.Array, label: jax.Array) -> jax.Array:
    code, frozen = (
      self.encoder.apply(params["top"], top),
      jax.lax.stop_gradient(params["classifier"]),
    )
    classify = lambda classifier, code: jax.nn.log_softmax(self.classifier.apply(classifier, code))
    guess = classify(params["classifier"], jax.lax.stop_gradient(code))
    right = jnp.take_along_axis(guess, label[:, None], axis=1)
    return jnp.mean(right) + jnp.mean(classify(frozen, code))
