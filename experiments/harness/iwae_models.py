"""The models of Burda et al. (2016), with one and two stochastic layers, and the bounds that train them.

Two tanh layers of 200 units around 50 latents; with two layers of latents, of 100 and 50 units, two more tanh
layers of 100 units between them.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from latentjax import objectives
from latentjax.losses import importance
from latentjax.models import mlp_vae
from latentjax.models.mlp import MLPEncoder


def bounds(kind: str) -> dict[str, Any]:
  """The bounds that a kind ascends."""
  groups = lambda log_w: importance.miwae_bound(log_w.reshape(8, -1, log_w.shape[1]))
  mean = lambda log_w: jnp.mean(log_w, axis=0)
  return {
    "vae": {"bound": mean},
    "iwae": {},
    "miwae": {"bound": groups},
    "piwae": {"inference_bound": groups},
    "ciwae": {"bound": partial(importance.ciwae_bound, beta=0.05)},
  }[kind]


def build(name: str, data_mean: np.ndarray, axis_name: str | None) -> tuple[Any, Any, Any]:
  """Initialiser, model, and `(params, x) -> posterior means`, one array for each layer."""
  kind, k, layers = name.split("_")
  bottom = mlp_vae((28, 28, 1), 50 if layers == "1" else 100, data_mean=data_mean)
  common = {"num_samples": int(k), "axis_name": axis_name, **bounds(kind)}
  if layers == "1":
    model = objectives.iwae(bottom.encode_fn, bottom.decode_fn, latent_dim=50, **common)
    return bottom.init_fn, model, lambda params, x: (model.encode(params, x)[0],)
  up, down = MLPEncoder(50, (100, 100)), MLPEncoder(100, (100, 100))

  def init_fn(key: jax.Array) -> dict[str, Any]:
    keys = jax.random.split(key, 3)
    tops = {
      "up": up.init(keys[1], jnp.zeros((1, 100))),
      "down": down.init(keys[2], jnp.zeros((1, 50))),
    }
    return {**bottom.init_fn(keys[0]), **tops}

  encode_top: Any = lambda params, z: up.apply(params["up"], z)
  decode_top: Any = lambda params, z: down.apply(params["down"], z)
  model = objectives.hierarchical_iwae(
    (bottom.encode_fn, encode_top), (bottom.decode_fn, decode_top), latent_dim=50, **common
  )

  def means(params: Any, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    mean, log_scale = model.encode(params, x)
    eps = jax.random.normal(jax.random.key(2), (32, *mean.shape))
    top = jax.lax.map(lambda e: encode_top(params, mean + jnp.exp(log_scale) * e)[0], eps)
    return mean, jnp.mean(top, axis=0)

  return init_fn, model, means
