"""VICReg on the features of places, matched between two views by position and by likeness (VICRegL)."""

from functools import partial

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import (
  check_alike,
  check_positive_int,
  wide_dtype,
)
from latentjax.distances import squared_distances
from latentjax.losses.contrastive._pairs import check_two_rows
from latentjax.losses.contrastive.redundancy import vicreg_loss

__all__ = ["vicregl_loss"]


def vicregl_loss(
  maps_1: ArrayLike,
  maps_2: ArrayLike,
  positions_1: ArrayLike,
  positions_2: ArrayLike,
  *,
  num_matches: int = 20,
  lambda_invariance: ArrayLike = 25.0,
  lambda_variance: ArrayLike = 25.0,
  lambda_covariance: ArrayLike = 1.0,
  eps: ArrayLike = 1e-4,
  axis_name: str | None = None,
) -> jax.Array:
  r"""Local criterion of VICRegL.

  .. math::

    \tfrac12 \sum_{(u, v)} \frac1G \sum_{g=1}^G \Big(
    L\big(f^{(u)}_{\cdot\, s(g)}, f^{(v)}_{\cdot\, n(s(g))}\big)
    + L\big(f^{(u)}_{\cdot\, d(g)}, f^{(v)}_{\cdot\, m(d(g))}\big) \Big), \qquad
    (u, v) \in \{(1, 2), (2, 1)\}

  L is `vicreg_loss` over the batch. In every example n(p) is the place of the other view that is
  nearest to place p, m(p) the one of the nearest feature, and s, d list, in order of p, the G
  places whose match is closest. The method adds alpha times `vicreg_loss` of global embeddings to
  1 - alpha times this.

  Args:
    maps_1: features of the places of the first view, shape (B, P, D).
    maps_2: those of the second, shape (B, P, D).
    positions_1: where these places lie in the image before it was cropped, shape (B, P, E); E = 2.
    positions_2: those of the second view, shape (B, P, E).
    num_matches: G, at most P.
    lambda_invariance: see `vicreg_loss`.
    lambda_variance: see `vicreg_loss`.
    lambda_covariance: see `vicreg_loss`.
    eps: see `vicreg_loss`.
    axis_name: mapped device axis over which B is split, inside `pmap` or `shard_map`.

  Returns:
    Loss of the batch, a scalar, float32 or wider, the same on every device. Gradient flows to the
    maps; which places match is detached.

  Raises:
    TypeError: if an array is not floating point or num_matches is not an integer.
    ValueError: if the shapes do not fit, the batch has a single example or a number is out of range.

  Example:
    >>> maps, places = jnp.zeros((4, 3, 2)), jnp.zeros((4, 3, 2))
    >>> vicregl_loss(maps, maps, places, places, num_matches=2).item()  # 2 (24.75), collapsed
    49.5

  References:
    Bardes, Ponce & LeCun, VICRegL: Self-Supervised Learning of Local Visual Features, 2022.
      arXiv:2210.01571
  """
  arrays = {"maps_1": maps_1, "maps_2": maps_2}
  places = {"positions_1": positions_1, "positions_2": positions_2}
  for pair in (arrays, places):
    check_alike(3, **pair)
  if jnp.shape(maps_1)[:2] != jnp.shape(positions_1)[:2]:
    raise ValueError(
      f"positions must be those of the {jnp.shape(maps_1)[:2]} places, got {jnp.shape(positions_1)}"
    )
  check_two_rows(axis_name, maps_1=maps_1)
  check_positive_int(num_matches=num_matches)
  if num_matches > jnp.shape(maps_1)[1]:
    raise ValueError(f"num_matches must be at most {jnp.shape(maps_1)[1]}, got {num_matches}")
  criterion = partial(
    vicreg_loss,
    lambda_invariance=lambda_invariance,
    lambda_variance=lambda_variance,
    lambda_covariance=lambda_covariance,
    eps=eps,
    axis_name=axis_name,
  )
  x_1, x_2 = (jnp.asarray(x, wide_dtype(x)) for x in arrays.values())
  at_1, at_2 = (jnp.asarray(at, wide_dtype(at)) for at in places.values())
  distance = jnp.stack([squared_distances(at_1, at_2), squared_distances(x_1, x_2)])
  distance = jnp.stack([distance, jnp.swapaxes(distance, 2, 3)])  # (direction, kind, B, P, P)
  match = jax.vmap(partial(_match, num_matches=num_matches))
  match = jax.vmap(jax.vmap(match, (None, None, 0)), (0, 0, 0))
  matched = match(jnp.stack([x_1, x_2]), jnp.stack([x_2, x_1]), jax.lax.stop_gradient(distance))
  by_place = [jnp.swapaxes(f, 2, 3).reshape(-1, len(x_1), x_1.shape[2]) for f in matched]
  return 2 * jnp.mean(jax.vmap(criterion)(*by_place))


def _match(
  own: jax.Array, other: jax.Array, distance: jax.Array, num_matches: int
) -> tuple[jax.Array, jax.Array]:
  """Features (G, D) of the places whose nearest place of the other view is closest, and of that."""
  nearest = jnp.argmin(distance, axis=1)
  chosen = jnp.sort(jax.lax.top_k(-jnp.min(distance, axis=1), num_matches)[1])
  return own[chosen], other[nearest[chosen]]
