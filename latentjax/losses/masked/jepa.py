"""Prediction of a teacher's features of hidden blocks from those of a visible context (I-JEPA)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import (
  check_float,
  check_positive_int,
  check_range,
  check_same_shape,
  wide_dtype,
)
from latentjax.collectives import draw_rows
from latentjax.losses.masked.mae import as_mask

__all__ = ["BlockMasks", "block_masks", "jepa_loss", "masked_positions"]


class BlockMasks(NamedTuple):
  """Blocks of every image, over its patches row by row.

  Attributes:
    context: True where a patch is seen, shape (B, P).
    targets: True where a patch is to be predicted, for each of M blocks, shape (B, M, P).
  """

  context: jax.Array
  targets: jax.Array


def block_masks(
  key: jax.Array,
  *,
  batch_size: int,
  grid: tuple[int, int],
  num_targets: int = 4,
  target_scale: tuple[float, float] = (0.15, 0.2),
  target_aspect: tuple[float, float] = (0.75, 1.5),
  context_scale: tuple[float, float] = (0.85, 1.0),
  min_context: int = 1,
  axis_name: str | None = None,
) -> BlockMasks:
  r"""Target blocks, which may overlap, and a large context block without what the targets cover.

  .. math::

    h = [\sqrt{n a}], \quad w = [\sqrt{n / a}], \quad n = \lfloor P s \rfloor, \qquad
    C = C_0 \setminus \bigcup_m T_m

  rounded and at most the grid, with scale s and aspect ratio a uniform; a = 1 for the context. Places
  are uniform. Where fewer than min_context patches are left, the last targets stay in the context, as
  in the authors' program, which tries other places first. Deviation: the program draws one size of
  each for the whole batch, here every image has its own; shapes are static nevertheless, since blocks
  are masks. `masked_positions` lists their patches.

  Args:
    key: random key, the same on every device.
    batch_size: B, images on this device.
    grid: rows and columns of patches; P is their product.
    num_targets: M.
    target_scale: range of a target's share of the patches, in (0, 1].
    target_aspect: range of its height over its width, positive.
    context_scale: range of the context block's share of the patches, in (0, 1].
    min_context: patches that the context has to have, at most those of its block.
    axis_name: mapped device axis over which the images are split, inside `pmap` or `shard_map`. The
      masks of an image do not depend on how.

  Returns:
    BlockMasks. Nothing to differentiate.

  Raises:
    TypeError: if a number that counts is not an integer.
    ValueError: if a number or a range is out of range.

  Example:
    >>> masks = block_masks(jax.random.key(0), batch_size=2, grid=(7, 7))
    >>> masks.context.shape, masks.targets.shape
    ((2, 49), (2, 4, 49))

  References:
    Assran et al., Self-Supervised Learning from Images with a Joint-Embedding Predictive
      Architecture, 2023. arXiv:2301.08243
  """
  rows, columns = grid
  check_positive_int(
    batch_size=batch_size,
    rows=rows,
    columns=columns,
    num_targets=num_targets,
    min_context=min_context,
  )
  for name, (low, high) in {"target_scale": target_scale, "context_scale": context_scale}.items():
    if not 1 / (rows * columns) <= low <= high <= 1:
      raise ValueError(f"{name} must be a range from one patch to all, got {(low, high)}")
  if not 0 < target_aspect[0] <= target_aspect[1]:
    raise ValueError(f"target_aspect must be a range of positive numbers, got {target_aspect}")

  u = draw_rows(key, jax.random.uniform, (batch_size, 5 + 2 * num_targets), axis_name=axis_name)
  size = _block_size(u[:, 0], u[:, 1], grid, target_scale, target_aspect)
  targets = _place(u[:, 5:].reshape(batch_size, num_targets, 2), grid, size[:, None])
  size = _block_size(u[:, 2], u[:, 2], grid, context_scale, (1.0, 1.0))
  block = _place(u[:, 3:5], grid, size)
  covered = jnp.cumsum(targets, axis=1) > 0
  contexts = block[:, None] & ~jnp.concatenate([jnp.zeros_like(covered[:, :1]), covered], axis=1)
  # Contexts without the first m targets, m = 0 ... M: the last that has enough.
  enough = jnp.sum(contexts, axis=2) >= min_context
  most = jnp.max(jnp.where(enough, jnp.arange(num_targets + 1), 0), axis=1)
  return BlockMasks(jnp.take_along_axis(contexts, most[:, None, None], axis=1)[:, 0], targets)


def masked_positions(mask: ArrayLike, *, size: int) -> tuple[jax.Array, jax.Array]:
  r"""Indices of the patches of a mask, in order, as a list of static length.

  .. math:: \{p : m_p\} = \{i_k : w_k\}

  Args:
    mask: True for the patches of the block, shape (..., P).
    size: length of the list, at most P. What a mask has beyond it is left out.

  Returns:
    (positions, where): indices, int32, and whether an index belongs to the mask or fills up the list,
    both of shape (..., size).

  Raises:
    TypeError: if mask is not boolean or size is not an integer.
    ValueError: if size is not in [1, P].

  Example:
    >>> positions, where = masked_positions(jnp.array([False, True, False, True]), size=3)
    >>> positions[where].tolist()
    [1, 3]

  References:
    Assran et al., Self-Supervised Learning from Images with a Joint-Embedding Predictive
      Architecture, 2023. arXiv:2301.08243
  """
  mask = as_mask(jnp.shape(mask), mask=mask)
  if mask.ndim == 0:
    raise ValueError("mask must have shape (..., P), got a scalar")
  check_positive_int(size=size)
  if size > mask.shape[-1]:
    raise ValueError(f"size must be at most the {mask.shape[-1]} patches, got {size}")
  positions = jnp.argsort(~mask, axis=-1, stable=True)[..., :size].astype(jnp.int32)
  return positions, jnp.take_along_axis(mask, positions, axis=-1)


def jepa_loss(
  prediction: ArrayLike,
  target: ArrayLike,
  *,
  where: ArrayLike | None = None,
  normalize_target: bool = True,
  delta: ArrayLike = 1.0,
  eps: ArrayLike = 1e-5,
) -> jax.Array:
  r"""Distance of predicted features and the teacher's, over all target patches (I-JEPA).

  .. math::

    \frac{1}{|T_b| D} \sum_{p \in T_b} \sum_d c_{pd} \Big(|e_{pd}| - \frac{c_{pd}}{2}\Big), \qquad
    e = \hat s - \bar s, \quad c = \min(|e|, \delta), \quad
    \bar s = \frac{s - \mathrm{mean}(s)}{\sqrt{\mathrm{var}(s) + \epsilon}}

  Huber distance, for delta = 1 the smooth L1 one, to features that are normalised over their D entries,
  as in the authors' program; delta = inf is half the squared distance. (The paper's text has the
  squared distance.)

  Args:
    prediction: predicted features, shape (B, ..., D), such as (B, M, T, D).
    target: the teacher's features of the same patches, the same shape.
    where: which patches count, boolean, shape (B, ...); all by default.
    normalize_target: whether to normalise the target.
    delta: where the distance turns from squared to linear, at least 0. Can be traced.
    eps: added to the variances, positive. Can be traced.

  Returns:
    Loss per example, shape (B,), float32 or wider; 0 if no patch counts. Gradient flows to the
    prediction; the target is detached.

  Raises:
    TypeError: if an array is not floating point, or where not boolean.
    ValueError: if the shapes do not fit, delta is negative or eps is not positive.

  Example:
    >>> prediction, target = jnp.array([[[0.5, 3.0]]]), jnp.zeros((1, 1, 2))
    >>> jepa_loss(prediction, target).tolist()  # (0.5^2 / 2 + 2.5) / 2
    [1.3125]

  References:
    Assran et al., Self-Supervised Learning from Images with a Joint-Embedding Predictive
      Architecture, 2023. arXiv:2301.08243
  """
  check_float(prediction=prediction, target=target)
  check_same_shape(prediction=prediction, target=target)
  if jnp.ndim(prediction) < 3:
    raise ValueError(f"prediction must have shape (B, ..., D), got {jnp.shape(prediction)}")
  check_range(0.0, delta=delta)
  check_range(0.0, strict=True, eps=eps)
  dtype = wide_dtype(prediction, target)
  target = jax.lax.stop_gradient(jnp.asarray(target, dtype))
  if normalize_target:
    centred = target - jnp.mean(target, axis=-1, keepdims=True)
    variance = jnp.mean(jnp.square(centred), axis=-1, keepdims=True)
    target = centred * jax.lax.rsqrt(variance + jnp.asarray(eps, dtype))
  error = jnp.abs(jnp.asarray(prediction, dtype) - target)
  clipped = jnp.minimum(error, jnp.asarray(delta, dtype))
  loss = jnp.mean(clipped * (error - clipped / 2), axis=-1)
  axes = tuple(range(1, loss.ndim))
  if where is None:
    return jnp.mean(loss, axis=axes)
  counts = as_mask(loss.shape, where=where)
  return jnp.sum(loss, axis=axes, where=counts) / jnp.maximum(jnp.sum(counts, axis=axes), 1)


def _block_size(
  u_scale: jax.Array,
  u_aspect: jax.Array,
  grid: tuple[int, int],
  scale: tuple[float, float],
  aspect: tuple[float, float],
) -> jax.Array:
  """Height and width in patches from uniform numbers (B,), at least 1 and at most the grid, (B, 2)."""
  share = scale[0] + (scale[1] - scale[0]) * u_scale
  ratio = aspect[0] + (aspect[1] - aspect[0]) * u_aspect
  count = jnp.floor(grid[0] * grid[1] * share)
  size = jnp.round(jnp.sqrt(count[:, None] * jnp.stack([ratio, 1 / ratio], axis=1)))
  return jnp.clip(size, 1, jnp.array(grid)).astype(jnp.int32)


def _place(u: jax.Array, grid: tuple[int, int], size: jax.Array) -> jax.Array:
  """Blocks of that size at places from uniform numbers (..., 2), as masks over patches, (..., P)."""
  places = jnp.array(grid) - size + 1
  start = jnp.minimum(jnp.floor(u * places), places - 1)[..., None]
  first, beyond = start, start + size[..., None]
  inside = [
    (jnp.arange(length) >= first[..., i, :]) & (jnp.arange(length) < beyond[..., i, :])
    for i, length in enumerate(grid)
  ]
  mask = inside[0][..., :, None] & inside[1][..., None, :]
  return mask.reshape(*mask.shape[:-2], -1)
