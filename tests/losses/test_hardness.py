"""The hardest negatives against sorted loops, and the gradient that InfoNCE gives each of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import check_kernel
from scipy.special import log_softmax
from scipy.stats import entropy

from latentjax.losses.contrastive import hard_contrastive_loss, info_nce, negative_shares

B, D, K = 8, 3, 4
RNG = np.random.default_rng(0)
Z_1, Z_2 = RNG.standard_normal((2, B, D))


def losses(anchors, positives, axis_name=None):
  run = {"num_negatives": K, "block_size": 3, "axis_name": axis_name}
  shares = negative_shares(anchors, positives, temperature=0.5, axis_name=axis_name)
  return {
    "loss": hard_contrastive_loss(anchors, positives, temperature=0.5, **run),
    "shares": jnp.sum(shares * jnp.arange(B), axis=1),
  }


def oracle(anchors, positives):
  loss, shares = [], []
  for i, scores in enumerate(anchors @ positives.T / 0.5):
    others = np.delete(scores, i)
    loss.append(-log_softmax([scores[i], *np.sort(others)[-K:]])[0])
    shares.append(np.exp(log_softmax(others)) @ np.delete(np.arange(B), i))
  return {"loss": np.array(loss), "shares": np.array(shares)}


def test_losses():
  check_kernel(
    losses,
    (Z_1, Z_2),
    oracle=oracle,
    batch_coupled=True,
    extreme=[(1e4 * Z_1, -1e4 * Z_2), (0 * Z_1, 0 * Z_2)],
    bad_inputs=[
      ((Z_1.astype(int), Z_2), {}, TypeError, "anchors must be a floating point"),
      ((Z_1, Z_2[:4]), {}, ValueError, "anchors and positives must have the same shape"),
      ((Z_1[:1], Z_2[:1]), {}, ValueError, "anchors must have at least 2 rows"),
      ((Z_1[:4], Z_2[:4]), {}, ValueError, "num_negatives must be at most the 3 negatives, got 4"),
    ],
  )
  with pytest.raises(ValueError, match=r"temperature must be in \(0.0"):
    negative_shares(Z_1, Z_2, temperature=0.0)


def test_all_negatives_are_info_nce_and_its_gradient_is_shared_as_the_formula_says():
  scores = RNG.uniform(-1, 1, (B, B)).astype(np.float32)  # products of the unit vectors and these

  @jax.jit
  def run(scores, temperature):
    args = jnp.eye(B), scores.T
    full = lambda scores: jnp.sum(info_nce(jnp.eye(B), scores.T, temperature=temperature))
    every = hard_contrastive_loss(*args, num_negatives=B - 1, temperature=temperature)
    shares = negative_shares(*args, temperature=temperature)
    return jax.grad(full)(scores), shares, every, info_nce(*args, temperature=temperature)

  entropies = []
  for temperature in (0.03, 0.3, 3.0, 300.0):
    grad, shares, every, full = run(scores, temperature)
    off = grad - np.diag(np.diag(grad))
    np.testing.assert_allclose(off / -np.diag(grad)[:, None], shares, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(every, full, rtol=1e-5, atol=1e-6)
    entropies.append(entropy(shares, axis=1))
  assert np.all(np.diff(entropies, axis=0) > 0)  # the lower the temperature, the fewer count
  np.testing.assert_allclose(entropies[-1], np.log(B - 1), atol=1e-3)
