import subprocess
import sys

import pytest

from latentjax.data.splits import resolve

SIZES = {"train": 1000, "test": 37}


@pytest.mark.parametrize(
  ("split", "wanted"),
  [
    ("train", ["train[0:1000]"]),
    ("train+test", ["train[0:1000]", "test[0:37]"]),
    (" test + train ", ["test[0:37]", "train[0:1000]"]),
    ("all", ["train[0:1000]", "test[0:37]"]),
    ("train[:90%]", ["train[0:900]"]),
    ("train[90%:]", ["train[900:1000]"]),
    ("train[10:-10]", ["train[10:990]"]),
    ("test[:50%]", ["test[0:18]"]),  # round half to even of 18.5, as TFDS has it
    ("test[50%:]+train[:1]", ["test[18:37]", "train[0:1]"]),
    ("train+train", ["train[0:1000]", "train[0:1000]"]),
  ],
)
def test_resolves(split, wanted):
  assert [str(piece) for piece in resolve(split, SIZES, name="toy")] == wanted


@pytest.mark.parametrize(
  ("split", "message"),
  [
    ("valid", r"toy has no split 'valid'; its splits are 'train' \(1,000\), 'test' \(37\)"),
    ("train+valid[:5]", "toy has no split 'valid'"),
    ("", "toy has no split ''"),
    ("train[:0]", r"of toy holds no example: train\[0:0\]"),
    ("train[:1001]", r"'train\[:1001\]' is no slice of 'train' with 1,000 examples; write for"),
    ("train[:101%]", "is no slice"),
    ("train[half:]", "is no slice"),
    ("train[:3shard]", "is no slice"),
    ("train[", "is no slice"),
  ],
)
def test_says_what_is_wrong(split, message):
  with pytest.raises(ValueError, match=message):
    resolve(split, SIZES, name="toy")


def test_plain_arrays_need_no_tfds():
  code = (
    "import sys; sys.modules['tensorflow_datasets'] = sys.modules['grain'] = None\n"
    "import numpy as np; from latentjax import data\n"
    "d = data.load({'x': np.arange(4)}, split='train+train')\n"
    "assert d.arrays['x'].tolist() == [0, 1, 2, 3] * 2\n"
    "assert not {'jax', 'sklearn', 'PIL'} & set(sys.modules), sorted(sys.modules)\n"
  )
  subprocess.run([sys.executable, "-c", code], check=True)
