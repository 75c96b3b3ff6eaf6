"""Batches in which few examples share a label, so that few negatives are false (G-SimCLR)."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_positive_int, check_rank

__all__ = ["pseudo_label_batches"]


def pseudo_label_batches(key: jax.Array, labels: ArrayLike, *, batch_size: int) -> jax.Array:
  r"""Rows of one epoch's batches, each with as few examples of a label as can be.

  .. math:: \lfloor n_c / M \rfloor \le |\{b \in \text{batch} : y_b = c\}| \le \lceil n_c / M \rceil

  for a label c with n_c examples in an epoch of M batches: not at all or once if n_c is at most M.
  Examples are dealt out in the order of their labels and, of the same label, in random order; the N
  mod batch_size that are left over are random ones.

  Args:
    key: random key; another one for every epoch.
    labels: pseudo-labels such as k-means clusters of an autoencoder's latents, any integers, shape (N,).
    batch_size: examples of a batch, at most N.

  Returns:
    Indices of examples, each at most once, int32, shape (N // batch_size, batch_size), the batches
    in random order.

  Raises:
    TypeError: if labels are not integers or batch_size is not one.
    ValueError: if labels is not of rank 1, or batch_size is not in [1, N].

  Example:
    >>> labels = jnp.array([0, 0, 0, 1, 1, 1])
    >>> rows = pseudo_label_batches(jax.random.key(0), labels, batch_size=2)
    >>> jnp.sort(labels[rows], axis=1).tolist()
    [[0, 1], [0, 1], [0, 1]]

  References:
    Chakraborty et al., G-SimCLR: Self-Supervised Contrastive Learning with Guided Projection via
      Pseudo Labelling, 2020. arXiv:2009.12007
  """
  labels = jnp.asarray(labels)
  if not jnp.issubdtype(labels.dtype, jnp.integer):
    raise TypeError(f"labels must be integers, got {labels.dtype}")
  check_rank(1, labels=labels)
  check_positive_int(batch_size=batch_size)
  if batch_size > labels.size:
    raise ValueError(f"batch_size must be at most {labels.size}, got {batch_size}")
  num_batches = labels.size // batch_size
  key_rows, key_batches = jax.random.split(key)
  rows = jax.random.permutation(key_rows, labels.size)[: num_batches * batch_size]
  rows = rows[jnp.argsort(labels[rows], stable=True)]
  # Neighbours in this order, and so examples of the same label, go to different batches.
  batches = rows.reshape(batch_size, num_batches).T
  return jax.random.permutation(key_batches, batches).astype(jnp.int32)
