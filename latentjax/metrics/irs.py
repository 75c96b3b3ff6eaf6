"""Interventional robustness: how little a latent moves while its factor stays."""

from functools import partial

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_range
from latentjax.metrics.discrete_information import check_bins, check_codes, check_rows, discretize
from latentjax.metrics.latent_correlation import centred

__all__ = ["irs"]


def irs(
  codes: ArrayLike,
  factors: ArrayLike,
  *,
  quantile: float = 0.99,
  num_bins: int = 20,
  axis_name: str | None = None,
) -> jax.Array:
  r"""Interventional robustness score of a code.

  .. math::

    \frac{\sum_j m_j \max_f R_{jf}}{\sum_j m_j}, \qquad
    R_{jf} = 1 - \frac{1}{m_j V_f} \sum_v Q_q\big(|z_j - E[z_j | v_f = v]|\big), \qquad
    m_j = \max |z_j - E[z_j]|

  where the quantile is over the examples with v_f = v, V_f the number of values that occur: how far
  the other factors can move a latent off its mean for a value of its own factor. 1 for a perfect code,
  also if it is duplicated; it falls with what else moves a latent, nuisances included, towards
  1 - Q_q / m for noise. The order, sign and shift of latents do not matter, nor does a scale that they
  share; a latent counts by its range. It assumes factors that do not depend on each other. As in
  disentanglement_lib: q = 0.99 for the paper's 1, factors in 20 bins, dead latents left out.

  Args:
    codes: such as the means of q(z|x), shape (N, Z).
    factors: integers or numbers, shape (N, F); put in bins of equal width.
    quantile: q, in [0, 1], linear between examples.
    num_bins: bins of a factor, at most N.
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`.

  Returns:
    A scalar of at most 1, below 0 only by outliers within the values of every factor, float32 or wider;
    0 if no latent varies, nan if traced numbers are not finite. Detached.

  Raises:
    ValueError: if an array is not of rank 2, their rows differ, there are fewer rows than bins, a number is
      out of range or, unless traced, not finite.

  Example:
    >>> factors = jnp.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    >>> round(float(irs(1.0 * factors, factors, num_bins=2)), 4)
    1.0

  References:
    Suter et al., Robustly Disentangled Causal Mechanisms: Validating Deep Representations for
      Interventional Robustness, 2019. arXiv:1811.00007
  """
  z = check_codes("codes", codes, axis_name)
  v = check_codes("factors", factors, axis_name)
  check_rows(codes=z, factors=v)
  check_bins(z, num_bins)
  check_range(0.0, 1.0, quantile=quantile)
  return _irs(z, v, quantile, num_bins)


@partial(jax.jit, static_argnums=(2, 3))
def _irs(z: jax.Array, v: jax.Array, quantile: float, num_bins: int) -> jax.Array:
  z = centred(z)
  largest = jnp.max(jnp.abs(z), axis=0)
  labels = discretize(v, num_bins=num_bins)
  of_pair = partial(_mean_quantile, num_values=num_bins, quantile=quantile)
  # One latent at a time: there are 256 counts for every bin of every factor.
  moved = jax.lax.map(lambda x: jax.vmap(of_pair, (None, 1))(x, labels), z.T)
  robust = 1 - moved / jnp.where(largest > 0, largest, 1)[:, None]
  total = jnp.sum(largest)
  weight = jnp.where(total > 0, largest / jnp.where(total > 0, total, 1), 0)
  finite = jnp.all(jnp.isfinite(z)) & jnp.all(jnp.isfinite(v))
  return jnp.where(finite, jnp.sum(weight * jnp.max(robust, axis=1)), jnp.nan)


def _mean_quantile(
  x: jax.Array, label: jax.Array, *, num_values: int, quantile: float
) -> jax.Array:
  """Quantile of the distance from the mean of a label, averaged over the labels that occur."""
  per_label = partial(jax.ops.segment_sum, segment_ids=label, num_segments=num_values)
  size = per_label(jnp.ones_like(label))
  mean = per_label(x) / jnp.maximum(size, 1)
  distance = jnp.abs(x - mean[label])
  position = quantile * (size - 1).astype(x.dtype)
  lower = jnp.floor(position).astype(jnp.int32)
  near = _order_statistic(distance, label, lower)
  beyond = distance > near[label]
  following = jax.ops.segment_min(jnp.where(beyond, distance, jnp.inf), label, num_values)
  # Equal to the next in order, unless it is the last of its equals, and has one.
  ends = (size - per_label(beyond.astype(size.dtype)) == lower + 1) & (lower + 1 < size)
  far = jnp.where(ends, following, near)
  value = jnp.where(size > 0, near + (position - lower) * (far - near), 0)
  return jnp.sum(value) / jnp.sum(size > 0)


def _order_statistic(distance: jax.Array, label: jax.Array, rank: jax.Array) -> jax.Array:
  """The number of this rank (V,) among those of each label, at least 0: its bits, eight by eight.

  Counting digits takes a fraction of the time of sorting.
  """
  width = 8 * distance.dtype.itemsize
  bits = jax.lax.bitcast_convert_type(distance, f"int{width}")

  def step(i: jax.Array, state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
    found, rank = state
    shift = (width - 8 * (i + 1)).astype(bits.dtype)
    # Nothing but zeros is left of the first digit: these numbers have no sign.
    among = bits >> (shift + 8) == found[label]
    digit = ((bits >> shift) & 255).astype(label.dtype)
    place = jnp.where(among, label * 256 + digit, len(rank) * 256)
    count = jnp.zeros(len(rank) * 256, rank.dtype).at[place].add(1, mode="drop")
    count = count.reshape(len(rank), 16, 16)
    coarse, rank = _digit(jnp.sum(count, axis=2), rank)
    fine, rank = _digit(jnp.take_along_axis(count, coarse[:, None, None], axis=1)[:, 0], rank)
    return found * 256 + (16 * coarse + fine).astype(bits.dtype), rank

  found, _ = jax.lax.fori_loop(0, width // 8, step, (0 * rank.astype(bits.dtype), rank))
  return jax.lax.bitcast_convert_type(found, distance.dtype)


def _digit(count: jax.Array, rank: jax.Array) -> tuple[jax.Array, jax.Array]:
  """In which of the counts (V, D) the rank lies, and the rank there."""
  running = jnp.cumsum(count, axis=1)
  passed = running <= rank[:, None]
  digit = jnp.minimum(jnp.sum(passed, axis=1, dtype=rank.dtype), count.shape[1] - 1)
  return digit, rank - jnp.max(jnp.where(passed, running, 0), axis=1)
