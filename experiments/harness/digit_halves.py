"""Digits as three modalities: the upper half, the lower half and the label."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from latentjax.data.transforms import dynamic_binarize
from latentjax.densities import bernoulli, categorical
from latentjax.models import mlp_vae
from latentjax.objectives import Modality

NAMES = ("top", "bottom", "label")
SHAPES = {"top": (4, 8, 1), "bottom": (4, 8, 1), "label": (10,)}


def split(key: jax.Array, example: dict[str, jax.Array]) -> dict[str, jax.Array]:
  """Binarised halves of an image next to its label."""
  example = dynamic_binarize(key, example)
  image = example.pop("image")
  return example | {"top": image[:4], "bottom": image[4:]}


def networks(latent_dim: int, hidden: int) -> tuple[Callable, Callable, dict[str, Modality]]:
  """`init_fn(key)`, a joint encoder, and the modalities with networks of one hidden layer."""
  joint = mlp_vae((74,), latent_dim, hidden=(hidden,))
  nets = {name: mlp_vae(SHAPES[name], latent_dim, hidden=(hidden,)) for name in NAMES}

  def as_float(name: str, x: jax.Array) -> jax.Array:
    return jax.nn.one_hot(x, 10) if name == "label" else x

  def modality(name: str) -> Modality:
    return Modality(
      lambda params, x: nets[name].encode_fn(params[name], as_float(name, x)),
      lambda params, z: nets[name].decode_fn(params[name], z),
      categorical if name == "label" else bernoulli,
    )

  def joint_encode_fn(params: Any, xs: Any) -> Any:
    flat = [as_float(name, xs[name]).reshape(xs[name].shape[0], -1) for name in NAMES]
    return joint.encode_fn(params["joint"], jnp.concatenate(flat, axis=1))

  def init_fn(key: jax.Array) -> tuple[Any, Any]:
    keys = jax.random.split(key, 4)
    params = {name: nets[name].init_fn(k) for name, k in zip(NAMES, keys)}
    return params | {"joint": {"encoder": joint.init_fn(keys[3])["encoder"]}}, ()

  return init_fn, joint_encode_fn, {name: modality(name) for name in NAMES}


def readers(arrays: Any) -> dict[str, Callable[[jax.Array], jax.Array]]:
  """For every modality the class that a generated one has: logistic regression on real halves."""
  from sklearn.linear_model import LogisticRegression

  def fit(first_row: int) -> Callable[[jax.Array], jax.Array]:
    halves = arrays["image"][:, first_row : first_row + 4].reshape(-1, 32) / 255
    fitted = LogisticRegression(max_iter=500).fit(halves, arrays["label"])
    weight, bias = jnp.asarray(fitted.coef_.T), jnp.asarray(fitted.intercept_)
    return lambda x: jnp.argmax(x.reshape(-1, 32) @ weight + bias, axis=1)

  return {"top": fit(0), "bottom": fit(4), "label": lambda probs: jnp.argmax(probs, axis=1)}
