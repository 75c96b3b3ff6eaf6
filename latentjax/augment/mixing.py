"""Examples mixed with those of a permuted batch, labels with them: mixup and CutMix."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from latentjax.augment.erase import box
from latentjax.checks import check_float, check_range, check_rank, wide_dtype
from latentjax.collectives import all_gather_rows, local_rows

__all__ = ["cutmix", "mixup"]


def mixup(
  key: jax.Array, x: ArrayLike, y: ArrayLike, *, alpha: float = 0.2, axis_name: str | None = None
) -> tuple[jax.Array, jax.Array]:
  r"""Weighted means of examples and of their labels, with the weights of one draw.

  .. math:: x'_i = \lambda x_i + (1 - \lambda) x_{\pi(i)}, \quad
     y'_i = \lambda y_i + (1 - \lambda) y_{\pi(i)}, \qquad
     \lambda \sim \mathrm{Beta}(\alpha, \alpha)

  One weight and one permutation of the global batch, the same on any number of devices.

  Args:
    key: random key, the same on every device.
    x: examples, shape (B, ...).
    y: label probabilities, such as one-hot rows, shape (B, N).
    alpha: positive; small ones keep most examples nearly whole.
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`.

  Returns:
    Mixed examples and labels, in their shapes and dtypes. Gradient flows to both arrays, to the rows
    of every device.

  Raises:
    TypeError: if an argument is not floating point.
    ValueError: if the batches differ, y is not of rank 2 or alpha is not positive.

  Example:
    >>> x, y = mixup(jax.random.key(0), jnp.eye(4), jnp.eye(4))
    >>> bool(jnp.all(x == y))
    True

  References:
    Zhang et al., mixup: Beyond Empirical Risk Minimization, 2017. arXiv:1710.09412
  """
  x, y = _as_batch(x, y, alpha)
  key_weight, key_rows = jax.random.split(key)
  weight = _symmetric_beta(key_weight, alpha, wide_dtype(x, y))
  other_x, other_y = _partners(key_rows, x, y, axis_name)
  return _blend(weight, x, other_x), _blend(weight, y, other_y)


def cutmix(
  key: jax.Array, x: ArrayLike, y: ArrayLike, *, alpha: float = 1.0, axis_name: str | None = None
) -> tuple[jax.Array, jax.Array]:
  r"""Images with a rectangle of another image pasted in, and labels weighted by the area.

  .. math:: x'_i = M \odot x_i + (1 - M) \odot x_{\pi(i)}, \quad
     y'_i = \lambda' y_i + (1 - \lambda') y_{\pi(i)}, \qquad \lambda' = \frac{1}{HW} \sum_{hw} M_{hw}

  1 - M is a rectangle of sides H sqrt(1 - lambda) and W sqrt(1 - lambda), rounded down, with
  lambda ~ Beta(alpha, alpha), around a uniform pixel; what reaches over the border is cut off, and
  lambda' is the area that is left, to the pixel. One rectangle and one permutation of the global batch,
  the same on any number of devices.

  Args:
    key: random key, the same on every device.
    x: images, shape (B, H, W, C).
    y: label probabilities, such as one-hot rows, shape (B, N).
    alpha: positive; 1 draws lambda uniformly.
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`.

  Returns:
    Mixed images and labels, in their shapes and dtypes. Gradient flows to both arrays, to the rows of
    every device.

  Raises:
    TypeError: if an argument is not floating point.
    ValueError: if x is not of rank 4, the batches differ, y is not of rank 2 or alpha is not positive.

  Example:
    >>> x = jnp.ones((2, 8, 8, 1)) * jnp.arange(2.0)[:, None, None, None]
    >>> mixed, y = cutmix(jax.random.key(1), x, jnp.eye(2))
    >>> bool(jnp.allclose(mixed.mean((1, 2, 3)), y[:, 1]))
    True

  References:
    Yun et al., CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features,
      2019. arXiv:1905.04899
  """
  check_rank(4, x=x)
  x, y = _as_batch(x, y, alpha)
  key_area, key_row, key_column, key_rows = jax.random.split(key, 4)
  height, width = x.shape[1:3]
  side = jnp.sqrt(1 - _symmetric_beta(key_area, alpha, wide_dtype(x, y)))
  rows = box(key_row, height, jnp.floor(height * side).astype(int))
  columns = box(key_column, width, jnp.floor(width * side).astype(int))
  pasted = jnp.sum(rows) * jnp.sum(columns)
  kept = (1 - pasted / (height * width)).astype(wide_dtype(x, y))
  other_x, other_y = _partners(key_rows, x, y, axis_name)
  inside = (rows[:, None] & columns)[..., None]
  return jnp.where(inside, other_x, x), _blend(kept, y, other_y)


def _as_batch(x: ArrayLike, y: ArrayLike, alpha: float) -> tuple[jax.Array, jax.Array]:
  check_float(x=x, y=y)
  check_rank(2, y=y)
  check_range(0.0, strict=True, alpha=alpha)
  if jnp.shape(x)[:1] != jnp.shape(y)[:1]:
    raise ValueError(f"x and y must have as many rows, got {jnp.shape(x)} and {jnp.shape(y)}")
  return jnp.asarray(x), jnp.asarray(y)


def _partners(
  key: jax.Array, x: jax.Array, y: jax.Array, axis_name: str | None
) -> tuple[jax.Array, jax.Array]:
  """Rows of the permuted global batch, those that go with this device's."""
  all_x, all_y = all_gather_rows(x, axis_name), all_gather_rows(y, axis_name)
  rows = local_rows(jax.random.permutation(key, len(all_x)), axis_name)
  return all_x[rows], all_y[rows]


def _symmetric_beta(key: jax.Array, alpha: float, dtype: np.dtype) -> jax.Array:
  """A number of Beta(alpha, alpha): one of Student's t by its polar form, mapped to [0, 1].

  Exact, in closed form; `jax.random.beta` compiles for several seconds.
  """
  radius, angle = jax.random.uniform(key, (2,), dtype)
  cosine, power = jnp.cos(2 * jnp.pi * angle), radius ** (1 / alpha)
  return (1 + cosine / jnp.sqrt(cosine**2 + power / (1 - power))) / 2


def _blend(weight: jax.Array, a: jax.Array, b: jax.Array) -> jax.Array:
  return (weight * a + (1 - weight) * b).astype(a.dtype)
