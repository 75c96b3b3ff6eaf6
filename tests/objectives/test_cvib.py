"""The contrastive bottleneck's loss from its parts, and which term trains which network."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from latentjax.losses.information import gate_kl, vib_gate
from latentjax.objectives import cvib

RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((8, 3)), RNG.integers(2, size=8)
PARAMS = {
  "original": RNG.standard_normal((3, 2)),
  "pruned": RNG.standard_normal((3, 2)),
  "gates": RNG.standard_normal((2, 3)),
}


def original(params, x):
  features = jnp.tanh(x @ params["original"])
  return features, 2 * features


def pruned(params, key, x, axis_name=None):
  gated = vib_gate(key, x, *params["gates"], axis_name=axis_name)
  features = jnp.tanh(gated @ params["pruned"])
  return features, 2 * features, jnp.sum(gate_kl(*params["gates"]))


def test_loss_and_what_trains_what():
  batch, key = {"image": X, "label": Y}, jax.random.key(0)

  @jax.jit
  def run(weight):
    objective = cvib(original, pruned, beta=0.3, contrastive_weight=weight, temperature=0.5)
    value = jax.value_and_grad(lambda p: objective(p, (), key, batch), has_aux=True)(PARAMS)
    alone = jax.grad(original_nll)(PARAMS["original"])
    return value, alone, original(PARAMS, X), pruned(PARAMS, key, X)

  ((loss, (_, metrics)), grads), alone, *networks = run(0.7)
  kl = 0.5 * np.log1p(PARAMS["gates"][0] ** 2 / np.exp(2 * PARAMS["gates"][1])).sum()
  (f, logits), (g, pruned_logits, _) = jax.tree.map(np.asarray, networks)
  nll = [
    np.mean([np.log(np.exp(row - row[y]).sum()) for row, y in zip(rows, Y)])
    for rows in (logits, pruned_logits)
  ]
  unit = lambda z: z / np.linalg.norm(z, axis=1, keepdims=True)
  scores = unit(g) @ unit(f).T / 0.5
  contrastive = np.mean([np.log(np.exp(row - row[i]).sum()) for i, row in enumerate(scores)])
  np.testing.assert_allclose(loss, sum(nll) + 0.3 * kl + 0.7 * contrastive, rtol=1e-5)
  np.testing.assert_allclose(metrics["accuracy"], np.mean(logits.argmax(1) == Y), rtol=1e-6)
  assert all(np.any(grad) for grad in grads.values())
  # Without the contrastive term the networks do not know of each other.
  separate = run(0.0)[0][1]["original"]
  np.testing.assert_allclose(separate, alone, rtol=1e-4, atol=1e-6)


def test_gates_and_negatives_over_devices():
  def grad(axis_name):
    twin = lambda params, key, x: pruned(params, key, x, axis_name)
    objective = cvib(original, twin, beta=0.3, temperature=0.5, axis_name=axis_name)
    return jax.grad(lambda p, batch: objective(p, (), jax.random.key(0), batch)[0])

  batch = {"image": X, "label": Y}
  halves = jax.tree.map(lambda array: array.reshape(2, 4, *array.shape[1:]), batch)
  mapped = jax.pmap(grad("i"), "i", in_axes=(None, 0), devices=jax.devices()[:2])
  for got, expected in zip(
    jax.tree.leaves(mapped(PARAMS, halves)), jax.tree.leaves(jax.jit(grad(None))(PARAMS, batch))
  ):
    np.testing.assert_allclose(got.mean(0), expected, rtol=1e-4, atol=1e-6)


def original_nll(w):
  log_probs = jax.nn.log_softmax(original({"original": w}, X)[1])
  return -jnp.mean(log_probs[np.arange(8), Y])


@pytest.mark.parametrize(
  ("setting", "match"),
  [
    ({"beta": -1.0}, "beta must be in"),
    ({"contrastive_weight": -1.0}, "contrastive_weight must be in"),
    ({"temperature": 0.0}, "temperature must be in"),
  ],
)
def test_bad_settings(setting, match):
  with pytest.raises(ValueError, match=match):
    cvib(original, pruned, **setting)
