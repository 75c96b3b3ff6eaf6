"""Variation of estimates against Jacobians in numpy; the moving average; the objective."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import check_kernel, fast_jit

from latentjax.diffusion.processes import trigonometric
from latentjax.losses.score import denoising_loss, step_variation, variation_penalty
from latentjax.objectives import smooth_diffusion

B, D = 8, 3
RNG = np.random.default_rng(0)
Z, N = RNG.standard_normal((2, B, D))
MAP = RNG.standard_normal((D, D))
T = np.linspace(0.1, 0.9, B)
PROCESS = trigonometric()


def both(z, t, direction):
  predict = lambda z, t: jnp.tanh(z @ MAP.astype(z.dtype)) * t[:, None].astype(z.dtype)
  run = lambda kind: step_variation(predict, z, t, direction, process=PROCESS, prediction=kind)
  return {kind: run(kind) for kind in ("x0", "eps")}


def jacobians(z, t, direction):
  out = {}
  for kind in ("x0", "eps"):
    norms = []
    for z_b, t_b, n_b in zip(z, t, direction):
      alpha, sigma = np.cos(np.pi / 2 * t_b), np.sin(np.pi / 2 * t_b)
      slope = t_b * np.diag(1 - np.tanh(z_b @ MAP) ** 2) @ MAP.T  # of the prediction by z
      jacobian = slope if kind == "x0" else (np.eye(D) - sigma * slope) / alpha
      norms.append(sigma**2 / np.sqrt(D) * np.linalg.norm(jacobian.T @ n_b))
    out[kind] = (np.tanh(z @ MAP) * t[:, None], np.array(norms))
  return out


def test_step_variation():
  check_kernel(
    both,
    (Z, T, N),
    oracle=jacobians,
    extreme=[(0 * Z, T, N), (Z, T, 0 * N)],
    bad_inputs=[
      ((Z, T, N[:, :2]), {}, ValueError, "z_t and direction must have the same"),
      ((Z.astype(int), T, N), {}, TypeError, "z_t must be a floating"),
      ((Z, T[:3], N), {}, ValueError, "t must have shape"),
    ],
    rtol=1e-4,
  )
  with pytest.raises(ValueError, match="prediction must be one of"):
    step_variation(lambda z, t: z, Z, T, N, process=PROCESS, prediction="noise")


def test_variation_penalty():
  variation, mean = np.abs(Z[:, 0]), np.array(0.7)
  after = 0.7 + 0.1 * (variation.mean() - 0.7)
  check_kernel(
    variation_penalty,
    (variation, mean),
    kwargs={"rate": 0.1},
    oracle=lambda v, a, rate: ((v - after) ** 2, np.array(after)),
    detached=(1,),
    surrogate=lambda v, a, **_: (jnp.square(v - after), jnp.zeros(())),
    batch_axes=(0, None),
    batch_coupled=True,
    bad_inputs=[
      ((Z, mean), {}, ValueError, "variation must have 1 axes"),
      ((variation, variation), {}, ValueError, "mean must have 0 axes"),
      ((variation, mean), {"rate": 2.0}, ValueError, "rate must be in"),
    ],
  )


def test_objective():
  """One evaluation for both: its denoising loss is that of the same key, its penalty acts."""
  predict = lambda params, z, t, condition: z @ params
  model = smooth_diffusion(predict, process=PROCESS, prediction="v", weight=2.0, rate=0.5)
  params, key = jnp.float32(MAP), jax.random.key(0)

  @fast_jit
  def run(params):
    (loss, (mean, metrics)), slope = jax.value_and_grad(model.objective, has_aux=True)(
      params, jnp.float32(0), key, {"image": jnp.float32(Z)}
    )
    plain = lambda params: jnp.mean(
      denoising_loss(
        jax.random.split(key)[0],
        lambda z, t: predict(params, z, t, None),
        jnp.float32(Z),
        process=PROCESS,
        prediction="v",
      )
    )
    return loss, mean, metrics, slope, plain(params) / D, jax.grad(plain)(params) / D

  loss, mean, metrics, slope, denoising, plain_slope = run(params)
  np.testing.assert_allclose(metrics["denoising"], denoising, rtol=1e-5)
  np.testing.assert_allclose(loss, denoising + 2 * metrics["penalty"], rtol=1e-5)
  assert mean > 0 and metrics["penalty"] > 0
  assert np.abs(slope - plain_slope).max() > 1e-2
