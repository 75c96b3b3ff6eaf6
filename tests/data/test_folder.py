import os
import pickle
import shutil
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from latentjax import data


def write(path, pixels, **options):
  path.parent.mkdir(parents=True, exist_ok=True)
  Image.fromarray(np.asarray(pixels, np.uint8)).save(path, **options)
  return path


def colour(value, height=6, width=8):
  return np.full((height, width, 3), value)


@pytest.fixture
def root(tmp_path):
  """Two classes, three readable images."""
  write(tmp_path / "pets" / "dog" / "2.png", colour([3, 2, 1]))
  write(tmp_path / "pets" / "cat" / "1.png", colour([1, 2, 3]))
  write(tmp_path / "pets" / "cat" / "0.JPG", colour(128), quality=100)
  return tmp_path / "pets"


@pytest.mark.parametrize("memory_limit", [None, 0])
def test_classes_are_folders(root, memory_limit):
  pets = data.load(root, memory_limit=memory_limit)
  assert (pets.name, pets.split, pets.class_names) == ("pets", "train[0:3]", ("cat", "dog"))
  assert pets.features == {
    "image": ((6, 8, 3), np.dtype(np.uint8)),
    "label": ((), np.dtype(np.int32)),
  }
  assert (pets.arrays is None) == (memory_limit == 0)
  rows = pets.read(np.array([2, 0, 1]))
  assert rows["label"].tolist() == [1, 0, 0]
  assert rows["image"][0, 5, 7].tolist() == [3, 2, 1]
  assert np.abs(rows["image"][1].astype(int) - 128).max() <= 1
  assert rows["image"][2, 0, 0].tolist() == [1, 2, 3]
  assert np.array_equal(
    data.load(str(root), memory_limit=0).read(np.arange(3))["image"][2], rows["image"][0]
  )


def test_splits_are_the_upper_level(tmp_path):
  for split, classes in [("train", "ab"), ("valid", "bc")]:
    for number, name in enumerate(classes):
      write(tmp_path / split / name / "0.png", colour(10 * number))
  train, valid = (data.load(tmp_path, split=split) for split in ("train", "valid"))
  assert train.class_names == valid.class_names == ("a", "b", "c")
  assert train.arrays["label"].tolist() == [0, 1]
  assert valid.arrays["label"].tolist() == [1, 2]
  both = data.load(tmp_path, split="valid+train[:50%]")
  assert both.arrays["label"].tolist() == [1, 2, 0]
  with pytest.raises(
    ValueError, match=r"has no split 'test'; its splits are 'train' \(2\), 'valid'"
  ):
    data.load(tmp_path, split="test")


def test_without_classes(tmp_path):
  write(tmp_path / "b.png", colour(1))
  write(tmp_path / "a.png", colour(2))
  flat = data.load(tmp_path)
  assert list(flat.arrays) == ["image"]
  assert flat.class_names is None
  assert flat.arrays["image"][:, 0, 0, 0].tolist() == [2, 1]


def test_one_channel_only_if_all_are_grey(root, tmp_path):
  write(tmp_path / "grey" / "x" / "a.png", np.full((6, 8), 7))
  assert data.load(tmp_path / "grey").arrays["image"].shape == (1, 6, 8, 1)
  shutil.copytree(tmp_path / "grey" / "x", root / "x")
  mixed = data.load(root)
  assert mixed.arrays["image"].shape == (4, 6, 8, 3)
  assert np.all(mixed.arrays["image"][3] == 7)


def test_sixteen_bits_palette_alpha_and_orientation(tmp_path):
  deep = np.full((2, 3), 0xABCD, np.uint16)
  Image.fromarray(deep).save(tmp_path / "16.png")
  assert np.all(data.load(tmp_path).arrays["image"] == 0xAB)

  write(tmp_path / "alpha.png", np.full((2, 3, 4), [9, 8, 7, 0]))
  palette = Image.fromarray(np.full((2, 3, 3), [200, 100, 0], np.uint8)).quantize(2)
  palette.save(tmp_path / "palette.png")
  pixels = data.load(tmp_path).arrays["image"]
  assert pixels[:, 0, 0].tolist() == [[171] * 3, [9, 8, 7], [200, 100, 0]]

  turned = Image.new("RGB", (2, 3))
  turned.putpixel((0, 0), (255, 255, 255))
  exif = turned.getexif()
  exif[0x0112] = 6  # the camera was turned: shown, the first row is the last column
  turned.save(tmp_path / "turned.png", exif=exif)
  upright = data.load(tmp_path).arrays["image"][3]
  assert upright.shape == (2, 3, 3)
  assert upright[..., 0].tolist() == [[0, 0, 255], [0, 0, 0]]


def bomb(path):
  """A PNG of a few bytes that says it has 20,000 x 20,000 pixels."""

  def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

  header = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
  body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
  path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)


def test_skips_what_is_no_image(root):
  (root / "cat" / "broken.png").write_bytes((root / "cat" / "1.png").read_bytes()[:50])
  jpeg = (root / "cat" / "0.JPG").read_bytes()
  (root / "cat" / "cut.jpg").write_bytes(jpeg[: len(jpeg) - 40])
  (root / "cat" / "notes.txt").write_text("no image")
  (root / "cat" / "script.png").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
  (root / "cat" / "empty.jpg").write_bytes(b"")
  (root / "cat" / "gone.png").symlink_to(root / "nowhere.png")
  (root / "dog" / "loop.png").symlink_to(root / "dog" / "loop.png")
  os.mkfifo(root / "cat" / "pipe.png")  # who opens it waits for a writer
  (root / "cat" / ".DS_Store").write_bytes(b"hidden files are not mentioned")
  bomb(root / "dog" / "bomb.png")
  # One that decodes, and that Pillow itself would only warn of: 90 million pixels in 11 kB.
  Image.new("1", (9500, 9500)).save(root / "dog" / "large.png")
  write(root / "dog" / "float.tif", colour(1)).unlink()
  Image.fromarray(np.zeros((6, 8), np.float32)).save(root / "dog" / "float.tif")
  with pytest.warns(UserWarning, match=r"skipped 11 files that are no readable images: ") as caught:
    pets = data.load(root)
  (message,) = [str(w.message) for w in caught if "skipped" in str(w.message)]
  assert message.endswith(
    "cat/broken.png, cat/cut.jpg, cat/empty.jpg, cat/gone.png, cat/notes.txt, ..."
  )
  assert pets.num_examples == 3
  with pytest.warns(UserWarning, match="skipped 11 files"):  # again, from what is remembered
    assert data.load(root, memory_limit=0).num_examples == 3


def test_different_sizes_need_image_size(root):
  write(root / "cat" / "3.png", np.tile([[[0]], [[200]], [[0]]], (1, 12, 3)).repeat(4, 0))
  with pytest.raises(
    ValueError, match=r"2 different sizes \(cat/0.JPG is 6 x 8; cat/3.png is 12 x 12"
  ):
    data.load(root)
  for size, shape in [(4, (4, 4, 3)), ((2, 6), (2, 6, 3))]:
    pets = data.load(root, image_size=size)
    assert pets.arrays["image"].shape == (4, *shape)
  # The centre of the 12 x 12 image, cropped to 4 x 12, is its bright third.
  assert data.load(root, image_size=(2, 6)).arrays["image"][2].mean() > 180
  for wrong in (0, (3, 0), "big", (1, 2, 3), 2.5):
    with pytest.raises(ValueError, match="image_size must be a positive integer or"):
      data.load(root, image_size=wrong)


def test_a_change_is_noticed(root):
  before = data.load(root)
  assert data.load(root).fingerprint == before.fingerprint
  path = write(root / "cat" / "1.png", colour([77, 2, 3]))
  os.utime(path, ns=(1, 1))
  assert data.load(root).arrays["image"][1, 0, 0].tolist() == [77, 2, 3]
  write(root / "dog" / "9.png", colour(0))
  after = data.load(root)
  assert after.num_examples == 4
  assert after.fingerprint != before.fingerprint


@pytest.mark.parametrize("spoiled", ["[]", "null", "{}", "[" * 100_000, "another file"])
def test_what_is_remembered_of_the_files_is_not_trusted(spoiled, root, tmp_path, monkeypatch):
  monkeypatch.setenv("LATENTJAX_CACHE", str(tmp_path / "remembered"))
  assert data.load(root, memory_limit=0).num_examples == 3
  (index,) = (tmp_path / "remembered").glob("index-*.json")
  whole = index.read_text()
  index.write_text(whole.replace("cat/1.png", "cat/3.png") if " " in spoiled else spoiled)
  assert data.load(root, memory_limit=0).num_examples == 3
  assert index.read_text() == whole


def test_a_copy_elsewhere_is_the_same_data(root, tmp_path):
  shutil.copytree(root, tmp_path / "other" / "pets")
  assert data.load(root).fingerprint == data.load(tmp_path / "other" / "pets").fingerprint


def test_a_file_that_disappears_is_named(root):
  pets = data.load(root, memory_limit=0)
  (root / "dog" / "2.png").unlink()
  with pytest.raises(ValueError, match=r"cannot decode .*dog/2.png: .*No such file"):
    pets.read(np.array([2]))
  write(root / "dog" / "2.png", colour(0, 3, 3))
  with pytest.raises(ValueError, match=r"2.png changed: now \(3, 3, 3\), was \(6, 8, 3\)"):
    pets.read(np.array([2]))


def test_source_pickles(root):
  source = data.load(root, memory_limit=0).source
  again = pickle.loads(pickle.dumps(source))
  assert np.array_equal(again.read(np.arange(3))["image"], source.read(np.arange(3))["image"])


def test_what_is_no_folder_of_images(tmp_path):
  with pytest.raises(
    FileNotFoundError, match=r"no directory '.*absent'; wanted root/<class>/<image>"
  ):
    data.load(tmp_path / "absent")
  with pytest.raises(FileNotFoundError, match=r"no readable image under .*; wanted root/<class>"):
    data.load(tmp_path)
  write(tmp_path / "a" / "0.png", colour(0))
  write(tmp_path / "train" / "b" / "0.png", colour(0))
  with pytest.raises(ValueError, match=r"different depths \(a/0.png and train/b/0.png\)"):
    data.load(tmp_path)
  write(tmp_path / "train" / "b" / "c" / "d" / "0.png", colour(0))
  with pytest.raises(ValueError, match=r"train/b/c lies too deep for a folder of images"):
    data.load(tmp_path)
