"""`python -m latentjax.data NAME`: what a data set holds, where it lies and whether it is decoded."""

import argparse

from latentjax.data import cache
from latentjax.data.loading import entry_of, open_collection


def main() -> None:
  """Prints one data set's features, splits, size and places."""
  parser = argparse.ArgumentParser(prog="python -m latentjax.data", description=__doc__)
  parser.add_argument("name", help="digits, a TFDS name, or the path of a folder of images")
  parser.add_argument("--data_dir", help="where prepared TFDS data sets lie")
  parser.add_argument("--image_size", type=int, help="side that images are resized to")
  arguments = parser.parse_args()
  try:
    collection = open_collection(**vars(arguments))
  except (ValueError, OSError) as error:
    parser.exit(2, f"{error}\n")
  print(f"{collection.name} {collection.version}, in {collection.location}")
  if collection.class_names:
    print(f"  classes: {len(collection.class_names)}: {', '.join(collection.class_names[:10])}")
  for feature, (shape, dtype) in next(iter(collection.splits.values())).features.items():
    print(f"  feature {feature}: {dtype} {shape}")
  for split, source in collection.splits.items():
    total = source.num_examples
    entry = entry_of(collection, f"{split}[0:{total}]")
    decoded = f"decoded in {entry}" if entry.is_dir() else "not decoded yet"
    print(
      f"  split {split}: {total:,} examples, {cache.num_bytes(source) / 1e6:,.1f} MB, {decoded}"
    )


if __name__ == "__main__":
  main()
