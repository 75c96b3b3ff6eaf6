import os
import subprocess
import sys

import numpy as np
import pytest

from latentjax import data
from latentjax.data import loading

IMAGES = np.arange(5 * 2 * 2).reshape(5, 2, 2).astype(np.uint8)
LABELS = np.array([1, 0, 1, 0, 1])


def test_arrays():
  toy = data.load({"image": IMAGES, "label": LABELS})
  assert (toy.name, toy.split, toy.num_examples, toy.num_bytes) == (
    "arrays",
    "train[0:5]",
    5,
    5 * (4 + 8),
  )
  assert toy.class_names is None
  assert np.shares_memory(toy.arrays["image"], IMAGES)
  rows = toy.read(np.array([4, 0, 4]))
  assert np.array_equal(rows["image"], IMAGES[[4, 0, 4]])
  assert rows["label"].tolist() == [1, 1, 1]


def test_slices_of_arrays():
  part = data.load({"image": IMAGES}, split="train[1:3]")
  assert np.shares_memory(part.arrays["image"], IMAGES)
  assert np.array_equal(part.arrays["image"], IMAGES[1:3])
  joined = data.load({"image": IMAGES}, split="train[3:]+train[:1]")
  assert np.array_equal(joined.arrays["image"], IMAGES[[3, 4, 0]])
  streamed = data.load({"image": IMAGES}, split="train[3:]+train[:1]", memory_limit=0)
  assert streamed.arrays is None
  assert np.array_equal(streamed.read(np.array([2, 0, 1]))["image"], IMAGES[[0, 3, 4]])


@pytest.mark.parametrize(
  ("arrays", "message"),
  [
    ({}, r"one positive leading dimension, got \{\}"),
    ({"x": np.zeros(3), "y": np.zeros(4)}, r"got \{'x': 3, 'y': 4\}"),
    ({"x": np.zeros((0, 2))}, r"got \{'x': 0\}"),
    ({"x": np.float32(1)}, r"got \{'x': None\}"),
    ({"x": np.array(["a", "b"])}, "arrays must be numeric, but 'x' has dtype <U1"),
  ],
)
def test_arrays_that_are_none(arrays, message):
  with pytest.raises(ValueError, match=message):
    data.load(arrays)


def test_arrays_are_not_resized():
  with pytest.raises(ValueError, match="image_size=4 does not apply to arrays"):
    data.load({"image": IMAGES}, image_size=4)


@pytest.mark.parametrize("memory_limit", [None, 0])
def test_indices_out_of_range(memory_limit, data_dir):
  for dataset in (
    data.load({"image": IMAGES}, memory_limit=memory_limit),
    data.load("digits", split="train[:5]", data_dir=data_dir, memory_limit=memory_limit),
  ):
    for wrong in ([5], [-1], [0, 7]):
      with pytest.raises(IndexError, match=r"indices must be in \[0, 5\), got"):
        dataset.read(np.array(wrong))


def test_memory_limit_decides(data_dir, monkeypatch):
  size = 1500 * 68
  load = lambda **kw: data.load("digits", data_dir=data_dir, **kw)
  assert load(memory_limit=size).arrays is not None
  assert load(memory_limit=size - 1).arrays is None
  monkeypatch.setattr(loading, "available_memory", lambda: 4 * size - 1)
  assert load().arrays is None
  monkeypatch.setattr(loading, "available_memory", lambda: 4 * size)
  assert load().arrays is not None


def test_available_memory_is_plausible():
  assert 2**26 < loading.available_memory() < 2**50


def test_streamed_equals_decoded(data_dir):
  split = "test[10:50]+train[-7:]"
  decoded = data.load("digits", split=split, data_dir=data_dir)
  streamed = data.load("digits", split=split, data_dir=data_dir, memory_limit=0)
  assert decoded.split == streamed.split == "test[10:50]+train[1493:1500]"
  indices = np.random.default_rng(0).permutation(47)
  for name, values in streamed.read(indices).items():
    assert values.dtype == decoded.features[name][1]
    assert np.array_equal(values, decoded.arrays[name][indices])


def test_fingerprint_tells_data_sets_apart(data_dir):
  load = lambda **kw: data.load("digits", data_dir=data_dir, **kw).fingerprint
  first = load()
  assert first == load() == load(memory_limit=0) == load(split="train[:1500]")
  others = {
    load(split="test"),
    load(split="train[:1499]"),
    load(split="train[1:]"),
    data.load({"image": IMAGES}).fingerprint,
    data.load({"picture": IMAGES}).fingerprint,
    data.load({"image": IMAGES + 1}).fingerprint,
    data.load({"image": IMAGES.astype(np.int16)}).fingerprint,
  }
  assert len(others) == 7
  assert first not in others


def test_fingerprint_is_the_same_in_every_process():
  code = (
    "import numpy as np; from latentjax import data\n"
    "print(data.load({'b': np.arange(3), 'a': np.zeros((3, 2))}).fingerprint)"
  )
  environment = {**os.environ, "PYTHONHASHSEED": "7"}
  said = subprocess.run(
    [sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True
  ).stdout
  here = data.load({"a": np.zeros((3, 2)), "b": np.arange(3)})
  assert said.strip() == here.fingerprint


def test_command_line_describes(data_dir, tmp_path):
  def run(*arguments):
    command = [sys.executable, "-m", "latentjax.data", *arguments]
    return subprocess.run(command, capture_output=True, text=True)

  data.load("digits", data_dir=data_dir)
  said = run("digits", f"--data_dir={data_dir}")
  assert said.returncode == 0
  assert "feature image: uint8 (8, 8, 1)" in said.stdout
  train, test = [line for line in said.stdout.splitlines() if "split" in line]
  assert train.startswith("  split train: 1,500 examples, 0.1 MB, decoded in ")
  assert test.startswith("  split test: 297 examples, 0.0 MB, not decoded yet")
  failed = run("digts", f"--data_dir={tmp_path}")
  assert failed.returncode == 2
  assert "near names: 'digits'" in failed.stderr
