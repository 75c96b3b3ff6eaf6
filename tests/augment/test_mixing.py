"""mixup and CutMix: what is mixed is what the labels say, on one device and on many."""

import jax
import numpy as np
import pytest
from contract import check_kernel
from scipy import stats

from latentjax.augment import cutmix, mixing, mixup

B, H, W, N = 8, 6, 5, 8
RNG = np.random.default_rng(0)
X = RNG.uniform(size=(B, H, W, 2)).astype(np.float32)
Y = RNG.dirichlet(np.ones(3), size=B).astype(np.float32)
PLAIN = np.broadcast_to(np.arange(B, dtype=np.float32)[:, None, None, None], (B, H, W, 1))
BAD = [
  ((X, Y[0]), {}, ValueError, "y must have 2 axes"),
  ((X, Y[:4]), {}, ValueError, "x and y must have as many rows"),
  ((X, Y.astype(int)), {}, TypeError, "y must be a floating point"),
  ((X, Y), {"alpha": 0.0}, ValueError, "alpha must be in"),
]


def both(key, x, y, **kwargs):
  return mixup(key, x, y, **kwargs), cutmix(key, x, y, **kwargs)


def test_contract():
  check_kernel(both, (X, Y), key=jax.random.key(3), batch_coupled=True, bad_inputs=BAD)
  with pytest.raises(ValueError, match="x must have 4 axes"):
    cutmix(jax.random.key(0), X[0], Y)


def test_label_mass_is_the_area_to_the_pixel():
  """Images of one value each: which image a pixel is from, and how much of each, can be read off."""
  keys = jax.random.split(jax.random.key(0), 500)
  mixed, labels = jax.jit(jax.vmap(lambda key: cutmix(key, PLAIN, np.eye(B, dtype=np.float32))))(
    keys
  )
  mixed, labels = np.asarray(mixed)[..., 0], np.asarray(labels)
  area = (mixed[..., None] == np.arange(B)).sum((2, 3))
  np.testing.assert_array_equal(np.round(labels * H * W), area)
  np.testing.assert_allclose(labels * H * W, area, atol=1e-5)
  pasted = mixed != np.arange(B)[:, None, None]
  seen = pasted.any(1)
  box = seen.any(2)[:, :, None] & seen.any(1)[:, None, :]
  assert (pasted <= box[:, None]).all()  # one rectangle for all
  moved = (labels.argmax(-1) != np.arange(B)) | (labels.max(-1) < 1)
  assert (pasted == box[:, None])[moved].all()
  sizes = {tuple(size) for size in np.stack([seen.any(2).sum(1), seen.any(1).sum(1)], 1)}
  assert {(0, 0), (1, 1), (H, W)} & sizes and len(sizes) > 8
  assert set(labels[:, 0, 1:].argmax(1)) == set(range(B - 1))  # the first meets every other


def test_weights_of_mixup():
  """Beta(alpha, alpha) for the weight, and a uniform permutation."""
  for alpha in (0.2, 1.0, 3.0):
    keys = jax.random.split(jax.random.key(1), 2000)
    draw = jax.jit(jax.vmap(lambda key: mixing._symmetric_beta(key, alpha, np.dtype(np.float32))))  # noqa: B023
    weights = np.asarray(draw(keys), np.float64)
    inner = weights[(weights > 0.01) & (weights < 0.99)]
    law = stats.beta(alpha, alpha)
    share = law.cdf(0.99) - law.cdf(0.01)
    cdf = lambda x: (law.cdf(x) - law.cdf(0.01)) / share  # noqa: B023
    assert stats.kstest(inner, cdf).pvalue > 1e-3
    assert abs(len(inner) / 2000 - share) < 0.04
  x, y = np.eye(N, dtype=np.float32), np.eye(N, dtype=np.float32)
  mixed, labels = jax.jit(jax.vmap(lambda key: mixup(key, x, y, alpha=1.0)))(keys)
  np.testing.assert_array_equal(mixed, labels)
  mixed = np.asarray(mixed)
  np.testing.assert_allclose(mixed.sum(1), 1, atol=1e-6)  # a permutation: columns too
  np.testing.assert_allclose(mixed.mean(0), 0.5 * np.eye(N) + 0.5 / N, atol=0.03)
