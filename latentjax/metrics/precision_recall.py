"""How many samples look real and how much of what is real they reach: neighbourhoods of features."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_float, check_positive_int, check_rank, wide_dtype
from latentjax.collectives import all_gather_rows, device_mean

__all__ = ["PrecisionRecall", "precision_recall"]


class PrecisionRecall(NamedTuple):
  """Fidelity (precision, density) and diversity (recall, coverage) of samples, each a scalar.

  Attributes:
    precision: share of the samples in a ball of a real point, in [0, 1].
    recall: share of the real points in a ball of a sample, in [0, 1].
    density: real balls that a sample lies in, over k; 1 on average if samples are like the real ones.
    coverage: share of the real balls with a sample in them, in [0, 1].
  """

  precision: jax.Array
  recall: jax.Array
  density: jax.Array
  coverage: jax.Array


def precision_recall(
  real: ArrayLike,
  generated: ArrayLike,
  *,
  num_neighbours: int = 3,
  block_size: int = 1024,
  axis_name: str | None = None,
) -> PrecisionRecall:
  r"""Improved precision and recall, and density and coverage, of generated features.

  With B(x) the ball around x through the k-th nearest of its own set (itself not counted),

  .. math::

    \mathrm{precision} = \frac1M \sum_j 1\big[g_j \in \textstyle\bigcup_i B(r_i)\big], \qquad
    \mathrm{recall} = \frac1N \sum_i 1\big[r_i \in \textstyle\bigcup_j B(g_j)\big]

  .. math::

    \mathrm{density} = \frac1{kM} \sum_{ij} 1[g_j \in B(r_i)], \qquad
    \mathrm{coverage} = \frac1N \sum_i 1\big[\exists j: g_j \in B(r_i)\big]

  Balls are closed. All grow with k, and balls shrink as their set grows: compare at equal numbers.
  Distances exist for block_size rows against one set at a time.

  Args:
    real: features of data, shape (N, D), N > k.
    generated: features of samples, shape (M, D), M > k.
    num_neighbours: k; 3 is usual for precision and recall, 5 for density and coverage.
    block_size: rows whose distances are held at once.
    axis_name: mapped device axis over which the rows of both are split, inside `pmap` or `shard_map`.

  Returns:
    PrecisionRecall, float32 or wider, the same on every device. Detached.

  Raises:
    TypeError: if an array is not floating point or a number is not an integer.
    ValueError: if the arrays are not of rank 2 and one width, or have no more than k rows.

  Example:
    >>> real = jnp.array([[0.0], [1.0], [2.0], [3.0]])
    >>> found = precision_recall(real, jnp.array([[0.5], [9.0], [9.5]]), num_neighbours=1)
    >>> [round(float(x), 2) for x in found]  # the balls of 0, 1 and 2 hold 0.5; none holds the others
    [0.33, 1.0, 0.67, 0.5]

  References:
    Kynkaanniemi et al., Improved Precision and Recall Metric for Assessing Generative Models, 2019.
      arXiv:1904.06991
    Naeem et al., Reliable Fidelity and Diversity Metrics for Generative Models, 2020 (density and
      coverage; their balls are open). arXiv:2002.09797
  """
  check_float(real=real, generated=generated)
  check_rank(2, real=real, generated=generated)
  check_positive_int(num_neighbours=num_neighbours, block_size=block_size)
  dtype = wide_dtype(real, generated)
  real, generated = (jax.lax.stop_gradient(jnp.asarray(x, dtype)) for x in (real, generated))
  if real.shape[1] != generated.shape[1]:
    raise ValueError(
      f"real and generated must have the same width, got {real.shape} and {generated.shape}"
    )
  # Squared distances as differences of squares: about the centre they keep the most digits.
  centre = device_mean(jnp.mean(real, axis=0), axis_name)
  local = {"real": real - centre, "generated": generated - centre}
  rows = {name: all_gather_rows(x, axis_name) for name, x in local.items()}
  for name, x in rows.items():
    if len(x) <= num_neighbours:
      raise ValueError(
        f"{name} must have more rows than num_neighbours = {num_neighbours}, got {len(x)}"
      )

  def own_radius(name: str) -> jax.Array:
    def radius(x: jax.Array) -> jax.Array:  # the nearest of the k + 1 is the point itself
      return -jax.lax.top_k(-_squared_distances(x, rows[name]), num_neighbours + 1)[0][-1]

    return jax.lax.map(radius, local[name], batch_size=block_size)

  radii = {name: own_radius(name) for name in local}
  balls = {name: all_gather_rows(x, axis_name) for name, x in radii.items()}

  def of_sample(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    inside = _squared_distances(x, rows["real"]) <= balls["real"]
    return jnp.any(inside), jnp.sum(inside)

  def of_real(inputs: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
    distances = _squared_distances(inputs[0], rows["generated"])
    return jnp.any(distances <= balls["generated"]), jnp.any(distances <= inputs[1])

  precise, counts = jax.lax.map(of_sample, local["generated"], batch_size=block_size)
  recalled, covered = jax.lax.map(of_real, (local["real"], radii["real"]), batch_size=block_size)
  mean = lambda x: device_mean(jnp.mean(x.astype(dtype)), axis_name)
  return PrecisionRecall(
    mean(precise), mean(recalled), mean(counts) / num_neighbours, mean(covered)
  )


def _squared_distances(x: jax.Array, rows: jax.Array) -> jax.Array:
  """From x (D,) to rows (N, D), shape (N,)."""
  products = jnp.matmul(rows, x, precision="highest")
  lengths = jnp.sum(jnp.square(rows), axis=1)
  return jnp.maximum(lengths + jnp.sum(jnp.square(x)) - 2 * products, 0)
