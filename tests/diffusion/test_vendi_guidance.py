"""Vendi guidance against matrix logarithms in numpy; what it does to samples."""

import jax.numpy as jnp
import numpy as np
from contract import check_kernel
from scipy.linalg import logm

from latentjax.diffusion import processes
from latentjax.diffusion.guidance import log_vendi_with, vendi_guidance

B, D = 8, 3
RNG = np.random.default_rng(0)
X, MEMORY = RNG.standard_normal((B, D)), RNG.standard_normal((5, D))
FEW = RNG.standard_normal((B, 2, D))
MIX = RNG.standard_normal((D, D)) / 2
T = 0.6


def unit(a):
  norm = np.linalg.norm(a, axis=-1, keepdims=True)
  return a / np.where(norm > 0, norm, 1)


def entropy_and_slope(feature, bank):
  """Of one row: -tr(rho log rho) and its derivative, (log rho + 1) along what rho changes by."""
  z, n = unit(feature), len(bank) + 1
  tiny = 1e-14 * np.eye(D)  # of no weight, where a bank does not span the space
  rho = (np.outer(z, z) + unit(bank).T @ unit(bank)) / n
  log = logm(rho + tiny)
  by_unit = -2 / n * (log + np.eye(D)) @ z
  return -np.trace(rho @ log), (by_unit - z * (z @ by_unit)) / np.linalg.norm(feature)


def scores(z, bank, few):
  with_empty_places = jnp.concatenate([0 * bank[:2], bank])
  return {"one bank": log_vendi_with(z, with_empty_places), "own banks": log_vendi_with(z, few)}


def test_scores():
  def oracle(z, bank, few):
    return {
      "one bank": np.array([entropy_and_slope(row, bank)[0] for row in z]),
      "own banks": np.array([entropy_and_slope(row, own)[0] for row, own in zip(z, few)]),
    }

  check_kernel(
    scores,
    (X, MEMORY, FEW),
    oracle=oracle,
    batch_axes=(0, None, 0),
    extreme=[(1e18 * X, MEMORY, FEW), (X, 0 * MEMORY, 0 * FEW)],
    bad_inputs=[
      ((X[0], MEMORY, FEW), {}, ValueError, "z must have 2 axes"),
      ((X, MEMORY[:, :2], FEW), {}, ValueError, "bank must be of shape"),
      ((X, MEMORY, FEW[:3]), {}, ValueError, "bank must be of shape"),
      ((X.astype(int), MEMORY, FEW), {}, TypeError, "z must be a floating point"),
    ],
    rtol=1e-4,
    atol=1e-5,
  )


def guided(x, memory, exemplars, **kwargs):
  """Features are twice the estimate, which is linear in z_t."""
  given = {"process": processes.rectified_flow(), "scale": 3.0, "exemplar_scale": 2.0} | kwargs
  denoise, t = lambda x, t: x @ MIX.astype(x.dtype), x.dtype.type(T)
  run = lambda *banks, **more: vendi_guidance(denoise, lambda x0: 2 * x0, *banks, **given | more)(
    x, t
  )
  return {
    "both": run(memory, exemplars=exemplars),
    "empty": run(0 * memory),
  }


def test_guidance():
  def oracle(x, memory, exemplars):
    x0 = x @ MIX
    away = np.array([entropy_and_slope(2 * row, memory)[1] for row in x0])
    towards = np.array([entropy_and_slope(2 * row, bank)[1] for row, bank in zip(x0, exemplars)])
    reach = T**2 / (1 - T)
    add = lambda slope: x0 + reach * 2 * slope @ MIX.T
    return {
      "both": add(3 * away - 2 * towards),
      "empty": x0,
    }

  check_kernel(
    guided,
    (X, MEMORY, FEW),
    oracle=oracle,
    detached=(1, 2),
    surrogate=lambda x, *_, **__: dict.fromkeys(("both", "empty"), x @ MIX),
    batch_axes=(0, None, 0),
    bad_inputs=[
      ((X, MEMORY[0], FEW), {}, ValueError, "memory must have shape"),
      ((X, MEMORY, FEW[0, 0]), {}, ValueError, "exemplars must have shape"),
      ((X, MEMORY.astype(int), FEW), {}, TypeError, "memory must be a floating point"),
      ((X, MEMORY, FEW), {"scale": -1.0}, ValueError, "scale must be in"),
    ],
    bfloat16=False,  # second differences of directions
    rtol=1e-4,
    atol=1e-4,
  )
