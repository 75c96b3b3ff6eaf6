"""Zero-shot logits and matched texts against loops over classes and texts."""

from functools import partial

import jax
import numpy as np
import pytest
from contract import check_kernel

from latentjax.losses.contrastive import match_texts, zero_shot_logits

B, C, P, D = 8, 3, 2, 4
RNG = np.random.default_rng(0)
IMAGE, TEXT = RNG.standard_normal((B, D)), RNG.standard_normal((C, P, D))


def cosine(a, b):
  return a @ b / np.linalg.norm(a) / np.linalg.norm(b)


def test_zero_shot_logits():
  def oracle(image, text, scale):
    means = [sum(v / np.linalg.norm(v) for v in texts) for texts in text]
    return np.array([[scale * cosine(u, mean) for mean in means] for u in image])

  check_kernel(
    lambda image, text, scale: zero_shot_logits(image, text, logit_scale=scale),
    (IMAGE, TEXT, np.float32(7)),
    oracle=oracle,
    batch_axes=(0, None, None),
    extreme=[(1e30 * IMAGE, 1e-30 * TEXT, np.float32(100)), (0 * IMAGE, 0 * TEXT, np.float32(1))],
    bad_inputs=[
      ((IMAGE.astype(int), TEXT, 1.0), {}, TypeError, "image must be a floating point"),
      ((IMAGE[0], TEXT, 1.0), {}, ValueError, "image must have 2 axes"),
      ((IMAGE, TEXT[0, 0], 1.0), {}, ValueError, "class_text must have 2 axes"),
      ((IMAGE, TEXT[..., 1:], 1.0), {}, ValueError, "image and class_text must share their last"),
      ((IMAGE, TEXT, 0.0), {}, ValueError, "logit_scale must be in"),
    ],
  )
  one = jax.jit(zero_shot_logits)(IMAGE, TEXT[:, 0])
  np.testing.assert_allclose(one[1, 2], cosine(IMAGE[1], TEXT[2, 0]), rtol=1e-5)


TEXTS = RNG.standard_normal((10, D))
CLASSES, TEXT_CLASSES = np.arange(B) % 3, np.array([0, 0, 0, 0, 1, 1, 7, 7, 7, 7])


@pytest.mark.parametrize("block_size", [None, 3])
def test_match_texts(block_size):
  """Four texts of class 0, two of class 1, none of class 2."""
  run = jax.jit(partial(match_texts, num_texts=3, block_size=block_size))
  for image, row, c in zip(IMAGE, run(IMAGE, TEXTS, CLASSES, TEXT_CLASSES), CLASSES):
    own = sorted(np.flatnonzero(c == TEXT_CLASSES), key=lambda n: -cosine(image, TEXTS[n]))[:3]
    assert row.tolist() == own + [-1] * (3 - len(own))


@pytest.mark.parametrize(
  ("args", "kwargs", "exception", "match"),
  [
    ((IMAGE, TEXTS.astype(int), CLASSES, TEXT_CLASSES), {}, TypeError, "text must be a floating"),
    ((IMAGE, TEXTS[0], CLASSES, TEXT_CLASSES), {}, ValueError, "text must have 2 axes"),
    ((IMAGE, TEXTS[:, 1:], CLASSES, TEXT_CLASSES), {}, ValueError, "image and text must share"),
    ((IMAGE, TEXTS, IMAGE[:, 0], TEXT_CLASSES), {}, TypeError, "image_class must be integers"),
    ((IMAGE, TEXTS, CLASSES, CLASSES), {}, ValueError, "text_class must have shape \\(10,\\)"),
    ((IMAGE, TEXTS, CLASSES, TEXT_CLASSES), {"num_texts": 11}, ValueError, "num_texts must be in"),
    ((IMAGE, TEXTS, CLASSES, TEXT_CLASSES), {"block_size": 0}, ValueError, "block_size must be a"),
  ],
)
def test_refused(args, kwargs, exception, match):
  with pytest.raises(exception, match=match):
    match_texts(*args, **kwargs)
