"""Rows, and the losses of their pairs written out in loops over pairs, in float64."""

import numpy as np
from scipy.special import log_expit, logsumexp

B, D = 24, 3
RNG = np.random.default_rng(0)
X, Y, Z = RNG.standard_normal((3, B, D))
X, Y = (array / np.linalg.norm(array, axis=1, keepdims=True) for array in (X, Y))
LABELS = RNG.integers(-5, 5, B) * 1000
LABELS[0] = 7  # without a positive
# Of 24 rows the last block is filled up; 4 devices have two even ones, 8 have one.
BLOCK = {"block_size": 5}
EXTREME = [(1e3 * X, -1e3 * Y), (0 * X, 0 * Y)]


def cross_entropy(scores, target):
  """log sum_j exp(s_j - s_target), with the digits of a small one."""
  rest = np.delete(scores, target) - scores[target]
  return np.logaddexp(0, logsumexp(rest)) if len(rest) else 0.0


def info_nce_oracle(a, p, temperature=0.1, **_):
  rows = range(len(a))
  return np.array([cross_entropy([a[i] @ q / temperature for q in p], i) for i in rows])


def views_oracle(z_1, z_2, temperature=0.1, decoupled=False, weights=None, **_):
  """Over every anchor, the list of the scores of all others, one by one."""
  z, size = np.concatenate([z_1, z_2]), len(z_1)
  losses = np.zeros(2 * size)
  for i in range(2 * size):
    positive = z[i] @ z[(i + size) % (2 * size)] / temperature
    others = [z[i] @ z[k] / temperature for k in range(2 * size) if k % size != i % size]
    weight = 1 if weights is None else weights[i % size]
    if decoupled:
      losses[i] = logsumexp(others) - weight * positive
    else:
      losses[i] = cross_entropy([positive, *others], 0)
  return (losses[:size] + losses[size:]) / 2


def clip_oracle(u, v, logit_scale, label_smoothing=0.0, **_):
  """Smoothed targets, spelled out: each of the B partners is the label with its probability."""
  scores = np.array([[logit_scale * a @ b for b in v] for a in u])
  losses = np.zeros(len(u))
  for i in range(len(u)):
    for of_one in (scores[i], scores[:, i]):
      losses[i] += (1 - label_smoothing) * cross_entropy(of_one, i) / 2
      if label_smoothing:
        every = np.mean([cross_entropy(of_one, j) for j in range(len(u))])
        losses[i] += label_smoothing * every / 2
  return losses


def siglip_oracle(u, v, logit_scale, logit_bias, **_):
  losses = np.zeros(len(u))
  for i, a in enumerate(u):
    for j, b in enumerate(v):
      losses[i] -= log_expit((1 if i == j else -1) * (logit_scale * a @ b + logit_bias))
  return losses


def sup_con_oracle(z, labels, temperature=0.1, **_):
  losses = np.zeros(len(z))
  for i in range(len(z)):
    others = [a for a in range(len(z)) if a != i]
    positives = [p for p in others if labels[p] == labels[i]]
    denominator = logsumexp([z[i] @ z[a] / temperature for a in others])
    terms = [denominator - z[i] @ z[p] / temperature for p in positives]
    losses[i] = np.mean(terms) if terms else 0
  return losses
