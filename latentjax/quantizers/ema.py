"""A codebook that is the moving average of the vectors it quantises, and codes nobody uses."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_float, check_positive_int, check_range, check_rank
from latentjax.collectives import row_offset
from latentjax.quantizers.vector import check_codebook, check_indices

__all__ = ["EMACodebook", "init_ema_codebook", "restart_codes", "update_ema_codebook"]


class EMACodebook(NamedTuple):
  """Codes, and the moving averages that they are made of.

  Attributes:
    codes: the codebook to quantise with, shape (N, D).
    counts: vectors that each code got in a batch, on average, shape (N,).
    sums: their sum, on average, shape (N, D).
  """

  codes: jax.Array
  counts: jax.Array
  sums: jax.Array


def init_ema_codebook(codebook: ArrayLike, *, count: float = 1.0) -> EMACodebook:
  r"""The state in which every code has had `count` vectors, all equal to it.

  .. math:: N_k = n_0, \qquad m_k = n_0 c_k

  Args:
    codebook: codes to start with, shape (N, D), floating point; from `kmeans` of a batch of vectors,
      or random.
    count: n_0, weight of the start, positive: the number of vectors of a batch over N is a good one.

  Returns:
    The state, float32 or wider.

  Raises:
    TypeError: if the codebook is not floating point.
    ValueError: if it is not of rank 2 or empty, or count is not positive.

  Example:
    >>> init_ema_codebook(jnp.eye(2), count=3.0).sums.tolist()
    [[3.0, 0.0], [0.0, 3.0]]

  References:
    van den Oord et al., Neural Discrete Representation Learning, 2017. arXiv:1711.00937
  """
  check_float(codebook=codebook)
  check_rank(2, codebook=codebook)
  check_range(0.0, strict=True, count=count)
  codes = jnp.asarray(codebook, jnp.promote_types(jnp.result_type(codebook), jnp.float32))
  # A copy: a caller that donates the state must not lose the codebook.
  return EMACodebook(jnp.copy(codes), jnp.full(codes.shape[0], count, codes.dtype), count * codes)


def update_ema_codebook(
  state: EMACodebook,
  z: ArrayLike,
  indices: ArrayLike,
  *,
  decay: ArrayLike = 0.99,
  eps: float = 1e-5,
  axis_name: str | None = None,
) -> EMACodebook:
  r"""The codebook after a batch: an online form of k-means.

  .. math::

    N_k \leftarrow \gamma N_k + (1 - \gamma) n_k, \quad
    m_k \leftarrow \gamma m_k + (1 - \gamma) \sum_{i : k_i = k} z_i, \quad
    c_k = \frac{m_k}{\tilde N_k}, \quad
    \tilde N_k = \frac{N_k + \epsilon}{\sum_j N_j + N \epsilon} \sum_j N_j

  The last, Laplace smoothing, keeps the codes that get no vectors finite. For it codes shrink towards
  the origin: those in use hardly, as eps is a number of vectors; one without vectors stays where it
  is while N_k is large beside eps, and ends at the origin. With eps = 0 it stays for ever.

  Args:
    state: before the batch.
    z: the vectors that were quantised, shape (..., D).
    indices: their codes, integers, shape (...,). A vector whose index is not in [0, N) or that has an
      entry that is not finite is left out.
    decay: gamma, in [0, 1]. Can be traced.
    eps: epsilon of the smoothing, at least 0.
    axis_name: mapped device axis over which the vectors are split, inside `pmap` or `shard_map`. The
      vectors of all devices count, and every device has the same codebook.

  Returns:
    The next state. Detached.

  Raises:
    TypeError: if z is not floating point or indices are not integers.
    ValueError: if the shapes do not fit, or decay or eps is out of range.

  Example:
    >>> state = init_ema_codebook(jnp.eye(2))
    >>> state = update_ema_codebook(state, jnp.array([[3.0, 0.0]]), jnp.array([0]), decay=0.5, eps=0.0)
    >>> state.codes.tolist(), state.counts.tolist()
    ([[2.0, 0.0], [0.0, 1.0]], [1.0, 0.5])

  References:
    van den Oord et al., Neural Discrete Representation Learning, 2017. arXiv:1711.00937
    Razavi et al., Generating Diverse High-Fidelity Images with VQ-VAE-2, 2019. arXiv:1906.00446
  """
  z, codes = check_codebook(z, state.codes)
  indices = check_indices(indices)
  check_range(0.0, 1.0, decay=decay)
  check_range(0.0, eps=eps)
  if indices.shape != z.shape[:-1]:
    raise ValueError(f"indices must have shape {z.shape[:-1]}, one for each z, got {indices.shape}")
  rows = jax.lax.stop_gradient(z).reshape(-1, z.shape[-1]).astype(codes.dtype)
  valid = jnp.all(jnp.isfinite(rows), axis=1)
  # An index that is out of range is dropped, where a negative one would count from the end.
  places = jnp.where(valid & (indices.reshape(-1) >= 0), indices.reshape(-1), codes.shape[0])
  add = lambda zeros, values: zeros.at[places].add(values, mode="drop")
  counts = add(jnp.zeros_like(state.counts), jnp.ones((), codes.dtype))
  sums = add(jnp.zeros_like(state.sums), rows)
  if axis_name is not None:
    counts, sums = jax.lax.psum((counts, sums), axis_name)
  decay = jnp.asarray(decay, codes.dtype)
  counts = decay * state.counts + (1 - decay) * counts
  sums = decay * state.sums + (1 - decay) * sums
  total = jnp.sum(counts)
  smooth = (counts + eps) / (total + counts.shape[0] * eps) * total
  # Without eps a code decays to next to no vectors, and its sums to nothing before its count does.
  some = smooth > jnp.finfo(codes.dtype).tiny ** 0.5
  codes = jnp.where(some[:, None], sums / jnp.where(some, smooth, 1)[:, None], codes)
  return jax.lax.stop_gradient(EMACodebook(codes, counts, sums))


def restart_codes(
  key: jax.Array,
  state: EMACodebook,
  z: ArrayLike,
  *,
  threshold: float = 1.0,
  axis_name: str | None = None,
) -> EMACodebook:
  r"""Codes that got fewer vectors than a threshold become vectors of the batch, drawn at random.

  .. math:: N_k < n_{min}: \quad c_k \leftarrow z_{r_k}, \ N_k \leftarrow n_{min}, \
    m_k \leftarrow n_{min} z_{r_k}, \qquad r_k \sim U\{1, \dots, B\}

  Draws are with replacement.

  Args:
    key: random key, the same on every device.
    state: after `update_ema_codebook`.
    z: vectors of the batch, shape (..., D); one that is not finite is not taken.
    threshold: n_min, positive, in vectors of a batch. Each code would get the number of vectors of a
      batch over N if all were used alike.
    axis_name: mapped device axis over which the vectors are split, inside `pmap` or `shard_map`. The
      vectors are drawn from those of all devices, the same on every device.

  Returns:
    The next state. Detached.

  Raises:
    TypeError: if z is not floating point.
    ValueError: if the shapes do not fit, there are no vectors, or threshold is not positive.

  Example:
    >>> state = init_ema_codebook(jnp.eye(2))._replace(counts=jnp.array([5.0, 0.1]))
    >>> restart_codes(jax.random.key(0), state, jnp.array([[7.0, 7.0]])).codes.tolist()
    [[1.0, 0.0], [7.0, 7.0]]

  References:
    Dhariwal et al., Jukebox: A Generative Model for Music, 2020. arXiv:2005.00341
  """
  z, codes = check_codebook(z, state.codes)
  check_range(0.0, strict=True, threshold=threshold)
  drawn = draw_vectors(key, z, num_rows=codes.shape[0], axis_name=axis_name).astype(codes.dtype)
  dead = (state.counts < threshold) & jnp.all(jnp.isfinite(drawn), axis=1)
  rows = dead[:, None]
  return jax.lax.stop_gradient(
    EMACodebook(
      jnp.where(rows, drawn, codes),
      jnp.where(dead, jnp.asarray(threshold, state.counts.dtype), state.counts),
      jnp.where(rows, threshold * drawn, state.sums),
    )
  )


def draw_vectors(
  key: jax.Array, z: jax.Array, *, num_rows: int, axis_name: str | None, replace: bool = True
) -> jax.Array:
  """Random ones (num_rows, D) of the vectors of all devices, the same on every device."""
  rows = z.reshape(-1, z.shape[-1])
  check_positive_int(num_rows=num_rows)
  if not rows.shape[0]:
    raise ValueError(f"z must have at least one vector, got shape {z.shape}")
  total = rows.shape[0] * (1 if axis_name is None else jax.lax.axis_size(axis_name))
  if replace:
    which = jax.random.randint(key, (num_rows,), 0, total)
  else:
    which = jax.random.choice(key, total, (num_rows,), replace=False)
  if axis_name is None:
    return rows[which]
  here = which - row_offset(rows.shape[0], axis_name)
  mine = (here >= 0) & (here < rows.shape[0])
  # Only the drawn rows are exchanged. Selected, not multiplied: another row may not be finite.
  drawn = jnp.where(mine[:, None], rows[jnp.where(mine, here, 0)], 0)
  return jax.lax.psum(drawn, axis_name)
