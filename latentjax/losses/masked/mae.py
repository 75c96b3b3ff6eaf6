"""Masked autoencoding: reconstruct the patches that a random mask hides (MAE)."""

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

__all__ = ["Masking", "mae_loss", "random_masking"]


class Masking(NamedTuple):
  """Which patches of every image are seen.

  Attributes:
    visible: indices of the visible patches, in random order, int32, shape (B, V).
    hidden: indices of the others, in random order, int32, shape (B, P - V).
    mask: True where a patch is visible, shape (B, P).
  """

  visible: jax.Array
  hidden: jax.Array
  mask: jax.Array


def random_masking(
  key: jax.Array,
  *,
  batch_size: int,
  num_patches: int,
  mask_ratio: float = 0.75,
  axis_name: str | None = None,
) -> Masking:
  r"""Hides the same number of patches of every image, drawn uniformly without replacement.

  .. math:: V = \lfloor P (1 - r) \rfloor

  is the number that stays visible. It is static, so that the encoder gets the visible patches only.

  Args:
    key: random key, the same on every device.
    batch_size: B, images on this device.
    num_patches: P.
    mask_ratio: r, in [0, 1), such that V is at least 1.
    axis_name: mapped device axis over which the images are split, inside `pmap` or `shard_map`. The
      masks of an image do not depend on how.

  Returns:
    Masking. Nothing to differentiate.

  Raises:
    TypeError: if batch_size or num_patches is not an integer.
    ValueError: if a number is out of range or no patch stays visible.

  Example:
    >>> masking = random_masking(jax.random.key(0), batch_size=2, num_patches=16)
    >>> masking.visible.shape, masking.hidden.shape, masking.mask.sum(axis=1).tolist()
    ((2, 4), (2, 12), [4, 4])

  References:
    He et al., Masked Autoencoders Are Scalable Vision Learners, 2022. arXiv:2111.06377
  """
  check_positive_int(batch_size=batch_size, num_patches=num_patches)
  check_range(0.0, 1.0, mask_ratio=mask_ratio)
  num_visible = int(num_patches * (1 - mask_ratio) + 1e-9)  # 10 (1 - 0.9) is 0.9999...
  if num_visible < 1:
    raise ValueError(f"mask_ratio must leave one of {num_patches} patches, got {mask_ratio}")
  noise = draw_rows(key, jax.random.uniform, (batch_size, num_patches), axis_name=axis_name)
  order = jnp.argsort(noise, axis=1).astype(jnp.int32)
  visible, hidden = order[:, :num_visible], order[:, num_visible:]
  mask = jnp.any(visible[:, :, None] == jnp.arange(num_patches), axis=1)
  return Masking(visible, hidden, mask)


def mae_loss(
  prediction: ArrayLike,
  target: ArrayLike,
  *,
  mask: ArrayLike | None = None,
  normalize_patches: bool = True,
  eps: ArrayLike = 1e-6,
) -> jax.Array:
  r"""Mean squared error over the hidden patches of every image (MAE).

  .. math::

    \frac{1}{|H_b|} \sum_{p \in H_b} \frac1D \|\hat x_{bp} - \bar x_{bp}\|^2, \qquad
    \bar x = \frac{x - \mathrm{mean}(x)}{\sqrt{\mathrm{var}(x) + \epsilon}}

  with mean and variance, of divisor D - 1, over the D entries of one patch. Visible patches do not
  count.

  Args:
    prediction: predicted patches, shape (B, P, D).
    target: the patches, shape (B, P, D).
    mask: True where a patch was visible, shape (B, P); None: none of these was.
    normalize_patches: whether the prediction is of the normalised patch, which needs D > 1.
    eps: added to the variances, positive. Can be traced.

  Returns:
    Loss per example, shape (B,), float32 or wider; 0 if nothing is hidden. Gradient flows to the
    prediction; the target is detached.

  Raises:
    TypeError: if an array is not floating point, or mask not boolean.
    ValueError: if the shapes do not fit or eps is not positive.

  Example:
    >>> prediction, target = jnp.zeros((1, 2, 2)), jnp.array([[[1.0, 3.0], [9.0, 9.0]]])
    >>> mask = jnp.array([[False, True]])
    >>> mae_loss(prediction, target, mask=mask, normalize_patches=False).tolist()  # (1 + 9) / 2
    [5.0]

  References:
    He et al., Masked Autoencoders Are Scalable Vision Learners, 2022. arXiv:2111.06377
  """
  check_float(prediction=prediction, target=target)
  if jnp.ndim(prediction) != 3:  # and maybe no patch
    raise ValueError(f"prediction must have 3 axes, got shape {jnp.shape(prediction)}")
  check_same_shape(prediction=prediction, target=target)
  check_range(0.0, strict=True, eps=eps)
  dtype = wide_dtype(prediction, target)
  target = jax.lax.stop_gradient(jnp.asarray(target, dtype))
  if normalize_patches:
    if target.shape[2] < 2:
      raise ValueError(f"target must have patches of at least 2 entries, got {target.shape}")
    centred = target - jnp.mean(target, axis=-1, keepdims=True)
    variance = jnp.sum(jnp.square(centred), axis=-1, keepdims=True) / (target.shape[2] - 1)
    target = centred * jax.lax.rsqrt(variance + jnp.asarray(eps, dtype))
  error = jnp.mean(jnp.square(jnp.asarray(prediction, dtype) - target), axis=-1)
  if mask is None:
    return jnp.sum(error, axis=1) / max(error.shape[1], 1)
  hidden = ~as_mask(error.shape, mask=mask)
  return jnp.sum(error, axis=1, where=hidden) / jnp.maximum(jnp.sum(hidden, axis=1), 1)


def as_mask(shape: tuple[int, ...], **mask: ArrayLike) -> jax.Array:
  """A boolean array of that shape."""
  ((name, array),) = mask.items()
  if jnp.result_type(array) != jnp.bool_:
    raise TypeError(f"{name} must be boolean, got {jnp.result_type(array)}")
  if jnp.shape(array) != shape:
    raise ValueError(f"{name} must have shape {shape}, got {jnp.shape(array)}")
  return jnp.asarray(array)
