"""Two segments of a latent, one of which is to know a class and the other not."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_float, check_range, check_rank, wide_dtype
from latentjax.losses.routing import scale_gradient

__all__ = ["group_adversary_loss"]

LogitsFn = Callable[[jax.Array], jax.Array]


def group_adversary_loss(
  z_informed: ArrayLike,
  z_invariant: ArrayLike,
  labels: ArrayLike,
  informed_fn: LogitsFn,
  invariant_fn: LogitsFn,
  *,
  strength: ArrayLike = 1.0,
) -> jax.Array:
  r"""Cross-entropy of a class by two classifiers, one behind a reversed gradient; to be minimised.

  .. math:: -\log p_s(y | z_s) - \log p_d(y | R_\lambda(z_d)), \qquad R_\lambda(z) = z, \;
     \partial R_\lambda / \partial z := -\lambda I

  Both classifiers learn to tell the class. The encoder helps the first, so that z_s carries the
  class, and hinders the second, so that z_d does not.

  Args:
    z_informed: segment z_s that is to be predictive, shape (B, D_s).
    z_invariant: segment z_d that is not, shape (B, D_d).
    labels: class of every row, integers in [0, N), shape (B,).
    informed_fn: `(z_s) -> logits`, shape (B, N).
    invariant_fn: `(z_d) -> logits`, shape (B, N).
    strength: lambda, at least 0. Can be traced.

  Returns:
    Sum of both cross-entropies in nats, shape (B,), float32 or wider. Gradient flows to z_informed
    and to both classifiers, and reversed, times lambda, to z_invariant.

  Raises:
    TypeError: if a segment is not floating point or labels are not integers.
    ValueError: if a segment is not of rank 2, the numbers of rows differ, or strength is negative.

  Example:
    >>> z = jnp.zeros((3, 2))
    >>> group_adversary_loss(z, z, jnp.zeros(3, int), lambda z: z, lambda z: z).tolist()  # 2 log 2
    [1.386294..., 1.386294..., 1.386294...]

  References:
    Li et al., Learning Disentangled Representations for Time Series, 2021. arXiv:2105.08179
    Ganin & Lempitsky, Unsupervised Domain Adaptation by Backpropagation, 2015, eq. 9 and 10.
      arXiv:1409.7495
  """
  check_float(z_informed=z_informed, z_invariant=z_invariant)
  check_rank(2, z_informed=z_informed, z_invariant=z_invariant)
  check_range(0.0, strength=strength)
  check_rank(1, labels=labels)
  labels = jnp.asarray(labels)
  if not jnp.issubdtype(labels.dtype, jnp.integer):
    raise TypeError(f"labels must be integers, got {labels.dtype}")
  rows = {a.shape[0] for a in map(jnp.asarray, (z_informed, z_invariant, labels))}
  if len(rows) > 1:
    raise ValueError(f"z_informed, z_invariant and labels must have equally many rows, got {rows}")

  def cross_entropy(logits: jax.Array) -> jax.Array:
    log_prob = jax.nn.log_softmax(logits.astype(wide_dtype(logits)), axis=1)
    return -jnp.take_along_axis(log_prob, labels[:, None], axis=1)[:, 0]

  reversed_z = scale_gradient(z_invariant, -jnp.asarray(strength))
  return cross_entropy(informed_fn(jnp.asarray(z_informed))) + cross_entropy(
    invariant_fn(reversed_z)
  )
