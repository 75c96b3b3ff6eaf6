"""A loss on nested prefixes of an embedding, and on those of shallower layers (Matryoshka, 2DMSE)."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from latentjax.checks import check_batch, check_positive_int, check_range, wide_dtype
from latentjax.collectives import all_gather_rows, device_mean
from latentjax.losses.contrastive.normalize import l2_normalize

__all__ = ["matryoshka", "matryoshka_2d"]


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
    Function with loss_fn's arguments and result: it cuts the positional ones, whose lengths may differ,
    along their last axis, and passes the keywords on as they are.

  Raises:
    TypeError: if a dimension is not an integer; when the function is called, if an embedding is not
      floating point.
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
      check_batch(embeddings=z)
      if jnp.shape(z)[-1] < max(dims):
        raise ValueError(
          f"embeddings must have at least {max(dims)} dimensions, got shape {jnp.shape(z)}"
        )

    def loss(dim: int) -> jax.Array:
      prefixes = (jnp.asarray(z)[..., :dim] for z in embeddings)
      return loss_fn(*(l2_normalize(z) if normalize else z for z in prefixes), **rest)

    return jnp.sum(jnp.stack([c * loss(dim) for c, dim in zip(coefficients, dims)]), axis=0)

  return nested_loss


def matryoshka_2d(
  loss_fn: Callable[..., jax.Array],
  dims: Sequence,
  *,
  kl_weight: float = 1.0,
  kl_temperature: float = 0.3,
  normalize: bool = True,
  axis_name: str | None = None,
  block_size: int | None = None,
) -> Callable[..., jax.Array]:
  r"""Makes a loss of two embeddings one of all depths and widths, a random one of each at a time.

  .. math::

    \ell(z^{L}) + \ell(z^{l}) + \ell(z^{L}_{1:d}) + \ell(z^{l}_{1:d})
    + \lambda\, KL\big(\mathrm{sg}[p^{L}_i] \,\|\, p^{l}_i\big), \qquad
    p^{l}_{ij} = \mathrm{softmax}_j\big(\cos(a^{l}_i, b^{l}_j) / \tau\big)

  for the last layer L, a layer l below it and a dimension d, both drawn uniformly, so that every
  layer's every prefix becomes an embedding. The KL divergence teaches the shallow layer the
  last one's similarities of the batch; that it is these that are compared is our choice.

  Args:
    loss_fn: loss, `loss_fn(a, b, **rest)`, per example, shape (B,), or a scalar.
    dims: the lengths d to draw from, integers below the embeddings' own.
    kl_weight: lambda, at least 0; with 0 no similarities are computed.
    kl_temperature: tau, positive.
    normalize: whether what loss_fn sees is scaled to unit norm.
    axis_name: mapped device axis over which B is split, inside `pmap` or `shard_map`.
    block_size: rows at a time: similarities take memory (block_size, B), forward and backward,
      instead of (B, B). The result does not depend on it.

  Returns:
    Function `(key, a, b, **rest)` of the embeddings of all layers, from the first to the last, each of
    shape (L, B, D), with loss_fn's result plus the divergence in nats: per example, or for a scalar
    loss its mean over the examples of all devices. The key must be the same on every device. Gradient
    flows to both, except that the last layer's similarities are detached.

  Raises:
    TypeError: if a dimension or block_size is not an integer; when the function is called, if an
      embedding is not floating point.
    ValueError: if dims is empty, a dimension or block_size is below 1, or a weight is out of range;
      when the function is called, if the shapes differ or are not (L, B, D) with at least two
      layers and D above all dims.

  Example:
    >>> loss_fn = matryoshka_2d(lambda a, b: jnp.sum(a * b, axis=-1), [1])
    >>> z = jnp.ones((3, 4, 2))  # four times the cosine 1, and layers that agree
    >>> loss_fn(jax.random.key(0), z, z).round(3).tolist()
    [4.0, 4.0, 4.0, 4.0]

  References:
    Li et al., 2D Matryoshka Sentence Embeddings, 2024. arXiv:2402.14776v1
  """
  prefix_losses = [matryoshka(loss_fn, [dim], normalize=normalize) for dim in dims]
  matryoshka(loss_fn, dims)  # refuses bad dims
  check_range(low=0.0, kl_weight=kl_weight)
  check_range(low=0.0, strict=True, kl_temperature=kl_temperature)
  if block_size is not None:
    check_positive_int(block_size=block_size)

  def loss(key: jax.Array, a: jax.Array, b: jax.Array, **rest: Any) -> jax.Array:
    shape = jnp.shape(a)
    if shape != jnp.shape(b) or len(shape) != 3 or shape[0] < 2 or shape[2] <= max(dims):
      raise ValueError(
        f"embeddings must both have shape (L, B, D) with L at least 2 and D above {max(dims)}, "
        f"got {shape} and {jnp.shape(b)}"
      )
    check_batch(embeddings=a)
    a, b = jnp.asarray(a), jnp.asarray(b)
    key_layer, key_dim = jax.random.split(key)
    layer = jax.random.randint(key_layer, (), 0, shape[0] - 1)
    pairs = (a[-1], b[-1]), (a[layer], b[layer])
    whole = matryoshka(loss_fn, [shape[2]], normalize=normalize)
    of_prefix = [lambda fn=fn: sum(fn(*pair, **rest) for pair in pairs) for fn in prefix_losses]
    short = jax.lax.switch(jax.random.randint(key_dim, (), 0, len(dims)), of_prefix)
    total = sum(whole(*pair, **rest) for pair in pairs) + short
    if kl_weight == 0:
      return total
    divergence = _similarity_divergence(*pairs, 1 / kl_temperature, axis_name, block_size)
    if jnp.ndim(total) == 0:
      divergence = device_mean(jnp.mean(divergence), axis_name)
    return total + kl_weight * divergence

  return loss


def _similarity_divergence(
  teacher: tuple, student: tuple, scale: float, axis_name: str | None, block_size: int | None
) -> jax.Array:
  """KL divergence of every row's softmax over the batch, (B,), so many rows at a time."""
  dtype = wide_dtype(*teacher, *student)
  layers = [[l2_normalize(jnp.asarray(z, dtype)) for z in pair] for pair in (teacher, student)]
  columns = [all_gather_rows(b, axis_name) for _, b in layers]

  def divergence(anchors: tuple[jax.Array, ...]) -> jax.Array:
    log_p, log_q = (
      jax.nn.log_softmax(scale * jnp.matmul(b, a, precision="highest"))
      for a, b in zip(anchors, columns)
    )
    log_p = jax.lax.stop_gradient(log_p)
    return jnp.sum(jnp.exp(log_p) * (log_p - log_q))

  anchors = tuple(a for a, _ in layers)
  if block_size is None:
    return jax.vmap(divergence)(anchors)
  return jax.lax.map(jax.checkpoint(divergence), anchors, batch_size=block_size)
