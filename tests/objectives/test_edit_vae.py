"""Edits: likelihood up to the end token, the bag of words, annealing, and what the terms train."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import check_kernel
from scipy import special

from latentjax.losses.elbo import bag_of_words_loss, sequence_log_prob
from latentjax.objectives import edit_vae

B, T, V, Z = 8, 5, 6, 2
RNG = np.random.default_rng(0)
LOGITS = RNG.standard_normal((B, T, V))
TOKENS = RNG.integers(V, size=(B, T))
TOKENS[0], TOKENS[1] = [3, 2, 0, 4, 0], [1, 2, 3, 4, 5]
COUNTS = RNG.integers(3, size=(B, V)).astype(float)


def sequence_oracle(tokens, logits, **_):
  totals = []
  for row, scores in zip(tokens, logits):
    length = list(row).index(0) + 1 if 0 in row else T
    steps = [scores[t, row[t]] - special.logsumexp(scores[t]) for t in range(length)]
    totals.append(sum(steps))
  return np.array(totals)


def test_sequence_log_prob():
  check_kernel(
    sequence_log_prob,
    (TOKENS, LOGITS),
    oracle=sequence_oracle,
    extreme=[(TOKENS, 1e4 * LOGITS)],
    bad_inputs=[
      ((TOKENS * 1.0, LOGITS), {}, TypeError, "tokens must be integers"),
      ((TOKENS[:, :2], LOGITS), {}, ValueError, r"tokens must have shape \(8, 5\)"),
      ((TOKENS, LOGITS[0]), {}, ValueError, "logits must have 3 axes"),
    ],
  )


def test_bag_of_words_loss():
  check_kernel(
    bag_of_words_loss,
    (LOGITS[:, 0], COUNTS),
    oracle=lambda logits, n: n.sum(1) * special.logsumexp(logits, 1) - (n * logits).sum(1),
    detached=(1,),
    surrogate=lambda logits, n: bag_of_words_loss(logits, jnp.asarray(COUNTS, n.dtype)),
    extreme=[(1e4 * LOGITS[:, 0], COUNTS)],
    bad_inputs=[
      ((LOGITS[:, 0], COUNTS.astype(int)), {}, TypeError, "counts must be a floating point"),
      ((LOGITS[:, 0], COUNTS[:, :2]), {}, ValueError, "logits and counts must have the same shape"),
      ((LOGITS, COUNTS), {}, ValueError, "logits must have 2 axes"),
    ],
  )


PARAMS = {
  "encoder": RNG.standard_normal((V, Z)).astype(np.float32),
  "decoder": RNG.standard_normal((Z, V)).astype(np.float32),
  "bow": RNG.standard_normal((Z, V)).astype(np.float32),
}
BATCH = {"source": TOKENS[::-1].copy(), "target": TOKENS, "delta": COUNTS.astype(np.float32)}


def encode_fn(params, source, target):
  count = lambda tokens: jax.nn.one_hot(tokens, V).sum(1)
  mean = 0.3 * (count(target) - count(source)) @ params["encoder"]
  return mean, jnp.full_like(mean, -1.0)


def decode_fn(params, z, source, target):
  return (z @ params["decoder"])[:, None] + jax.nn.one_hot(source, V)


def bow_fn(params, z):
  return z @ params["bow"]


def test_terms_weights_and_annealing(key):
  plain = edit_vae(encode_fn, decode_fn)
  full = edit_vae(encode_fn, decode_fn, bow_fn, beta=2.0, bow_weight=3.0, annealing_steps=4)
  run = jax.jit(jax.value_and_grad(full.objective, has_aux=True))
  (loss, (state, metrics)), grads = run(PARAMS, jnp.int32(1), key, BATCH)
  assert full.init_state == 0 and state == 2 and metrics["beta"] == 0.5
  terms = -metrics["log_likelihood"] + 0.5 * metrics["kl"] + 3.0 * metrics["bag_of_words"]
  np.testing.assert_allclose(loss, terms, rtol=1e-5)
  assert all(np.any(leaf) for leaf in jax.tree.leaves(grads))
  mean, log_scale = encode_fn(PARAMS, BATCH["source"], TOKENS)
  kl = 0.5 * (mean**2 + np.exp(2 * log_scale) - 1 - 2 * log_scale).sum(1)
  np.testing.assert_allclose(metrics["kl"], kl.mean(), rtol=1e-5)
  plain_loss, (state, plain_metrics) = jax.jit(plain.objective)(PARAMS, (), key, BATCH)
  assert state == () and "bag_of_words" not in plain_metrics
  np.testing.assert_allclose(plain_loss, -metrics["elbo"], rtol=1e-5)


def test_bad_arguments():
  with pytest.raises(ValueError, match="bow_weight must be in"):
    edit_vae(encode_fn, decode_fn, bow_weight=-1.0)
