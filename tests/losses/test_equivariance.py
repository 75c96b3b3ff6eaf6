"""Split invariant-equivariant loss, its linear hypernetwork and retrieval, against loops in numpy."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import check_kernel

from latentjax.losses.contrastive import hyper_linear, sie_loss, vicreg_loss
from latentjax.metrics import prediction_retrieval

B, D, E, G = 8, 5, 3, 2
RNG = np.random.default_rng(0)
Z_1, Z_2 = RNG.standard_normal((2, B, D)) @ np.diag([0.5, 1.0, 2.0, 0.3, 1.0]) + 1
PARAMETERS, WEIGHTS = RNG.standard_normal((B, G)), 0.5 * RNG.standard_normal((G, E, E))


def step(z_1, z_2, g, weights, axis_name=None):
  """The loss, the prediction, and the ranks of what was predicted."""
  prediction = hyper_linear(z_1[:, D - E :], g, weights)
  loss = sie_loss(z_1, z_2, prediction, axis_name=axis_name)
  found = prediction_retrieval(
    prediction, z_2[:, D - E :], k=(1, 3), block_size=4, axis_name=axis_name
  )
  return {
    "at_1": found.hits[0],
    "at_3": found.hits[1],
    "loss": loss,
    "mrr": found.mrr,
    "prediction": prediction,
  }


def oracle(z_1, z_2, g, weights):
  prediction = np.stack(
    [sum(g[b, k] * weights[k] for k in range(G)) @ z_1[b, -E:] for b in range(B)]
  )
  hinge = lambda z: np.mean(np.maximum(0, 1 - np.sqrt(z.var(axis=0, ddof=1) + 1e-4))) / 2
  off = lambda z: np.sum(np.cov(z.T) ** 2) - np.sum(z.var(axis=0, ddof=1) ** 2)
  loss = 10 * np.mean((z_1[:, :-E] - z_2[:, :-E]) ** 2)
  loss += 45 * np.mean((prediction - z_2[:, -E:]) ** 2)
  loss += 10 * sum(map(hinge, (z_1, z_2, prediction)))
  loss += sum(map(off, (z_1, z_2))) / D
  ranks = []
  for b in range(B):
    cosine = [p @ prediction[b] / np.linalg.norm(p) for p in z_2[:, -E:]]
    ranks.append(1 + sorted(cosine, reverse=True).index(cosine[b]))
  ranks = np.array(ranks)
  at = lambda k: np.mean(ranks <= k)
  assert at(1) > 0 and 0 < at(3) < 1
  return {
    "at_1": at(1),
    "at_3": at(3),
    "loss": loss,
    "mrr": np.mean(1 / ranks),
    "prediction": prediction,
  }


def test_a_step():
  args = (Z_1, Z_2, PARAMETERS, WEIGHTS)
  check_kernel(
    step,
    args,
    oracle=oracle,
    batch_axes=(0, 0, 0, None),
    batch_coupled=True,
    extreme=[(0 * Z_1, 0 * Z_2, *args[2:]), (1e4 * Z_1, -1e4 * Z_2, *args[2:])],
    bad_inputs=[
      ((Z_1, Z_2[:, :4], *args[2:]), {}, ValueError, "z_1 and z_2 must have the same shape"),
      ((Z_1.astype(int), *args[1:]), {}, TypeError, "z must be a floating point"),
      ((Z_1, Z_2, PARAMETERS[:3], WEIGHTS), {}, ValueError, "g must have the 8 rows"),
      (
        (Z_1, Z_2, PARAMETERS, WEIGHTS[:1]),
        {},
        ValueError,
        "weights must have shape \\(2, 3, 3\\)",
      ),
    ],
  )


@pytest.mark.parametrize(
  ("call", "match"),
  [
    (partial(sie_loss, Z_1, Z_2, Z_1), "prediction must have shape \\(8, E\\) with 0 < E < 5"),
    (partial(sie_loss, Z_1, Z_2, Z_1[:, :E], lambda_equivariance=-1.0), "lambda_equivariance must"),
    (partial(sie_loss, Z_1, Z_2, Z_1[:, :E], lambda_variance=-1.0), "lambda_variance must"),
    (partial(sie_loss, Z_1[:1], Z_2[:1], Z_1[:1, :E]), "must have at least 2 rows"),
    (partial(prediction_retrieval, Z_1, Z_2, k=(0,)), "k must be a positive integer"),
    (partial(prediction_retrieval, Z_1[0], Z_2[0]), "predicted must have 2 axes"),
  ],
)
def test_bad_settings(call, match):
  with pytest.raises(ValueError, match=match):
    call()


def test_limits():
  """The invariant part alone is VICReg; collapse is last in every ranking; a rotation is exact."""
  angle = np.linspace(0, 2, 6)
  g, plane = np.stack([np.cos(angle), np.sin(angle)], axis=1), RNG.standard_normal((6, 2))
  turn = np.array([[[1.0, 0], [0, 1]], [[0, -1], [1, 0]]])

  @jax.jit
  def run(z_1, z_2, plane):
    free = {"lambda_equivariance": 0.0, "lambda_variance": 0.0, "lambda_covariance": 0.0}
    wide = {"lambda_variance": 0.0, "lambda_covariance": 0.0, "lambda_invariance": 10.0}
    split = sie_loss(z_1, z_2, z_1[:, :E], **free)
    vicreg = vicreg_loss(z_1[:, : D - E], z_2[:, : D - E], **wide)
    collapsed = prediction_retrieval(jnp.zeros_like(z_1), z_2)
    return split, vicreg, collapsed.mrr, hyper_linear(plane, g, turn)

  split, vicreg, mrr, turned = run(Z_1, Z_2, plane)
  np.testing.assert_allclose(split, vicreg, rtol=1e-5)
  np.testing.assert_allclose(mrr, 1 / B)
  exact = (plane[:, 0] + 1j * plane[:, 1]) * np.exp(1j * angle)
  np.testing.assert_allclose(turned, np.stack([exact.real, exact.imag], axis=1), rtol=1e-5)
