"""Batches of pseudo-labels: every example at most once, every label as rarely as can be."""

from functools import partial

import jax
import numpy as np
import pytest

from latentjax.losses.contrastive import pseudo_label_batches

LABELS = np.random.default_rng(0).choice([-3, 0, 1, 7, 100], 47, p=[0.4, 0.3, 0.2, 0.08, 0.02])


@pytest.mark.parametrize("batch_size", [1, 5, 47])
def test_every_label_is_dealt_out_evenly(batch_size):
  run = jax.jit(partial(pseudo_label_batches, batch_size=batch_size))
  rows, others = (np.asarray(run(jax.random.key(seed), LABELS)) for seed in (0, 1))
  assert rows.shape == (47 // batch_size, batch_size)
  assert len(np.unique(rows)) == rows.size and rows.min() >= 0 and rows.max() < 47
  assert np.any(rows != others)
  for label in LABELS:
    counts = np.sum(LABELS[rows] == label, axis=1)
    assert counts.max() - counts.min() <= 1


def test_left_over_examples_are_random_ones():
  rows = jax.jit(jax.vmap(lambda key: pseudo_label_batches(key, LABELS, batch_size=5)))(
    jax.random.split(jax.random.key(0), 300)
  )
  used = np.bincount(np.ravel(rows), minlength=47) / 300
  np.testing.assert_allclose(used, 45 / 47, atol=0.05)


@pytest.mark.parametrize(
  ("labels", "batch_size", "exception", "match"),
  [
    (LABELS / 2, 5, TypeError, "labels must be integers"),
    (LABELS[None], 5, ValueError, "labels must have 1 axes"),
    (LABELS, 48, ValueError, "batch_size must be at most 47, got 48"),
    (LABELS, 0, ValueError, "batch_size must be a positive integer"),
  ],
)
def test_bad_settings(labels, batch_size, exception, match):
  with pytest.raises(exception, match=match):
    pseudo_label_batches(jax.random.key(0), labels, batch_size=batch_size)
