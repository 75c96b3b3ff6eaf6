"""The scikit-learn handwritten digits as a TFDS data set. Importing this module imports TFDS."""

from collections.abc import Iterator

import numpy as np
import tensorflow_datasets as tfds

NUM_TEST = 297


def split_rows(labels: np.ndarray) -> dict[str, np.ndarray]:
  """Rows of scikit-learn's array that make up the two splits, stratified and without any random draw.

  Sorted by class (stably), every 1797 / 297-th row goes to "test", so each class has its share of the
  test split up to one example. Both splits keep scikit-learn's order.
  """
  by_class = np.argsort(labels, kind="stable")
  count = np.arange(len(labels) + 1) * NUM_TEST // len(labels)
  is_test = np.zeros(len(labels), bool)
  is_test[by_class[count[1:] > count[:-1]]] = True
  return {"train": np.flatnonzero(~is_test), "test": np.flatnonzero(is_test)}


class Digits(tfds.core.GeneratorBasedBuilder):
  """8 x 8 handwritten digits.

  Pixels are stored as uint8 x = round(255 v / 16) of the original v in 0..16, so v = round(16 x / 255)
  gives the original back exactly.
  """

  VERSION = tfds.core.Version("1.0.0")

  def _info(self) -> tfds.core.DatasetInfo:
    return self.dataset_info_from_configs(
      description="8 x 8 handwritten digits of 13 writers, from scikit-learn.",
      features=tfds.features.FeaturesDict(
        {
          "image": tfds.features.Tensor(shape=(8, 8, 1), dtype=np.uint8),
          "label": tfds.features.ClassLabel(num_classes=10),
        }
      ),
      supervised_keys=("image", "label"),
      homepage="https://archive.ics.uci.edu/dataset/80",
      disable_shuffling=True,
    )

  def _split_generators(self, dl_manager: object) -> dict[str, Iterator]:
    del dl_manager
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    pixels = np.rint(images * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8, 1)
    return {
      split: self._generate_examples(pixels[rows], labels[rows])
      for split, rows in split_rows(labels).items()
    }

  def _generate_examples(self, pixels: np.ndarray, labels: np.ndarray) -> Iterator:
    for row, (image, label) in enumerate(zip(pixels, labels)):
      yield row, {"image": image, "label": int(label)}
