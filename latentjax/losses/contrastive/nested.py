"""A loss on nested prefixes of an embedding (Matryoshka)."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from latentjax.checks import check_positive_int
from latentjax.losses.contrastive.normalize import l2_normalize

__all__ = ["matryoshka"]


def matryoshka(
  loss_fn: Callable[..., jax.Array],
  dims: Sequence,
  *,
  weights: Sequence[float] | None = None,
  normalize: bool = True,
) -> Callable[..., jax.Array]:
  r"""Makes a loss of embeddings the weighted sum of that loss on each of their prefixes.

  .. math:: \sum_m c_m \, \ell(z_{1:m}, \dots)

  so that the first m numbers of an embedding are an embedding themselves. For a classifier,
  `loss_fn=lambda z, w, y: nll(z @ w[: z.shape[-1]], labels=y)` with `w` and `y` given by keyword
  shares one matrix between the prefixes.

  Args:
    loss_fn: loss, `loss_fn(*embeddings, **rest)`, of any shape that does not depend on the dimension.
    dims: the lengths m, integers.
    weights: the c_m, as many as dims; 1 each by default.
    normalize: whether prefixes are scaled to unit norm, as losses on cosines want it.

  Returns:
    Function with loss_fn's arguments and result: it cuts the positional ones along their last axis,
    and passes the keywords on as they are.

  Raises:
    TypeError: if a dimension is not an integer.
    ValueError: if dims is empty, a dimension is below 1, or weights are not as many as dims; when the
      function is called, if an embedding is shorter than a dimension.

  Example:
    >>> loss_fn = matryoshka(lambda a, b: jnp.sum(a * b, axis=-1), [1, 2])
    >>> loss_fn(jnp.array([[0.0, 4.0]]), jnp.array([[3.0, 4.0]])).tolist()  # cosines 0 and 0.8
    [0.8...]

  References:
    Kusupati et al., Matryoshka Representation Learning, 2022. arXiv:2205.13147
  """
  dims = tuple(dims)
  if not dims:
    raise ValueError("dims must have at least one dimension, got none")
  for dim in dims:
    check_positive_int(dims=dim)
  coefficients = (1.0,) * len(dims) if weights is None else tuple(weights)
  if len(coefficients) != len(dims):
    raise ValueError(f"weights must be as many as dims, {len(dims)}, got {len(coefficients)}")

  def nested_loss(*embeddings: Any, **rest: Any) -> jax.Array:
    for z in embeddings:
      if jnp.shape(z)[-1] < max(dims):
        raise ValueError(
          f"embeddings must have at least {max(dims)} dimensions, got shape {jnp.shape(z)}"
        )

    def loss(dim: int) -> jax.Array:
      prefixes = (jnp.asarray(z)[..., :dim] for z in embeddings)
      return loss_fn(*(l2_normalize(z) if normalize else z for z in prefixes), **rest)

    return jnp.sum(jnp.stack([c * loss(dim) for c, dim in zip(coefficients, dims)]), axis=0)

  return nested_loss
