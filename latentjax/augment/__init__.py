"""Random changes of one image: `(key, image) -> image`, unbatched."""

from latentjax.augment.squares import random_squares

__all__ = ["random_squares"]
