"""Times drawn where the loss is large, by its last values in every interval of time."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_alike, check_positive_int, check_range
from latentjax.collectives import all_gather_rows, draw_rows

__all__ = ["LossHistoryState", "init_loss_history", "loss_weighted_times", "update_loss_history"]


class LossHistoryState(NamedTuple):
  """The last losses in every interval of time.

  Attributes:
    losses: float32, shape (N, H).
    num_seen: how many there ever were in each, int32, shape (N,).
  """

  losses: jax.Array
  num_seen: jax.Array


def init_loss_history(*, num_intervals: int = 100, length: int = 10) -> LossHistoryState:
  r"""No losses yet, in equal intervals of [0, 1].

  .. math:: [0, 1) = \bigcup_n \big[\tfrac nN, \tfrac{n + 1}N\big)

  Args:
    num_intervals: N. The paper has its 1,000 steps.
    length: H, losses to remember of each; 10 as in the paper.

  Returns:
    The state.

  Raises:
    TypeError: if a number is not an integer.
    ValueError: if it is not positive.

  Example:
    >>> init_loss_history(num_intervals=4).losses.shape
    (4, 10)

  References:
    Nichol and Dhariwal, Improved Denoising Diffusion Probabilistic Models, 2021. arXiv:2102.09672
  """
  check_positive_int(num_intervals=num_intervals, length=length)
  return LossHistoryState(
    jnp.zeros((num_intervals, length), jnp.float32), jnp.zeros(num_intervals, jnp.int32)
  )


def loss_weighted_times(
  key: jax.Array,
  state: LossHistoryState,
  *,
  batch_size: int,
  uniform_share: float = 1e-3,
  axis_name: str | None = None,
) -> tuple[jax.Array, jax.Array]:
  r"""Times by importance, and the weights that make up for it.

  .. math::

    p_n = (1 - u) \frac{\sqrt{E[L_n^2]}}{\sum_m \sqrt{E[L_m^2]}} + \frac uN, \qquad w_n = \frac{1}{N p_n}

  with the mean over the history of interval n, uniform in an interval, and uniform in all of time until
  every interval's history is full, and while a loss in it is not finite. The mean of w L has the
  expectation of L at uniform times, with less variance where L depends on t.

  Args:
    key: random key, the same on every device.
    state: the history.
    batch_size: B, examples on this device.
    uniform_share: u, in [0, 1].
    axis_name: mapped device axis over which the examples are split, inside `pmap` or `shard_map`.

  Returns:
    Times and weights, float32, shape (B,) each. Detached.

  Raises:
    TypeError: if batch_size is not an integer.
    ValueError: if it is not positive or uniform_share is out of range.

  Example:
    >>> t, weight = loss_weighted_times(jax.random.key(0), init_loss_history(), batch_size=3)
    >>> weight.round(4).tolist()
    [1.0, 1.0, 1.0]

  References:
    Nichol and Dhariwal, Improved Denoising Diffusion Probabilistic Models, 2021. arXiv:2102.09672
  """
  check_positive_int(batch_size=batch_size)
  check_range(0.0, 1.0, uniform_share=uniform_share)
  count, length = state.losses.shape
  size = jnp.sqrt(jnp.mean(jnp.square(jax.lax.stop_gradient(state.losses)), axis=1))
  # Losses that are all zero say nothing either, nor does one that is not finite.
  total = jnp.sum(size)
  known = jnp.all(state.num_seen >= length) & (total > 0) & jnp.isfinite(total)
  size = jnp.where(known, size, 1)
  p = (1 - uniform_share) * size / jnp.sum(size) + uniform_share / count

  def draw(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    key_interval, key_inside = jax.random.split(key)
    interval = jax.random.categorical(key_interval, jnp.log(p))
    # As pairs: (interval, place inside it).
    return jnp.stack([interval.astype(jnp.float32), jax.random.uniform(key_inside)])

  interval, inside = draw_rows(key, draw, (batch_size,), axis_name=axis_name).T
  index = interval.astype(jnp.int32)
  return (interval + inside) / count, 1 / (count * p[index])


def update_loss_history(
  state: LossHistoryState, t: ArrayLike, loss: ArrayLike, *, axis_name: str | None = None
) -> LossHistoryState:
  r"""The history with the losses of a batch, each in the place of its interval's oldest.

  .. math:: n = \lfloor N t \rfloor

  Args:
    state: the history.
    t: times in [0, 1], shape (B,).
    loss: their losses, unweighted, shape (B,).
    axis_name: mapped device axis over which the examples are split, inside `pmap` or `shard_map`; the
      state is the same on every device.

  Returns:
    The state. Detached.

  Raises:
    TypeError: if t or loss is not floating point.
    ValueError: if they are not of one shape (B,).

  Example:
    >>> state = init_loss_history(num_intervals=2, length=2)
    >>> state = update_loss_history(state, jnp.array([0.1, 0.2, 0.9]), jnp.array([3.0, 4.0, 5.0]))
    >>> state.losses.tolist(), state.num_seen.tolist()
    ([[3.0, 4.0], [5.0, 0.0]], [2, 1])

  References:
    Nichol and Dhariwal, Improved Denoising Diffusion Probabilistic Models, 2021. arXiv:2102.09672
  """
  check_alike(1, t=t, loss=loss)
  t, loss = (all_gather_rows(jnp.asarray(a), axis_name) for a in (t, loss))
  t, loss = jax.lax.stop_gradient((t, loss))
  count, length = state.losses.shape
  index = jnp.clip((t * count).astype(jnp.int32), 0, count - 1)
  order = jnp.argsort(index, stable=True)
  index, loss = index[order], loss[order]
  seen = jnp.bincount(index, length=count)
  # The how-manieth of its interval a loss is; of more than the history holds the last count.
  rank = jnp.arange(index.shape[0]) - jnp.searchsorted(index, index)
  place = (state.num_seen[index] + rank) % length
  place = jnp.where(seen[index] - rank <= length, place, length)
  losses = state.losses.at[index, place].set(loss.astype(jnp.float32), mode="drop")
  return LossHistoryState(losses, state.num_seen + seen.astype(jnp.int32))
