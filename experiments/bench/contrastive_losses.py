"""Contrastive losses of lightly, pytorch-metric-learning and optax beside ours: values and gradients.

On the same arrays, in float32; the gradient is that of the mean loss by the first view. That ours equal their
equations, written out as loops in float64, is tested in tests/losses.
Expected: the same value and gradient, but where a reason is given.
Command: python -m experiments.bench contrastive_losses --torch_python=PYTHON
Time: under a minute.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.bench.peer_values import ask
from experiments.harness.cli import EXPERIMENTS
from latentjax.losses import contrastive as losses
from latentjax.losses.contrastive import l2_normalize

RESULT = EXPERIMENTS / "results" / "bench" / "contrastive_losses.json"
B, D, K, V = 32, 12, 7, 3
TOLERANCE = 1e-4
# Why a peer differs, where it does.
REASONS = {
  "TiCo, lightly": (
    "the value agrees; lightly stops the gradient through the batch's own share of the covariance, ours only "
    "through what earlier batches left"
  ),
  "MSN, lightly": "the gradient agrees; lightly adds log K to minus the entropy of the mean prediction",
  "FroSSL, lightly": (
    "lightly normalises features over the batch, as the authors' deprecated two-view program; ours are unit "
    "rows, as their program for any number of views. lightly's invariance also counts V times as much"
  ),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
  """Flags of this comparison."""

  torch_python: Path
  """Python of an environment with torch, lightly and pytorch-metric-learning."""
  record: bool = False
  """Write the result to experiments/results/bench/contrastive_losses.json."""


def problem() -> dict[str, np.ndarray]:
  """Arrays that every loss is evaluated on."""
  rng = np.random.default_rng(0)
  z_1 = rng.standard_normal((B, D)) @ np.diag(rng.uniform(0.5, 2.0, D))
  arrays = {
    "z_1": z_1,
    "z_2": z_1 + 0.5 * rng.standard_normal((B, D)),
    "prediction": rng.standard_normal((B, D)),
    "prototypes": rng.standard_normal((K, D)),
    "scores": rng.uniform(-1, 1, (V, B, K)),
    "teacher": rng.standard_normal((2, B, K)),
    "centre": 0.3 * rng.standard_normal(K),
  }
  labels = {"labels": rng.integers(0, 4, B)}
  return {name: array.astype(np.float32) for name, array in arrays.items()} | labels


def ours(a: dict[str, np.ndarray]) -> dict[str, Callable[[jax.Array], jax.Array]]:
  """Our losses as functions of the first view; of the first view's scores where those are compared."""
  unit, z_2 = l2_normalize, jnp.asarray(a["z_2"])
  first = lambda z: jnp.concatenate([z[None], a["scores"][1:]])
  rows = unit(jnp.asarray(a["prototypes"]))
  twice = np.tile(np.arange(B), 2)
  both = lambda z: jnp.concatenate([z, z_2])
  by_lightly = {
    "NT-Xent": lambda z: losses.nt_xent(unit(z), unit(z_2), temperature=0.5),
    "DCL": lambda z: losses.dcl_loss(unit(z), unit(z_2), temperature=0.1),
    "DCLW": lambda z: losses.dcl_loss(unit(z), unit(z_2), temperature=0.1, weight_temperature=0.5),
    "SimSiam": lambda p: losses.simsiam_loss(p, a["prediction"], a["z_1"], z_2),
    "Barlow Twins": lambda z: losses.barlow_twins_loss(z, z_2),
    "VICReg": lambda z: losses.vicreg_loss(z, z_2),
    "TiCo": lambda z: losses.tico_loss(z, z_2, jnp.zeros((D, D)), rho=8.0)[0],
    "W-MSE": lambda z: losses.w_mse_loss(z, z_2, eps=1e-3),
    "KoLeo": losses.koleo_loss,
    "MMCR": lambda z: losses.mmcr_loss(jnp.stack([unit(z), unit(z_2)]), lambda_local=5e-3),
    "FroSSL": lambda z: losses.frossl_loss(jnp.stack([z, z_2])),
    "MSN": lambda z: losses.msn_loss(
      (unit(z) @ rows.T)[None], unit(z_2) @ rows.T, temperature=0.1, target_temperature=0.025
    ),
    "SwAV": lambda s: losses.swav_loss(first(s)),
    "DINO": lambda s: losses.dino_loss(first(s), a["teacher"], a["centre"]),
  }
  others = {
    "NT-Xent, pytorch-metric-learning": lambda z: losses.nt_xent(
      unit(z), unit(z_2), temperature=0.5
    ),
    "SupCon, pytorch-metric-learning": lambda z: losses.sup_con(
      unit(z), a["labels"], temperature=0.1
    ),
    "NT-Xent, optax": lambda z: losses.sup_con(unit(both(z)), twice, temperature=0.5),
  }
  return {f"{name}, lightly": loss for name, loss in by_lightly.items()} | others


def run(config: Config) -> int:
  """Compare; 0 if every difference has its reason."""
  arrays = problem()
  theirs = ask(config.torch_python, "contrastive_losses_torch", arrays)
  twice = jnp.tile(jnp.arange(B), 2)
  by_optax = lambda z: optax.losses.ntxent(jnp.concatenate([z, arrays["z_2"]]), twice, 0.5)
  value, grad = jax.value_and_grad(lambda z: jnp.mean(by_optax(z)))(jnp.asarray(arrays["z_1"]))
  theirs["NT-Xent, optax"] = {"value": float(value), "grad": np.asarray(grad).tolist()}
  print(f"{'loss':34} {'latentjax':>11} {'peer':>11} {'gradients differ by':>20}")
  table, unexplained = {}, 0
  for name, loss in ours(arrays).items():
    scored = name.startswith(("SwAV", "DINO"))
    x = jnp.asarray(arrays["scores"][0] if scored else arrays["z_1"])
    x = jnp.asarray(arrays["z_1"][::-1]) if name.startswith("SimSiam") else x
    value, grad = jax.jit(jax.value_and_grad(lambda x, loss=loss: jnp.mean(loss(x))))(x)
    peer = np.asarray(theirs[name]["grad"])
    off = float(np.linalg.norm(grad - peer) / np.linalg.norm(peer))
    agrees = abs(float(value) / theirs[name]["value"] - 1) < TOLERANCE and off < TOLERANCE
    unexplained += not agrees and name not in REASONS
    note = "agree" if agrees else REASONS.get(name, "UNEXPLAINED")
    print(f"{name:34} {value:11.5f} {theirs[name]['value']:11.5f} {off:20.1e}  {note}")
    table[name] = {"latentjax": float(value), "peer": theirs[name]["value"], "gradients": off}
    table[name] |= {"agree": agrees} | ({} if agrees else {"reason": note})
  if config.record:
    RESULT.write_text(json.dumps(table, indent=2) + "\n")
  return min(unexplained, 1)
