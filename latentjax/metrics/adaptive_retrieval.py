"""Nearest neighbours by embeddings whose prefixes are embeddings: short ones choose, long ones rank."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_float, check_positive_int, check_rank, wide_dtype
from latentjax.losses.contrastive import l2_normalize

__all__ = ["adaptive_retrieval", "retrieval_cost"]


def adaptive_retrieval(
  queries: ArrayLike,
  database: ArrayLike,
  *,
  short_dim: int | Sequence[int],
  num_candidates: int | Sequence[int],
  num_neighbours: int = 10,
  block_size: int = 256,
) -> jax.Array:
  r"""Nearest neighbours among those that shorter prefixes of the embeddings let through.

  .. math:: C_0 = \{1, \dots, N\}, \qquad
    C_s = \mathrm{top}_{n_s}\{\cos(q_{1:d_s}, x_{1:d_s}) : x \in C_{s-1}\}, \qquad
    \mathrm{top}_k\{\cos(q, x) : x \in C_S\}

  With one prefix a shortlist that the whole embedding ranks again; with several, longer ones on fewer
  candidates, a funnel. With n_1 = N it is the full search, at `retrieval_cost` fewer products
  otherwise. Similarities exist for block_size queries at a time.

  Args:
    queries: embeddings of any norm, shape (Q, D).
    database: those to be found, shape (N, D).
    short_dim: lengths d_s of the prefixes, increasing, at most D.
    num_candidates: sizes n_s of the shortlists, as many, decreasing, at most N.
    num_neighbours: k, at most the last shortlist.
    block_size: queries that are compared at once.

  Returns:
    Rows of the database, the nearest first, int32, shape (Q, num_neighbours).

  Raises:
    TypeError: if an embedding is not floating point or a size is not an integer.
    ValueError: if the shapes do not fit, or the sizes are not in order.

  Example:
    >>> database = jnp.array([[1.0, 0.0], [0.9, 0.9], [0.1, 1.0]])
    >>> adaptive_retrieval(
    ...   jnp.array([[1.0, 1.0]]), database, short_dim=1, num_candidates=3, num_neighbours=1
    ... ).tolist()
    [[1]]

  References:
    Kusupati et al., Matryoshka Representation Learning, 2022. arXiv:2205.13147
  """
  check_float(queries=queries, database=database)
  check_rank(2, queries=queries, database=database)
  queries, database = jnp.asarray(queries), jnp.asarray(database)
  count, dim = database.shape
  if queries.shape[1] != dim:
    raise ValueError(
      f"queries and database must have the same width, got {queries.shape} and {database.shape}"
    )
  dims, sizes = _stages(short_dim, num_candidates)
  check_positive_int(num_neighbours=num_neighbours, block_size=block_size)
  for name, values, low, high in (
    ("short_dim", dims, 1, dim),
    ("num_candidates", sizes[::-1], num_neighbours, count),
  ):
    if list(values) != sorted(values) or not low <= values[0] <= values[-1] <= high:
      order = "increase" if name == "short_dim" else "decrease"
      raise ValueError(f"{name} must {order} within [{low}, {high}], got {values}")
  dtype = wide_dtype(queries, database)
  unit = lambda z: l2_normalize(z.astype(dtype))
  first = unit(database[:, : dims[0]])

  def nearest(prefixes: jax.Array, query: jax.Array, size: int) -> jax.Array:
    cosines = jnp.matmul(prefixes, unit(query[: prefixes.shape[1]]), precision="highest")
    return jax.lax.top_k(cosines, size)[1]

  def search(query: jax.Array) -> jax.Array:
    rows = nearest(first, query, sizes[0])
    for length, size in zip((*dims[1:], dim), (*sizes[1:], num_neighbours)):
      rows = rows[nearest(unit(database[rows, :length]), query, size)]
    return rows

  return jax.lax.map(search, queries, batch_size=block_size)


def retrieval_cost(
  *, num_rows: int, dim: int, short_dim: int | Sequence[int], num_candidates: int | Sequence[int]
) -> int:
  r"""Multiplications per query of `adaptive_retrieval`; the full search takes num_rows dim.

  .. math:: N d_1 + n_1 d_2 + \dots + n_{S-1} d_S + n_S D

  Args:
    num_rows: N, of the database.
    dim: D.
    short_dim: lengths d_s of the prefixes.
    num_candidates: sizes n_s of the shortlists, as many.

  Returns:
    Number of multiplications, an integer.

  Raises:
    TypeError: if a size is not an integer.
    ValueError: if a size is below 1, or the two are not equally many.

  Example:
    >>> retrieval_cost(num_rows=1000, dim=64, short_dim=8, num_candidates=100)  # of 64,000
    14400

  References:
    Kusupati et al., Matryoshka Representation Learning, 2022. arXiv:2205.13147
  """
  check_positive_int(num_rows=num_rows, dim=dim)
  dims, sizes = _stages(short_dim, num_candidates)
  return sum(n * d for n, d in zip((num_rows, *sizes), (*dims, dim)))


def _stages(
  short_dim: int | Sequence[int], num_candidates: int | Sequence[int]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
  """Both as tuples of the same, positive length."""
  several = lambda x: tuple(x) if isinstance(x, Sequence) else (x,)
  dims, sizes = several(short_dim), several(num_candidates)
  if not dims or len(dims) != len(sizes):
    raise ValueError(
      f"short_dim and num_candidates must be equally many, got {short_dim} and {num_candidates}"
    )
  for length, size in zip(dims, sizes):
    check_positive_int(short_dim=length, num_candidates=size)
  return dims, sizes
