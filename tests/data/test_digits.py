import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from sklearn.datasets import load_digits

from latentjax import data


def test_equals_scikit_learn(data_dir):
  train = data.load("digits", data_dir=data_dir)
  test = data.load("digits", split="test", data_dir=data_dir)
  assert (train.num_examples, test.num_examples) == (1500, 297)
  assert train.features == {
    "image": ((8, 8, 1), np.dtype("uint8")),
    "label": ((), np.dtype("int32")),
  }
  assert train.class_names == tuple("0123456789")
  assert train.num_bytes == 1500 * (64 + 4)

  images, labels = load_digits(return_X_y=True)
  both = {k: np.concatenate([train.arrays[k], test.arrays[k]]) for k in ("image", "label")}
  original = np.rint(both["image"].astype(float) * 16 / 255).reshape(-1, 64)
  ours = np.column_stack([both["label"], original])
  theirs = np.column_stack([labels, images])
  assert both["image"].max() == 255
  assert np.array_equal(ours[np.lexsort(ours.T)], theirs[np.lexsort(theirs.T)])


def test_splits_are_stratified_and_keep_the_order_of_scikit_learn(data_dir):
  counts = np.bincount(load_digits().target)
  test = data.load("digits", split="test", data_dir=data_dir)
  share = np.bincount(test.arrays["label"])
  assert np.abs(share - counts * 297 / 1797).max() <= 1

  images, _ = load_digits(return_X_y=True)
  row_of = {image.tobytes(): row for row, image in enumerate(images.astype(np.uint8))}
  pixels = np.rint(test.arrays["image"] * (16 / 255)).astype(np.uint8).reshape(-1, 64)
  rows = [row_of[image.tobytes()] for image in pixels]
  assert rows == sorted(rows)


def test_no_tensorflow_and_no_noise(tmp_path):
  code = (
    "import sys; from latentjax import data\n"
    f"print(data.load('digits', data_dir={str(tmp_path)!r}).num_examples)\n"
    "assert 'tensorflow' not in sys.modules\n"
  )
  done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
  assert done.stdout == "1500\n"
  assert done.stderr == ""


def test_killed_while_preparing(tmp_path):
  code = (
    "import time, latentjax.data.digits as d; from latentjax import data\n"
    "def hang(self, pixels, labels):\n"
    "  yield 0, {'image': pixels[0], 'label': 0}\n"
    "  print('half', flush=True, file=__import__('sys').__stdout__); time.sleep(60)\n"
    "d.Digits._generate_examples = hang\n"
    f"data.load('digits', data_dir={str(tmp_path)!r})\n"
  )
  process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
  assert process.stdout.readline() == b"half\n"
  assert list(tmp_path.glob("digits/incomplete.*"))
  os.kill(process.pid, signal.SIGKILL)
  process.wait()
  assert data.load("digits", data_dir=tmp_path).num_examples == 1500
  assert not list(tmp_path.glob("digits/incomplete.*"))


def test_two_processes_prepare_at_once(tmp_path):
  code = (
    "from latentjax import data\n"
    f"print(int(data.load('digits', data_dir={str(tmp_path)!r}).arrays['label'].sum()))\n"
  )
  both = [
    subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    for _ in range(2)
  ]
  said = [process.communicate(timeout=60)[0] for process in both]
  assert [process.returncode for process in both] == [0, 0]
  assert said[0] == said[1] != ""


def test_data_dir_that_cannot_be_written(tmp_path):
  (tmp_path / "digits").write_text("a file where the directory should be")
  with pytest.raises(OSError, match=r"could not prepare 'digits' in .*pass another data_dir="):
    data.load("digits", data_dir=tmp_path)


def test_is_quick_once_prepared(data_dir):
  data.load("digits", data_dir=data_dir)
  start = time.perf_counter()
  data.load("digits", data_dir=data_dir)
  assert time.perf_counter() - start < 1.0
