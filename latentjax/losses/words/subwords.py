"""Word vectors made of the vectors of their character n-grams (fastText)."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from latentjax.checks import check_float, check_positive_int, check_rank, wide_dtype

__all__ = ["ngram_embed", "ngram_ids"]


def ngram_ids(
  words: Sequence, *, num_buckets: int = 2_000_000, min_length: int = 3, max_length: int = 6
) -> np.ndarray:
  r"""Hashes of the character n-grams of words, for `ngram_embed`; runs on the host.

  .. math:: G(w) = \{ h(g) \bmod \text{num\_buckets} : g \text{ an n-gram of } {<} w {>} \}

  A word stands between "<" and ">"; its n-grams are all the strings in it of min_length to
  max_length characters, as often as they occur, and the whole. Each goes to one of num_buckets rows
  of a table by the 32-bit FNV-1a hash of its UTF-8 bytes; strings that fall on the same row share it.
  (The authors' program gives the whole words of its vocabulary rows of their own, and its bytes above
  127 count as negative.)

  Args:
    words: strings, in the vocabulary or not.
    num_buckets: rows of the table, at least 1.
    min_length: characters of the shortest n-gram, at least 1.
    max_length: characters of the longest, at least min_length.

  Returns:
    Rows of the table, int32, shape (len(words), N), N that of the word with most n-grams; -1 where a
    word has fewer.

  Raises:
    TypeError: if a setting is not an integer.
    ValueError: if words is empty, or a setting is out of range.

  Example:
    >>> ngram_ids(["ab", "a"], num_buckets=100, min_length=3, max_length=3).shape  # <ab ab> <ab>
    (2, 3)

  References:
    Bojanowski et al., Enriching Word Vectors with Subword Information, 2017. arXiv:1607.04606
  """
  check_positive_int(num_buckets=num_buckets, min_length=min_length, max_length=max_length)
  if max_length < min_length:
    raise ValueError(f"max_length must be at least min_length {min_length}, got {max_length}")
  if not len(words):
    raise ValueError("words must have at least one word, got none")
  rows = []
  for word in words:
    marked = f"<{word}>"
    ngrams = [
      marked[start : start + length]
      for length in range(min_length, max_length + 1)
      for start in range(len(marked) - length + 1)
    ]
    ngrams += [] if marked in ngrams else [marked]
    rows.append([_fnv1a(ngram) % num_buckets for ngram in ngrams])
  ids = np.full((len(rows), max(map(len, rows))), -1, np.int32)
  for row, values in zip(ids, rows):
    row[: len(values)] = values
  return ids


def ngram_embed(ids: ArrayLike, table: ArrayLike) -> jax.Array:
  r"""Vectors of words as the sums of the vectors of their n-grams.

  .. math:: v_w = \sum_{g \in G(w)} z_g

  so that a word that was never seen has a vector, near those of words that look like it.

  Args:
    ids: rows of the table, from `ngram_ids`, negative where there is none, integers, shape (B, N).
    table: vectors z of the n-grams, shape (num_buckets, D).

  Returns:
    Vectors, shape (B, D), float32 or wider. Gradient flows to the table.

  Raises:
    TypeError: if ids are not integers or the table is not floating point.
    ValueError: if an array is not of rank 2.

  Example:
    >>> ngram_embed(jnp.array([[0, 1], [1, -1]]), jnp.array([[1.0], [10.0]])).tolist()
    [[11.0], [10.0]]

  References:
    Bojanowski et al., Enriching Word Vectors with Subword Information, 2017. arXiv:1607.04606
  """
  check_float(table=table)
  check_rank(2, ids=ids, table=table)
  ids = jnp.asarray(ids)
  if not jnp.issubdtype(ids.dtype, jnp.integer):
    raise TypeError(f"ids must be integers, got {ids.dtype}")
  rows = jnp.asarray(table, wide_dtype(table))[jnp.maximum(ids, 0)]
  return jnp.sum(rows, axis=1, where=ids[..., None] >= 0)


def _fnv1a(text: str) -> int:
  value = 2166136261
  for byte in text.encode():
    value = (value ^ byte) * 16777619 % 2**32
  return value
