"""Losses by which one view predicts the other's target, and nothing repels (BYOL, SimSiam)."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.losses.contrastive._views import as_view_pair
from latentjax.losses.contrastive.normalize import l2_normalize

__all__ = ["byol_loss", "simsiam_loss"]


def byol_loss(
  prediction_1: ArrayLike, prediction_2: ArrayLike, target_1: ArrayLike, target_2: ArrayLike
) -> jax.Array:
  r"""Squared distance of each view's prediction from the other view's target (BYOL).

  .. math::

    \|\bar q_1 - \mathrm{sg}[\bar z_2]\|^2 + \|\bar q_2 - \mathrm{sg}[\bar z_1]\|^2
    = 4 - 2 \cos(q_1, z_2) - 2 \cos(q_2, z_1), \qquad \bar v = v / \|v\|

  Arguments are named by their own view; the crossing is in the loss. What keeps it from collapse is
  outside: the predictor, and targets made by a moving average of the network.

  Args:
    prediction_1: predictor's output for the first view, of any norm, shape (B, D).
    prediction_2: that for the second view, shape (B, D).
    target_1: target network's projection of the first view, of any norm, shape (B, D).
    target_2: that of the second view, shape (B, D).

  Returns:
    Loss per example in [0, 8], shape (B,), float32 or wider. Gradient flows to the predictions; the
    targets are detached.

  Raises:
    TypeError: if an argument is not floating point.
    ValueError: if the shapes differ or are not of rank 2.

  Example:
    >>> q = jnp.array([[2.0, 0.0]])
    >>> byol_loss(q, q, 3.0 * q, -q).tolist()  # the first meets its opposite, the second itself
    [4.0]

  References:
    Grill et al., Bootstrap Your Own Latent, 2020. arXiv:2006.07733
  """
  cosines = _crossed_cosines(prediction_1, prediction_2, target_1, target_2)
  return 4 - 2 * jnp.sum(cosines, axis=0)


def simsiam_loss(
  prediction_1: ArrayLike, prediction_2: ArrayLike, z_1: ArrayLike, z_2: ArrayLike
) -> jax.Array:
  r"""Negative cosine similarity of each view's prediction and the other view's projection (SimSiam).

  .. math:: -\tfrac12 \cos(p_1, \mathrm{sg}[z_2]) - \tfrac12 \cos(p_2, \mathrm{sg}[z_1])

  Arguments are named by their own view; the crossing is in the loss. The projections come from the
  network that is trained, without a moving average; the stop-gradient is what avoids collapse.

  Args:
    prediction_1: predictor's output for the first view, of any norm, shape (B, D).
    prediction_2: that for the second view, shape (B, D).
    z_1: projection of the first view, of any norm, shape (B, D).
    z_2: that of the second view, shape (B, D).

  Returns:
    Loss per example in [-1, 1], shape (B,), float32 or wider. Gradient flows to the predictions; the
    projections are detached.

  Raises:
    TypeError: if an argument is not floating point.
    ValueError: if the shapes differ or are not of rank 2.

  Example:
    >>> p = jnp.array([[2.0, 0.0]])
    >>> simsiam_loss(p, p, p, p).tolist()
    [-1.0]

  References:
    Chen & He, Exploring Simple Siamese Representation Learning, 2021. arXiv:2011.10566
  """
  return -0.5 * jnp.sum(_crossed_cosines(prediction_1, prediction_2, z_1, z_2, "z"), axis=0)


def _crossed_cosines(
  prediction_1: ArrayLike,
  prediction_2: ArrayLike,
  target_1: ArrayLike,
  target_2: ArrayLike,
  name: str = "target",
) -> jax.Array:
  """Cosines of each view's prediction and the other view's detached target, shape (2, B)."""
  views = {"prediction_1": prediction_1, "prediction_2": prediction_2}
  views |= {f"{name}_1": target_1, f"{name}_2": target_2}
  q_1, q_2, z_1, z_2 = map(l2_normalize, as_view_pair(**views))
  targets = jax.lax.stop_gradient(jnp.stack([z_2, z_1]))
  return jnp.sum(jnp.stack([q_1, q_2]) * targets, axis=-1)
