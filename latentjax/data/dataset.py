"""One split of a data set, ready to be read."""

import dataclasses
import hashlib
import json

import numpy as np

from latentjax.data.sources import Feature, Source


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
  """One split of a data set.

  Attributes:
    name: the data set.
    version: its version, or a digest of its content.
    split: the records it stands for, with absolute bounds such as "train[0:54000]".
    features: shape and dtype of one example, per feature.
    class_names: names of the values of "label", None where there are none.
    arrays: all examples, (num_examples, *shape) per feature, memory-mapped where they come from the
      cache; None where the data set is streamed.
    source: random access to the records; equals the arrays where there are any.
  """

  name: str
  version: str
  split: str
  features: dict[str, Feature]
  class_names: tuple[str, ...] | None
  arrays: dict[str, np.ndarray] | None = dataclasses.field(repr=False)
  source: Source = dataclasses.field(repr=False)

  @property
  def num_examples(self) -> int:
    """Number of examples in the split."""
    return self.source.num_examples

  @property
  def num_bytes(self) -> int:
    """Size of all examples once decoded."""
    sizes = (
      np.prod(shape, dtype=np.int64) * dtype.itemsize for shape, dtype in self.features.values()
    )
    return self.num_examples * int(sum(sizes))

  @property
  def fingerprint(self) -> str:
    """Short string that two loads share exactly when they give the same records in the same order."""
    features = {name: [list(shape), dtype.str] for name, (shape, dtype) in self.features.items()}
    content = [self.name, self.version, self.split, self.num_examples, features]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

  def read(self, indices: np.ndarray) -> dict[str, np.ndarray]:
    """Examples in the order asked.

    Args:
      indices: record indices in [0, num_examples), shape (B,).

    Returns:
      One array (B, *shape) per feature.

    Raises:
      IndexError: if an index is out of range.
    """
    indices = np.asarray(indices)
    if indices.size and not 0 <= indices.min() <= indices.max() < self.num_examples:
      raise IndexError(
        f"indices must be in [0, {self.num_examples}), got {indices.min()} to {indices.max()}"
      )
    return self.source.read(indices)
