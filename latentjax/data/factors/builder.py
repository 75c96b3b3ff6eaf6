"""Sets of factors as TFDS data sets, prepared without TensorFlow. Importing this module imports TFDS."""

from collections.abc import Callable, Iterator
from typing import ClassVar

import numpy as np
import tensorflow_datasets as tfds

from latentjax.data.factors.factor import FactorSet
from latentjax.data.factors.melodies import melodies
from latentjax.data.factors.moving import moving_sprites
from latentjax.data.factors.rooms import rooms
from latentjax.data.factors.scenes import scenes
from latentjax.data.factors.source import FactorSource
from latentjax.data.factors.sprites import dsprites_grid, sprites

_ROWS = 512


class FactorBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
  """Examples with independent factors, drawn with seed 0; "factors" are their indices.

  Drawn with replacement: of the smallest grid, of 480,000, one test example in 25 is in training, too.
  """

  VERSION = tfds.core.Version("1.0.0")
  MAKE: ClassVar[Callable[[], FactorSet]]
  SIZES: ClassVar[dict[str, int]] = {"train": 20_000, "test": 2_000}

  def _source(self) -> FactorSource:
    return FactorSource(type(self).MAKE(), sum(self.SIZES.values()))

  def _info(self) -> tfds.core.DatasetInfo:
    made = type(self).MAKE()
    named = ", ".join(f"{factor.name} ({factor.size})" for factor in made.factors)
    return self.dataset_info_from_configs(
      description=f"Procedural data with known factors: {named}.",
      features=tfds.features.FeaturesDict(
        {
          name: tfds.features.Tensor(shape=shape, dtype=dtype)
          for name, (shape, dtype) in self._source().features.items()
        }
      ),
      disable_shuffling=True,
    )

  def _split_generators(self, dl_manager: object) -> dict[str, Iterator]:
    del dl_manager
    ends = np.cumsum(list(self.SIZES.values())).tolist()
    bounds = zip(self.SIZES, [0, *ends], ends)
    return {split: self._generate_examples(first, last) for split, first, last in bounds}

  def _generate_examples(self, first: int, last: int) -> Iterator:
    source = self._source()
    for start in range(first, last, _ROWS):
      indices = np.arange(start, min(start + _ROWS, last))
      rows = source.read(indices)
      for place, index in enumerate(indices):
        yield int(index) - first, {name: values[place] for name, values in rows.items()}


class DspritesGrid(FactorBuilder):
  """White sprites of one bit on the grid of dSprites."""

  MAKE = staticmethod(dsprites_grid)


class Melodies(FactorBuilder):
  """The melodies of dMelodies."""

  MAKE = staticmethod(melodies)


class MovingSprites(FactorBuilder):
  """Videos of 16 frames."""

  MAKE = staticmethod(moving_sprites)
  SIZES: ClassVar[dict[str, int]] = {"train": 2_000, "test": 200}


class Rooms(FactorBuilder):
  """A room with an object."""

  MAKE = staticmethod(rooms)


class Scenes(FactorBuilder):
  """One to four objects, with masks and captions."""

  MAKE = staticmethod(scenes)


class Sprites(FactorBuilder):
  """Coloured sprites."""

  MAKE = staticmethod(sprites)
