import io
import json
import shutil
import subprocess
import sys
import warnings

import numpy as np
import pytest

from latentjax import data
from latentjax.data import catalogue


@pytest.fixture(scope="module")
def toy_dir(tmp_path_factory):
  """A prepared data set with features of every kind. Written by TFDS, without TensorFlow."""
  import tensorflow_datasets as tfds

  class Toy(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=name) for name in ("one", "two")]  # noqa: RUF012
    pkg_dir_path = tmp_path_factory.mktemp("pkg")

    def _info(self):
      tensor = tfds.features.Tensor
      features = {
        "grey": tensor(shape=(4, 6, 1), dtype=np.uint8),
        "colour": tensor(shape=(4, 6, 3), dtype=np.uint8),
        "vector": tensor(shape=(2,), dtype=np.float32),
        "any": tensor(shape=(None,), dtype=np.float32),
        "text": tfds.features.Text(),
        "nested": {"inside": tensor(shape=(), dtype=np.int64)},
        "label": tfds.features.ClassLabel(names=["cat", "dog"]),
      }
      return tfds.core.DatasetInfo(
        builder=self, features=tfds.features.FeaturesDict(features), disable_shuffling=True
      )

    def _split_generators(self, dl_manager):
      return {"train": self._generate_examples(7)}

    def _generate_examples(self, count):
      for i in range(count):
        yield (
          i,
          {
            "grey": np.full((4, 6, 1), i, np.uint8),
            "colour": np.broadcast_to(np.array([i, 2 * i, 255], np.uint8), (4, 6, 3)),
            "vector": np.array([i, -i], np.float32),
            "any": np.zeros(i, np.float32),
            "text": "words",
            "nested": {"inside": i},
            "label": i % 2,
          },
        )

  directory = tmp_path_factory.mktemp("toy_tfds")
  with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    Toy(data_dir=directory, config="one", file_format="array_record").download_and_prepare()
  return directory


def png_pixels(blob):
  from PIL import Image

  return np.asarray(Image.open(io.BytesIO(blob)))


def test_mnist(mnist_dir):
  train = data.load("mnist", data_dir=mnist_dir, memory_limit=0)
  test = data.load("mnist:3.0.1", split="test", data_dir=mnist_dir)
  assert (train.num_examples, test.num_examples) == (60_000, 10_000)
  assert train.name == "mnist"
  assert train.version == "3.0.1"
  assert train.arrays is None
  assert isinstance(test.arrays["image"], np.memmap)
  assert test.features["image"] == ((28, 28, 1), np.dtype(np.uint8))
  assert test.class_names == tuple("0123456789")
  assert np.bincount(test.arrays["label"]).tolist() == [
    980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009,
  ]  # fmt: skip

  # An independent read: the raw records with the array_record package and a protocol-buffer
  # parser, the PNG inside with Pillow.
  from array_record.python.array_record_module import ArrayRecordReader
  from tensorflow_datasets.proto import tf_example_pb2

  path = mnist_dir / "mnist/3.0.1/mnist-train.array_record-00000-of-00001"
  rows = [0, 1, 2, 31_415, 59_999]
  read = train.read(np.array(rows))
  for at, blob in enumerate(ArrayRecordReader(str(path)).read(rows)):
    feature = tf_example_pb2.Example.FromString(blob).features.feature
    assert read["label"][at] == feature["label"].int64_list.value[0]
    assert np.array_equal(
      read["image"][at, ..., 0], png_pixels(feature["image"].bytes_list.value[0])
    )


def test_mnist_slices(mnist_dir):
  for split, size in [("train[:90%]", 54_000), ("train[90%:]", 6_000), ("train+test", 70_000)]:
    assert data.load("mnist", split=split, data_dir=mnist_dir, memory_limit=0).num_examples == size
  whole = data.load("mnist", split="train", data_dir=mnist_dir, memory_limit=0)
  tail = data.load("mnist", split="train[-20:]+test[:5]", data_dir=mnist_dir)
  first = data.load("mnist", split="test", data_dir=mnist_dir, memory_limit=0)
  assert np.array_equal(tail.arrays["image"][:20], whole.read(np.arange(59_980, 60_000))["image"])
  assert np.array_equal(tail.arrays["image"][20:], first.read(np.arange(5))["image"])


def test_mnist_resized(mnist_dir):
  small = data.load("mnist", split="test[:3]", data_dir=mnist_dir, image_size=14)
  large = data.load("mnist", split="test[:3]", data_dir=mnist_dir, memory_limit=0)
  assert small.arrays["image"].shape == (3, 14, 14, 1)
  means = large.read(np.arange(3))["image"].reshape(3, 14, 2, 14, 2).mean((2, 4))
  assert np.corrcoef(means.ravel(), small.arrays["image"].ravel())[0, 1] > 0.98


def test_keeps_numeric_features_of_fixed_shape(toy_dir):
  with pytest.warns(UserWarning, match=r"left out 'any' \(variable length.*'nested'.*'text'"):
    toy = data.load("toy/one", data_dir=toy_dir)
  assert toy.features == {
    "colour": ((4, 6, 3), np.dtype(np.uint8)),
    "grey": ((4, 6, 1), np.dtype(np.uint8)),
    "label": ((), np.dtype(np.int32)),
    "vector": ((2,), np.dtype(np.float32)),
  }
  assert toy.name == "toy/one"
  assert toy.class_names == ("cat", "dog")
  assert toy.arrays["vector"][:, 0].tolist() == list(range(7))
  assert toy.arrays["label"].tolist() == [0, 1, 0, 1, 0, 1, 0]
  with pytest.warns(UserWarning, match="left out"):
    resized = data.load("toy/one", data_dir=toy_dir, image_size=(2, 5))
  assert resized.arrays["colour"].shape == (7, 2, 5, 3)
  assert resized.arrays["colour"][6, 1, 4].tolist() == [6, 12, 255]
  assert resized.arrays["grey"].shape == (7, 2, 5, 1)
  assert resized.fingerprint != toy.fingerprint


def test_images_of_different_sizes_need_a_size(toy_dir, tmp_path):
  directory = tmp_path / "toy" / "one" / "1.0.0"
  shutil.copytree(toy_dir / "toy" / "one" / "1.0.0", directory)
  path = directory / "features.json"
  features = json.loads(path.read_text())
  features["featuresDict"]["features"]["colour"]["tensor"]["shape"]["dimensions"] = [
    "-1",
    "-1",
    "3",
  ]
  path.write_text(json.dumps(features))
  with pytest.raises(
    ValueError, match=r"'colour' of toy/one/1.0.0 has images of different .*image_size="
  ):
    data.load("toy/one", data_dir=tmp_path)


def test_unknown_name_lists_the_near_ones(tmp_path):
  with pytest.raises(ValueError, match=r"no data set is called 'mnits', .*near names: 'mnist'"):
    data.load("mnits", data_dir=tmp_path)
  with pytest.raises(ValueError, match="near names: 'digits'"):
    data.load("digit", data_dir=tmp_path)
  with pytest.raises(ValueError, match="no data set is called 'Not a name!'"):
    data.load("Not a name!", data_dir=tmp_path)
  assert "cifar10" in catalogue.near_names("CIFAR_10")


def test_not_prepared_says_the_command(tmp_path):
  with pytest.raises(FileNotFoundError) as caught:
    data.load("cifar10:3.0.2", data_dir=tmp_path)
  message = str(caught.value)
  assert f"'cifar10:3.0.2' is not prepared in {tmp_path}" in message
  assert "python -m pip install 'latentjax[prepare]'" in message
  code = message.split('python -c "')[1].split('"\n')[0]
  compile(code, "command", "exec")
  assert f"data_dir='{tmp_path}', file_format='array_record').download_and_prepare()" in code
  assert list(tmp_path.iterdir()) == []  # nothing was downloaded


def test_the_command_prepares(tmp_path):
  command = catalogue._command("digits", tmp_path).split('python -c "')[1].removesuffix('"')
  code = f"import latentjax.data.digits; {command}"
  subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
  assert data.load("digits", data_dir=tmp_path).num_examples == 1500


def test_other_version_or_config_says_what_is_there(toy_dir):
  with pytest.raises(
    FileNotFoundError, match=r"'toy/two' is not prepared .*\(there is toy/one/1.0.0"
  ):
    data.load("toy/two", data_dir=toy_dir)
  with pytest.raises(FileNotFoundError, match=r"\(there is toy/one/1.0.0\)"):
    data.load("toy/one:9.9.9", data_dir=toy_dir)


def test_data_dir_that_does_not_exist(tmp_path):
  with pytest.raises(FileNotFoundError, match=r"data_dir='.*nowhere' is no directory"):
    data.load("mnist", data_dir=tmp_path / "nowhere")


def test_tfrecord_says_how_to_convert(toy_dir, tmp_path):
  directory = tmp_path / "toy" / "one" / "1.0.0"
  shutil.copytree(toy_dir / "toy" / "one" / "1.0.0", directory)
  info = json.loads((directory / "dataset_info.json").read_text()) | {"fileFormat": "tfrecord"}
  (directory / "dataset_info.json").write_text(json.dumps(info))
  with pytest.raises(ValueError, match="is prepared as tfrecord") as caught:
    data.load("toy/one", data_dir=tmp_path)
  assert (
    f"tfds.builder('toy/one:1.0.0', data_dir='{tmp_path}_array_record', file_format='array_record')"
    f".download_and_prepare(download_dir='{tmp_path}/downloads')"
  ) in str(caught.value)


def remove(shard):
  shard.unlink()


def cut(shard):
  shard.write_bytes(shard.read_bytes()[:-100])


def flip_bit(shard):
  content = bytearray(shard.read_bytes())
  content[120] ^= 4  # in the first record
  shard.write_bytes(content)


@pytest.mark.parametrize("memory_limit", [None, 0])
@pytest.mark.parametrize("damage", [remove, cut, flip_bit])
def test_damaged_or_missing_shard(damage, memory_limit, toy_dir, tmp_path):
  shutil.copytree(toy_dir, tmp_path / "copy")
  (shard,) = (tmp_path / "copy").glob("**/*array_record-*")
  damage(shard)
  says = rf"cannot read split 'train' of {shard.parent}: .*prepare the data set again"
  with pytest.raises(ValueError, match=says) as caught, warnings.catch_warnings():
    warnings.simplefilter("ignore")
    data.load("toy/one", data_dir=tmp_path / "copy", memory_limit=memory_limit).read(np.arange(7))
  assert damage is not remove or shard.name in str(caught.value)


def test_a_name_of_the_catalogue_wins_over_a_folder(toy_dir, tmp_path, monkeypatch):
  (tmp_path / "cifar10" / "class").mkdir(parents=True)
  monkeypatch.chdir(tmp_path)
  with pytest.raises(FileNotFoundError, match="'cifar10' is not prepared"):
    data.load("cifar10", data_dir=tmp_path)
  with pytest.raises(FileNotFoundError, match="no readable image"):
    data.load("./cifar10")
