"""Linear VAEs, plain, conditional and hierarchical, of data y of unit observation noise."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp

from latentjax.densities import gaussian


def encode(params: Any, y: jax.Array, x: jax.Array | None = None) -> tuple[jax.Array, jax.Array]:
  """Parameters of q(z|y) or q(z|y, x)."""
  mean = y @ params["v"] + (0.0 if x is None else x @ params["v_x"])
  return mean, jnp.broadcast_to(params["log_s"], mean.shape)


def decode(params: Any, z: jax.Array, x: jax.Array | None = None) -> tuple[jax.Array, jax.Array]:
  """Parameters of p(y|z) or p(y|z, x), of unit noise."""
  return z @ params["u"] + (0.0 if x is None else x @ params["t"]), jnp.zeros(())


def hierarchical(beta_top: float, *, scale: float | None, axis_name: str | None) -> Any:
  """Objective with z_1 and z_2, unit noise, and s of q(z_1|x) fixed or learned (None)."""

  def objective(params: Any, state: Any, key: jax.Array, batch: Any) -> Any:
    key_1, key_2 = jax.random.split(key)
    mean, log_s = encode(params, batch["y"])
    log_s = log_s if scale is None else jnp.full_like(log_s, math.log(scale))
    z_1 = gaussian.sample(key_1, mean, log_s, axis_name=axis_name)
    top = z_1 @ params["v_top"], jnp.broadcast_to(params["log_s_top"], mean.shape)
    z_2 = gaussian.sample(key_2, *top, axis_name=axis_name)
    log_p = gaussian.log_prob(batch["y"], *decode(params, z_1))
    kl = -gaussian.entropy(mean, log_s) - gaussian.log_prob(z_1, z_2 @ params["u_top"], 0.0)
    return jnp.mean(kl + beta_top * gaussian.kl_standard(*top) - log_p), (state, {})

  return objective


def init(dim: int, key: jax.Array) -> tuple[Any, Any]:
  """Small random maps of all three models; data and latents have the same dimensions."""
  names = ("v", "u", "v_x", "t", "v_top", "u_top")
  maps = {
    n: 0.3 * jax.random.normal(k, (dim, dim)) for n, k in zip(names, jax.random.split(key, 6))
  }
  return maps | {"log_s": jnp.zeros(dim), "log_s_top": jnp.zeros(dim)}, ()
