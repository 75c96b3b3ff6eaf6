"""Agreement between several posteriors over the same classes."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import (
  check_alike,
  check_choice,
  check_range,
  wide_dtype,
)
from latentjax.collectives import all_gather_rows

__all__ = ["simplex_distance"]


def simplex_distance(
  logits_a: ArrayLike,
  logits_b: ArrayLike,
  *,
  kind: str = "scaled",
  eps: float = 1e-8,
  axis_name: str | None = None,
) -> jax.Array:
  r"""Squared distance of two categorical distributions, in the geometry of the simplex.

  .. math::

    d^2 = \sum_c \left( \frac{\log a_c}{\sigma_{a,c}} - \frac{\log b_c}{\sigma_{b,c}} \right)^2,
    \qquad
    d^2_{Aitchison} = \sum_c \Big( \log a_c - \overline{\log a}
      - \log b_c + \overline{\log b} \Big)^2

  The first, "scaled", divides by the standard deviations of the classes' probabilities over the
  (global) batch: where the arms have collapsed onto few classes the others hardly vary, and every
  doubt about them is magnified, so that collapse does not pay. "aitchison" is the metric itself, a bar
  being the mean over classes. Both diverge, up to log eps, where a probability goes to zero in one
  distribution alone.

  Args:
    logits_a: of the first distribution, need not be normalised, shape (B, C).
    logits_b: of the second one, shape (B, C).
    kind: "scaled" or "aitchison".
    eps: added to probabilities and variances, in (0, 1).
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`; used by
      "scaled" alone.

  Returns:
    Squared distance, shape (B,), float32 or wider. Gradient flows to both arguments, through the
    standard deviations too.

  Raises:
    TypeError: if an argument is not floating point.
    ValueError: if the arguments are not of rank 2 or differ in shape, the kind is unknown or eps is
      not in (0, 1).

  Example:
    >>> a, b = jnp.log(jnp.array([[0.2, 0.8]])), jnp.log(jnp.array([[0.8, 0.2]]))
    >>> simplex_distance(a, b, kind="aitchison")  # 2 (log 4)^2
    Array([3.8436...], dtype=float32)

  References:
    Marghi, Gala & Sümbül, Mixture Representation Learning with Coupled Autoencoders, 2021.
      arXiv:2007.09880
    Aitchison, The Statistical Analysis of Compositional Data, 1982.
  """
  check_alike(2, logits_a=logits_a, logits_b=logits_b)
  check_range(0.0, 1.0, strict=True, eps=eps)
  check_choice(("scaled", "aitchison"), kind=kind)
  dtype = wide_dtype(logits_a, logits_b)
  a, b = (_coordinates(jnp.asarray(x, dtype), kind, eps, axis_name) for x in (logits_a, logits_b))
  return jnp.sum(jnp.square(a - b), axis=1)


def _coordinates(logits: jax.Array, kind: str, eps: float, axis_name: str | None) -> jax.Array:
  """Point of Euclidean space that stands for a distribution, shape (B, C)."""
  p = jax.nn.softmax(logits, axis=1)
  log_p = jnp.log(p + eps)
  if kind == "aitchison":
    return log_p - jnp.mean(log_p, axis=1, keepdims=True)
  rows = all_gather_rows(p, axis_name)
  return log_p / jnp.sqrt(jnp.var(rows, axis=0) + eps)
