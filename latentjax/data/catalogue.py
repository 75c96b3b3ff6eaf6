"""Data sets prepared by TFDS, read without TensorFlow."""

import difflib
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from latentjax.data.embedded import EMBEDDED, expand, prepare_embedded
from latentjax.data.images import fit, parse_size
from latentjax.data.sources import Collection, Feature

ImageSize = int | tuple[int, int] | None


class TfdsSource:
  """Records of one split of a prepared TFDS data set; opens its files where it is first read."""

  def __init__(self, directory: str, split: str, features: dict[str, Feature], num_examples: int):
    self.directory, self.split = directory, split
    self.features, self.num_examples = features, num_examples
    self._records: Any = None

  def read(self, indices: np.ndarray) -> dict[str, np.ndarray]:
    try:
      if self._records is None:
        import tensorflow_datasets as tfds

        self._records = tfds.builder_from_directory(self.directory).as_data_source(self.split)
      examples = self._records.__getitems__([int(index) for index in indices])
    except (OSError, RuntimeError, ValueError) as error:  # records carry hashes: damage is noticed
      raise ValueError(
        f"cannot read split {self.split!r} of {self.directory}: {error}. A file of it is missing or "
        "damaged: remove that directory and prepare the data set again"
      ) from error
    return {
      name: self._stack([example[name] for example in examples], *feature)
      for name, feature in self.features.items()
    }

  def _stack(self, values: list[Any], shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    if len(shape) == 3 and values and np.shape(values[0]) != shape:
      values = [_resize(value, shape) for value in values]
    return np.asarray(values, dtype).reshape(len(values), *shape)

  def __getstate__(self) -> dict[str, Any]:
    return self.__dict__ | {"_records": None}


def open_catalogue(
  name: str, data_dir: str | os.PathLike[str] | None, image_size: ImageSize
) -> Collection:
  """A prepared data set of the TFDS catalogue, or one of ours, prepared now where it is not yet.

  Raises:
    FileNotFoundError: if data_dir does not exist, or the data set is known but not prepared there.
    ValueError: if the name is unknown, the files are not in a random-access format, or an image
      feature needs image_size.
  """
  if name in EMBEDDED:
    directory = prepare_embedded(name, data_dir)
  else:
    directory = find_prepared(name, data_dir) or _not_prepared(name, data_dir)
  return open_directory(directory, image_size)


def open_directory(directory: str, image_size: ImageSize) -> Collection:
  """The data set prepared in a directory `data_dir/name/[config/]version`."""
  import tensorflow_datasets as tfds

  builder = tfds.builder_from_directory(directory)
  info = builder.info
  version = str(info.version)
  name = info.full_name.removesuffix(f"/{version}")
  formats = {each.value for each in info.available_file_formats()}
  if "array_record" not in formats:
    root = Path(directory).parents[name.count("/") + 1]
    raise ValueError(
      f"{name} in {directory} is prepared as {', '.join(sorted(formats)) or 'nothing'}, which has no "
      "random access without TensorFlow. Prepare it once more, from what was downloaded then, into "
      "another data_dir with\n"
      + _command(f"{name}:{version}", f"{root}_array_record", download_dir=f"{root}/downloads")
    )
  size = parse_size(image_size)
  features, left_out = _fixed_features(info, size)
  if left_out:
    warnings.warn(f"{name}: left out {', '.join(left_out)}", stacklevel=2)
  splits = {
    each: TfdsSource(directory, each, features, split.num_examples)
    for each, split in info.splits.items()
  }
  label = dict(info.features.items()).get("label")
  class_names = tuple(label.names) if isinstance(label, tfds.features.ClassLabel) else None
  changed = (Path(directory) / "dataset_info.json").stat().st_mtime_ns
  identity = f"{directory} {changed}"
  return Collection(name, version, directory, splits, class_names, identity)


def find_prepared(name: str, data_dir: str | os.PathLike[str] | None) -> str | None:
  """Directory of a prepared data set, None where there is none."""
  from tensorflow_datasets.core import read_only_builder, registered

  try:
    builder = read_only_builder.builder_from_files(name, data_dir=expand(data_dir))
  except registered.DatasetNotFoundError:
    return None
  except ValueError as error:
    if "Parsing builder name" in str(error):
      return None
    raise
  return os.fspath(builder.data_path)


def known_names() -> list[str]:
  """Names of our builders and of the TFDS catalogue."""
  import tensorflow_datasets as tfds

  # The community data sets would ask the network for their list.
  return sorted({*EMBEDDED, *tfds.list_builders(with_community_datasets=False)})


def base_name(name: str) -> str:
  """The data set in `name/config:version`."""
  return name.split(":")[0].split("/")[0]


def near_names(name: str) -> list[str]:
  """Known names most like a misspelt one, best first."""
  return difflib.get_close_matches(base_name(name).lower(), known_names(), n=5, cutoff=0.5)


def _not_prepared(name: str, data_dir: str | os.PathLike[str] | None) -> str:
  from tensorflow_datasets.core.utils import file_utils

  places = [Path(place) for place in file_utils.list_data_dirs(expand(data_dir))]
  if data_dir is not None and not places[0].is_dir():
    raise FileNotFoundError(f"data_dir={os.fspath(data_dir)!r} is no directory ({name=})")
  base = base_name(name)
  found = sorted(
    os.fspath(path.parent.relative_to(place))
    for place in places
    for path in (place / base).glob("**/dataset_info.json")
  )
  where = " or ".join(map(os.fspath, places))
  if not found and base not in known_names():
    near = ", ".join(repr(each) for each in near_names(name)) or "none"
    raise ValueError(
      f"no data set is called {name!r}, neither in the catalogue nor in data_dir {where}; "
      f"near names: {near}. A folder of images is given as a path that exists, arrays as a mapping"
    )
  there = f" (there is {', '.join(found)})" if found else ""
  raise FileNotFoundError(
    f"data set {name!r} is not prepared in {where}{there}. Nothing is downloaded silently; "
    f"prepare it once with\n{_command(name, places[0])}\nor pass the data_dir= that holds it"
  )


def _command(name: str, data_dir: str | Path, *, download_dir: str = "") -> str:
  """Shell lines that prepare a data set. (The `tfds` command needs still more packages to start.)"""
  arguments = f"'{name}', data_dir='{data_dir}', file_format='array_record'"
  downloads = f"download_dir='{download_dir}'" if download_dir else ""
  return (
    "  python -m pip install 'latentjax[prepare]'\n"
    '  python -c "import tensorflow_datasets as tfds; '
    f'tfds.builder({arguments}).download_and_prepare({downloads})"'
  )


def _fixed_features(
  info: Any, size: tuple[int, int] | None
) -> tuple[dict[str, Feature], list[str]]:
  """Features that become arrays, and a note for each of the others."""
  import tensorflow_datasets as tfds

  kept: dict[str, Feature] = {}
  left_out = []
  for name, feature in info.features.items():
    shape, dtype = feature.shape, feature.np_dtype
    if not isinstance(shape, tuple) or isinstance(dtype, dict):
      left_out.append(f"{name!r} (nested)")
      continue
    dtype = np.dtype(np.int32 if isinstance(feature, tfds.features.ClassLabel) else dtype)
    is_image = len(shape) == 3 and dtype == np.uint8 and shape[-1] in (1, 3, 4)
    if is_image and size is not None:
      shape = (*size, shape[-1])
    if dtype.kind not in "buif":
      left_out.append(f"{name!r} (no numbers)")
    elif None not in shape:
      kept[name] = (shape, dtype)
    elif is_image:
      raise ValueError(
        f"feature {name!r} of {info.full_name} has images of different sizes {shape}; "
        "pass image_size= to crop and resize them to one"
      )
    else:
      left_out.append(f"{name!r} (variable length {shape})")
  if not kept:
    raise ValueError(f"{info.full_name} has no numeric feature of fixed shape: {left_out}")
  return dict(sorted(kept.items())), sorted(left_out)  # stored in no fixed order


def _resize(pixels: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
  from PIL import Image

  channels = shape[-1]
  if channels == 4:
    raise ValueError("image_size does not resize images of 4 channels")
  image = Image.fromarray(pixels[..., 0] if channels == 1 else pixels)
  return fit(image, grey=channels == 1, size=(shape[0], shape[1]))
