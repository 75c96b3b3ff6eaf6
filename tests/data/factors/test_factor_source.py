import jax
import numpy as np
import pytest
import tensorflow_datasets as tfds

from latentjax import data
from latentjax.data import factors as lf

SMALL = lf.sprites(side=8, num_scales=2, num_rotations=2, num_positions=3, num_colours=1)
EVERY = {
  "sprites": lambda sampler: lf.sprites(side=8, sampler=sampler),
  "moving": lambda sampler: lf.moving_sprites(num_frames=2, side=8, sampler=sampler),
  "scenes": lambda sampler: lf.scenes(max_objects=2, side=8, sampler=sampler),
  "rooms": lambda sampler: lf.rooms(side=8, sampler=sampler),
  "melodies": lambda sampler: lf.melodies(sampler=sampler),
}


def test_grid_is_every_combination_once_and_streams_the_same():
  resident = lf.factor_dataset(SMALL)
  assert (
    resident.num_examples == 3 * 2 * 2 * 9 == len(np.unique(resident.arrays["factors"], axis=0))
  )
  assert np.array_equal(lf.index_of(resident.arrays["factors"], SMALL.sizes), np.arange(108))
  streamed = lf.factor_dataset(SMALL, memory_limit=0)
  assert streamed.arrays is None and streamed.fingerprint == resident.fingerprint
  batches = data.stream(streamed, batch_size=7, seeds=[3])
  batch = next(batches)
  batches.close()
  rows = data.example_indices(np.arange(7), num_examples=108, seed=3)
  assert all(np.array_equal(batch[name], resident.arrays[name][rows]) for name in batch)


def test_cached_is_read_again(cache_dir):
  made = lf.melodies()
  first, second = (lf.factor_dataset(made, num_examples=20, cached=True) for _ in range(2))
  assert len(list(cache_dir.glob("melodies-*/tokens.npy"))) == 1
  assert np.array_equal(first.arrays["tokens"], second.arrays["tokens"])
  other = lf.factor_dataset(made, num_examples=20, seed=1)
  assert other.fingerprint != first.fingerprint
  assert not np.array_equal(other.arrays["factors"], first.arrays["factors"])


@pytest.mark.parametrize("name", list(EVERY))
def test_every_set_takes_a_sampler_and_renders_its_features(name):
  made = EVERY[name](lf.confounded((0, 2), strength=1.0))
  drawn = lf.factor_dataset(made, num_examples=9)
  shares = drawn.arrays["factors"][:, [0, 2]] / np.array(made.sizes)[[0, 2]]
  assert np.abs(shares[:, 0] - shares[:, 1]).max() < 1  # both are floors of the cause
  assert np.array_equal(*(np.floor(shares * np.gcd(made.sizes[0], made.sizes[2]) + 1e-6).T))
  assert set(drawn.features) == {"factors", made.feature, *made.extras}
  transform = jax.jit(lf.render_on_device(made))
  row = transform(jax.random.key(0), {"factors": drawn.arrays["factors"][3]})
  assert all(np.array_equal(row[k], drawn.arrays[k][3]) for k in (made.feature, *made.extras))


def test_a_key_is_a_data_set():
  render = lf.render_on_device(lf.melodies(), fresh=True)

  def example(key):
    row = render(key, {})
    return row["factors"], lf.parse_melody(row["tokens"])

  keys = jax.random.split(jax.random.key(0), 5)
  factors, parsed = jax.device_get(jax.jit(jax.vmap(example))(keys))
  assert len(np.unique(factors, axis=0)) == 5
  assert np.array_equal(parsed, factors)


def test_known_by_name_and_prepared_without_tensorflow(tmp_path, monkeypatch):
  from latentjax.data.factors import builder

  monkeypatch.setattr(builder.FactorBuilder, "SIZES", {"train": 30, "test": 9})
  train, test = (
    data.load("melodies", split=split, data_dir=tmp_path) for split in ("train", "test")
  )
  direct = lf.factor_dataset(lf.melodies(), num_examples=39).arrays
  for name, rows in direct.items():
    assert np.array_equal(np.concatenate([train.arrays[name], test.arrays[name]]), rows)


CLASSES = dict(label_category=5, instance=10, label_elevation=9, label_azimuth=18, label_lighting=6)


class Smallnorb(tfds.core.GeneratorBasedBuilder, skip_registration=True):
  """Eight records with the features of the catalogue's data set of that name, and pixels as tensors."""

  name = "smallnorb"
  VERSION = tfds.core.Version("2.0.0")

  def _info(self):
    labels = {name: tfds.features.ClassLabel(num_classes=n) for name, n in CLASSES.items()}
    image = tfds.features.Tensor(shape=(96, 96, 1), dtype=np.uint8)
    features = tfds.features.FeaturesDict({"image": image, "image2": image, **labels})
    return tfds.core.DatasetInfo(builder=self, features=features)

  def _split_generators(self, dl_manager):
    return {"train": self._generate_examples()}

  def _generate_examples(self):
    for k in range(8):
      image = np.full((96, 96, 1), k, np.uint8)
      labels = {name: k % n for name, n in CLASSES.items()}
      yield k, {"image": image, "image2": image, **labels}


@pytest.mark.parametrize("memory_limit", [None, 0])
def test_factors_of_a_prepared_public_set(tmp_path, memory_limit):
  Smallnorb(data_dir=tmp_path, file_format="array_record").download_and_prepare()
  loaded = data.load("smallnorb", data_dir=tmp_path, memory_limit=memory_limit)
  rows = loaded.read(np.arange(8))
  factors = lf.public_factors(loaded)
  assert factors.dtype == np.int32
  assert np.array_equal(factors, rows["image"][:, 0, 0] % np.array([5, 10, 9, 18, 6]))
  with pytest.raises(ValueError, match="one of dsprites, shapes3d, smallnorb, got 'arrays'"):
    lf.public_factors(data.load({"x": np.zeros(2)}))


def test_names_of_public_factors_are_the_catalogues(tmp_path):
  for name, features in lf.PUBLIC.items():
    described = tfds.builder(name, data_dir=tmp_path).info.features
    assert set(features) <= set(described), name
