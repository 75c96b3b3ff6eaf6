"""All estimators of mutual information at once: one parameter tree, one loss, one dict of estimates."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from experiments.harness.correlated_gaussians import log_ratio
from experiments.harness.critics import JointCritic, SeparableCritic
from latentjax.densities import gaussian
from latentjax.losses import information
from latentjax.models import MLP, MLPEncoder

SEPARABLE = ("dv", "mine", "nwj", "info_nce", "js", "tuba", "interpolated")
JOINT = ("info_nce", "js")
CLIPS = (1.0, 5.0, math.inf)


def networks(dim: int, hidden: int, joint_hidden: int) -> tuple[Callable, Callable]:
  """`init_fn(key) -> params` and `scores_fn(params, x, y) -> scores of all critics and baselines`."""
  row = jnp.zeros((2, dim))
  baseline, conditional = MLP(1, (64,)), MLPEncoder(dim, (hidden,) * 2, "relu")
  critics = {"": SeparableCritic(32, (hidden,) * 2), ", joint": JointCritic((joint_hidden,) * 2)}
  names = {"": SEPARABLE, ", joint": JOINT}

  def init_fn(key: jax.Array) -> dict[str, Any]:
    key_critic, key_a, key_b, key_conditional = jax.random.split(key, 4)
    params = {"a": baseline.init(key_a, row), "b": baseline.init(key_b, row)}
    for kind, critic in critics.items():
      keys = jax.random.split(jax.random.fold_in(key_critic, len(kind)), len(names[kind]))
      params[kind] = jax.vmap(lambda key, critic=critic: critic.init(key, row, row))(keys)
    return params | {"conditional": conditional.init(key_conditional, row)}

  def scores_fn(params: Any, x: jax.Array, y: jax.Array) -> dict[str, jax.Array]:
    scores = {name: baseline.apply(params[name], x)[:, 0] for name in "ab"}
    for kind, critic in critics.items():
      all_scores = jax.vmap(critic.apply, (0, None, None))(params[kind], x, y)
      scores |= {f"{name}{kind}": s for name, s in zip(names[kind], all_scores)}
    mean, log_scale = (p[:, None] for p in conditional.apply(params["conditional"], x))
    return scores | {"conditional": gaussian.log_prob(y[None], mean, log_scale)}

  return init_fn, scores_fn


def exact_scores(level: jax.Array, x: jax.Array, y: jax.Array) -> dict[str, jax.Array]:
  """What every critic and baseline is at its best, for Gaussians."""
  best, zero = log_ratio(level, x, y), jnp.zeros(len(x))
  scores = dict.fromkeys((*SEPARABLE, *(f"{name}, joint" for name in JOINT)), best)
  log_marginal = -jnp.sum(y**2 + math.log(2 * math.pi), axis=1) / 2
  return scores | {"nwj": best + 1, "a": zero, "b": zero, "conditional": best + log_marginal}


def estimates(scores: dict[str, jax.Array]) -> dict[str, jax.Array]:
  """Every estimate of a batch, in nats."""
  found = {
    "DV": information.donsker_varadhan_bound(scores["dv"]),
    "MINE": information.donsker_varadhan_bound(scores["mine"]),
    "NWJ": information.nwj_bound(scores["nwj"]),
    "TUBA": information.tuba_bound(scores["tuba"], scores["a"]),
    "I_alpha": information.interpolated_bound(scores["interpolated"], scores["b"], alpha=0.01),
    "CLUB": information.club_bound(scores["conditional"]),
    "L1Out": information.leave_one_out_bound(scores["conditional"].T),
  }
  for kind in ("", ", joint"):
    critic = scores[f"js{kind}"]
    found[f"InfoNCE{kind}"] = information.info_nce_bound(scores[f"info_nce{kind}"])
    found[f"JS{kind}"] = information.nwj_bound(critic + 1)  # value of NWJ, critic of Jensen-Shannon
    found |= {f"SMILE {c:g}{kind}": information.smile_bound(critic, clip=c) for c in CLIPS}
  return {name: jnp.mean(values) for name, values in found.items()}


def moments(
  scores_fn: Callable, draw_fn: Callable, keys: jax.Array, level: jax.Array
) -> dict[str, jax.Array]:
  """Bias, variance and the largest of every estimate, over a batch for each key."""
  found = jax.lax.map(lambda key: estimates(scores_fn(*draw_fn(key))), keys)
  parts = {"bias": lambda v: jnp.mean(v) - level, "variance": jnp.var, "largest": jnp.max}
  return {f"{name}/{part}": fn(v) for name, v in found.items() for part, fn in parts.items()}


def loss(
  scores: dict[str, jax.Array], state: information.MineState
) -> tuple[jax.Array, tuple[information.MineState, dict[str, jax.Array]]]:
  """Sum of all losses, none of which has another's parameters; MINE's average, and the estimates."""
  found = estimates(scores)
  bound, state = information.mine_bound(scores["mine"], state)
  own = ("DV", "NWJ", "TUBA", "I_alpha", "InfoNCE", "InfoNCE, joint")
  trained = [found[name] for name in own] + [jnp.mean(bound)]
  trained += [jnp.mean(information.jensen_shannon_bound(scores[n])) for n in ("js", "js, joint")]
  trained += [jnp.mean(jnp.diag(scores["conditional"]))]
  return -sum(trained), (state, found)
