"""Decoding and resizing of images with Pillow."""

import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

# Only raster formats that Pillow decodes itself (its EPS reader, for one, would start Ghostscript).
FORMATS = {
  ".bmp": "BMP",
  ".gif": "GIF",
  ".jpeg": "JPEG",
  ".jpg": "JPEG",
  ".pbm": "PPM",
  ".pgm": "PPM",
  ".png": "PNG",
  ".ppm": "PPM",
  ".tif": "TIFF",
  ".tiff": "TIFF",
  ".webp": "WEBP",
}
_GREY_MODES = ("1", "L", "LA", "La", "I;16", "I;16B", "I;16L")


class Header(NamedTuple):
  """What an image decodes to."""

  height: int
  width: int
  grey: bool


def parse_size(image_size: int | tuple[int, int] | None) -> tuple[int, int] | None:
  """(height, width) of an image_size argument.

  Raises:
    ValueError: if it is neither a positive integer nor a pair of them.
  """
  if image_size is None:
    return None
  pair = (image_size, image_size) if isinstance(image_size, int) else image_size
  sides = pair if isinstance(pair, tuple | list) and len(pair) == 2 else ()
  if not sides or not all(isinstance(side, int) and side > 0 for side in sides):
    raise ValueError(
      f"image_size must be a positive integer or (height, width), got {image_size!r}"
    )
  return sides[0], sides[1]


def check_file(path: Path) -> Header:
  """Decodes a file completely and says what it holds.

  Raises:
    ValueError: if it is no image, damaged, of an unsupported pixel type, or suspiciously large.
  """
  image = _open(path)
  return Header(image.height, image.width, image.mode in _GREY_MODES)


def read_file(path: Path, *, grey: bool, size: tuple[int, int] | None) -> np.ndarray:
  """Pixels of an image file, uint8 (height, width, 1 or 3).

  The orientation stored by cameras is applied, transparency is dropped, of an animation the first
  frame is taken, 16 bits are cut to the upper 8.

  Raises:
    ValueError: if the file cannot be decoded.
  """
  return fit(_open(path), grey=grey, size=size)


def fit(image: Any, *, grey: bool, size: tuple[int, int] | None) -> np.ndarray:
  """Pixels of a Pillow image; with a size, cropped around the centre to its shape and resized."""
  from PIL import Image, ImageOps

  if image.mode.startswith("I;16"):
    image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
  image = image.convert("L" if grey else "RGB")
  if size is not None and (image.height, image.width) != size:
    image = ImageOps.fit(image, (size[1], size[0]), Image.Resampling.BICUBIC)
  pixels = np.asarray(image, np.uint8)
  return pixels[..., None] if grey else pixels


def _open(path: Path) -> Any:
  from PIL import Image, ImageOps

  try:
    with Image.open(path, formats=tuple(set(FORMATS.values()))) as image:
      limit = Image.MAX_IMAGE_PIXELS
      if limit and image.width * image.height > limit:
        raise ValueError(f"{image.width} x {image.height} pixels, more than {limit:,}")
      image.load()
      if image.mode in ("I", "F"):
        raise ValueError(f"pixels of mode {image.mode}, wanted 8 or 16 bits")
      return ImageOps.exif_transpose(image)
  except MemoryError:
    raise
  except Exception as error:  # what a decoder raises on a damaged file depends on the format
    raise ValueError(f"cannot decode {os.fspath(path)}: {error}") from error
