"""A teacher that is the moving average of what is trained, and BYOL, which learns from one."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_positive_int, check_range, wide_dtype
from latentjax.losses.contrastive import byol_loss
from latentjax.objectives.latent_model import Batch, Metrics, Params
from latentjax.objectives.two_view import EmbedFn, SelfSupervised, check_pair, embed_views

__all__ = ["Teacher", "byol", "cosine_momentum", "init_teacher", "update_teacher"]

Momentum = ArrayLike | Callable[[jax.Array], ArrayLike]


class Teacher(NamedTuple):
  """Moving average of the parameters.

  Attributes:
    params: the average, of the parameters' structure.
    step: number of updates so far, int32, shape ().
  """

  params: Params
  step: jax.Array


def init_teacher(params: Params) -> Teacher:
  """A teacher that starts as a copy of the student.

  Example:
    >>> init_teacher(jnp.ones(2)).params.tolist()
    [1.0, 1.0]
  """
  return Teacher(jax.tree.map(jnp.array, params), jnp.int32(0))


def update_teacher(teacher: Teacher, params: Params, *, momentum: Momentum) -> Teacher:
  r"""Moves the teacher towards the student.

  .. math:: \xi \leftarrow m \xi + (1 - m) \theta

  An objective calls it first thing: it then sees the parameters that the last step made, so that this
  is the update that papers place after the step.

  Args:
    teacher: before the update.
    params: the student's parameters.
    momentum: m, in [0, 1], or a function of the number of updates so far.

  Returns:
    The teacher after it, in its own dtype: in bfloat16 steps below its rounding are lost. Detached.

  Raises:
    ValueError: if momentum is a number out of [0, 1].

  Example:
    >>> update_teacher(init_teacher(jnp.zeros(1)), jnp.ones(1), momentum=0.75).params.tolist()
    [0.25]

  References:
    Grill et al., Bootstrap Your Own Latent, 2020. arXiv:2006.07733
  """
  if not callable(momentum):
    check_range(0.0, 1.0, momentum=momentum)
  m = momentum(teacher.step) if callable(momentum) else momentum

  def move(xi: jax.Array, theta: jax.Array) -> jax.Array:
    # In bfloat16 neither m nor the products are exact, and the average would shrink step by step.
    wide = wide_dtype(xi, theta)
    return jnp.asarray(m * xi.astype(wide) + (1 - m) * jnp.asarray(theta, wide), xi.dtype)

  moved = jax.tree.map(move, teacher.params, params)
  return Teacher(jax.lax.stop_gradient(moved), teacher.step + 1)


def cosine_momentum(base: float, num_steps: int) -> Callable[[jax.Array], jax.Array]:
  r"""Momentum that rises to 1 along half a cosine (BYOL, DINO).

  .. math:: m_k = 1 - (1 - m_0) \, \frac{\cos(\pi k / K) + 1}{2}

  Args:
    base: m_0, in [0, 1].
    num_steps: K, after which it stays 1.

  Returns:
    A function of the number of updates so far.

  Raises:
    ValueError: if base is out of [0, 1] or num_steps is not positive.

  Example:
    >>> [round(float(cosine_momentum(0.9, 10)(k)), 2) for k in (0, 5, 10)]
    [0.9, 0.95, 1.0]

  References:
    Grill et al., Bootstrap Your Own Latent, 2020. arXiv:2006.07733
  """
  check_range(0.0, 1.0, base=base)
  check_positive_int(num_steps=num_steps)
  share = lambda step: jnp.minimum(jnp.asarray(step, jnp.float32) / num_steps, 1.0)
  return lambda step: 1 - (1 - base) * (jnp.cos(jnp.pi * share(step)) + 1) / 2


def byol(
  embed_fn: EmbedFn,
  predict_fn: EmbedFn,
  *,
  momentum: Momentum = 0.99,
  features: Sequence[str] = ("view_1", "view_2"),
) -> SelfSupervised:
  """BYOL: each view predicts the teacher's embedding of the other.

  Args:
    embed_fn: `(params, x) -> embeddings`, encoder and projector in one, shape (B, D).
    predict_fn: `(params, z) -> predictions`, shape (B, D).
    momentum: of the teacher, see `update_teacher`. The paper's rises from 0.996 to 1
      (`cosine_momentum`) over 1,000 epochs; short runs want less.
    features: names of the two views in a batch.

  Returns:
    The objective; its model_state is a `Teacher`.

  Raises:
    KeyError: if a batch lacks a view.
    ValueError: if the views' shapes differ, there are not two names, or momentum is out of range.

  References:
    Grill et al., Bootstrap Your Own Latent, 2020. arXiv:2006.07733
  """
  check_pair(features)
  if not callable(momentum):
    check_range(0.0, 1.0, momentum=momentum)

  def objective(
    params: Params, teacher: Teacher, key: jax.Array, batch: Batch
  ) -> tuple[jax.Array, tuple[Teacher, Metrics]]:
    teacher = update_teacher(teacher, params, momentum=momentum)
    z = embed_views(embed_fn, params, batch, features)
    predictions = jax.vmap(predict_fn, (None, 0))(params, z)
    targets = embed_views(embed_fn, teacher.params, batch, features)
    return jnp.mean(byol_loss(*predictions, *targets)), (teacher, {})

  return SelfSupervised(objective, init_teacher)
