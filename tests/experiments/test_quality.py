"""The judge of samples: its patches are convolutions, it learns, and it tells good samples from bad."""

import jax
import numpy as np

from experiments.harness import quality


def test_patches_are_those_of_a_convolution():
  rng = np.random.default_rng(0)
  x, kernel = rng.standard_normal((2, 6, 8, 3)), rng.standard_normal((4, 4, 3, 5))
  convolved = jax.lax.conv_general_dilated(
    x, kernel, (2, 2), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
  )
  # Blocks of 2 x 2, and 2 x 2 in each.
  blocks = kernel.reshape(2, 2, 2, 2, 3, 5).swapaxes(1, 2).reshape(48, 5)
  np.testing.assert_allclose(quality._patches(x) @ blocks, convolved, rtol=1e-4, atol=1e-4)


def test_it_tells_good_samples_from_bad(tmp_path):
  rng = np.random.default_rng(0)

  def bars(count):  # a bright row whose place is the class
    labels = rng.integers(4, size=count)
    images = rng.uniform(-1, -0.6, (count, 7, 7, 1)).astype(np.float32)
    images[np.arange(count), 2 * labels] += rng.uniform(0.5, 1.2, (count, 7, 1))
    return images, labels

  images, labels = bars(256)
  judge = quality.fit_judge(images, labels, tmp_path, steps=30)
  reference = judge.features(bars(64)[0])
  images, labels = bars(64)
  good = quality.quality(images, labels, judge, reference)
  bad = quality.quality(images[labels < 2], labels[labels < 2], judge, reference)
  assert good["accuracy"] > 0.9
  assert bad["frechet"] > 3 * good["frechet"] and bad["recall"] < good["recall"] - 0.3
