"""InfoMEC: modularity, compactness and explicitness of a code whose true factors are known."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_choice, check_float, check_positive_int
from latentjax.metrics._within_labels import check_key_range
from latentjax.metrics.discrete_information import (
  check_codes,
  check_labels,
  check_rows,
  column_entropies,
  mutual_information_matrix,
)
from latentjax.metrics.mutual_information import information_of_numbers
from latentjax.metrics.predictive_information import predictive_information
from latentjax.metrics.probes import nan_unless_finite

__all__ = ["InfoMEC", "infomec"]


class InfoMEC(NamedTuple):
  """How factors and latents share their information.

  Attributes:
    modularity: 1 if every active latent informs about one factor only, 0 if about all alike. Scalar.
    compactness: 1 if every factor is found in one active latent only, 0 if in all alike. Scalar.
    explicitness: share of the factors' entropy that linear probes of all latents remove. Scalar.
    nmi: mutual information of every factor and latent over the factor's entropy, shape (F, Z).
    active: latents that vary, boolean, shape (Z,).
  """

  modularity: jax.Array
  compactness: jax.Array
  explicitness: jax.Array
  nmi: jax.Array
  active: jax.Array


def infomec(
  codes: ArrayLike,
  factors: ArrayLike,
  *,
  num_values: int | Sequence[int] | None = None,
  num_codes: int | None = None,
  num_neighbours: int = 10,
  probe: str = "logistic",
  num_steps: int = 50,
  axis_name: str | None = None,
) -> InfoMEC:
  r"""InfoModularity, InfoCompactness and InfoExplicitness of a code, each in [0, 1].

  .. math::

    M = \frac{\bar m - 1/F}{1 - 1/F}, \quad
    \bar m = \frac1{|A|} \sum_{j \in A} \frac{\max_i N_{ij}}{\sum_i N_{ij}}, \qquad
    C = \frac{\bar c - 1/|A|}{1 - 1/|A|}, \quad
    \bar c = \frac1F \sum_i \frac{\max_{j \in A} N_{ij}}{\sum_{j \in A} N_{ij}}, \qquad
    N_{ij} = \frac{I(v_i; z_j)}{H(v_i)}

  and E is the mean over the factors of `predictive_information`. The information is that of the
  frequencies for discrete latents, and that of nearest neighbours (`label_number_information`) for
  continuous ones. A, the active latents: discrete ones that take more than one value; continuous ones
  whose range is above 1/20 of the largest. The probe sees all latents, discrete ones as one-hot
  vectors.

  As the authors' program, except for their logistic probe, which weighs the values of a factor
  equally, the same thing where they are equally frequent; and except for what is undefined there: a
  latent (factor) that shares nothing counts as informing about (found in) all alike, and a single
  active latent is compact.

  Args:
    codes: latents z, shape (N, Z): floating point, such as means of q(z|x), or integers in
      [0, num_codes), such as the indices of `latent_quantize`.
    factors: true factors v, integers in [0, num_values), shape (N, F) with F >= 2.
    num_values: number of values of every factor, or of all the largest; None: what the factors show,
      which traced ones cannot.
    num_codes: number of values of a discrete latent; None: the latents are continuous.
    num_neighbours: of the estimate for continuous latents.
    probe: "logistic", or "linear" for factors whose order matters.
    num_steps: most steps of the fit of the logistic probe.
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`.

  Returns:
    InfoMEC, the same on every device, float32 or wider; its numbers are nan if traced codes are not
    finite. Detached.

  Raises:
    TypeError: if the factors are not integers, or the codes not floating point, or with num_codes not
      integer.
    ValueError: if an array is not of rank 2, their rows differ, there is a single factor, N is
      2^31 / num_values or more, or a number is out of range; unless traced, also if codes are not finite
      or factors out of range.

  Example:
    >>> factors = jnp.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    >>> scores = infomec(factors[:, ::-1], factors, num_values=2, num_codes=2)
    >>> [round(float(score), 3) for score in scores[:3]]
    [1.0, 1.0, 1.0]

  References:
    Hsu et al., Disentanglement via Latent Quantization, 2023. arXiv:2305.18378
  """
  check_choice(("logistic", "linear"), probe=probe)
  check_positive_int(num_neighbours=num_neighbours, num_steps=num_steps)
  checked = _check(codes, factors, num_values, num_codes, axis_name)
  return _infomec(*checked, num_codes, num_neighbours, probe, num_steps)


@partial(jax.jit, static_argnums=(2, 3, 4, 5, 6))
def _infomec(
  z: jax.Array,
  v: jax.Array,
  num_values: int,
  num_codes: int | None,
  num_neighbours: int,
  probe: str,
  num_steps: int,
) -> InfoMEC:
  if num_codes is None:
    information = information_of_numbers(v, z, num_values, num_neighbours)
    features, share = z, 0.05
  else:
    information = mutual_information_matrix(v, z, num_values=num_values, num_other_values=num_codes)
    features, share = jax.nn.one_hot(z, num_codes).reshape(z.shape[0], -1), 0.0
  spread = jnp.ptp(z, axis=0)
  active = spread > share * jnp.max(spread)

  entropy = column_entropies(v, num_values=num_values)
  nmi = _ratio(information, entropy[:, None], 0.0)
  kept = jnp.where(active, nmi, 0)
  num_factors, num_active = v.shape[1], jnp.sum(active)
  largest = _ratio(jnp.max(kept, axis=0), jnp.sum(kept, axis=0), 1 / num_factors)
  modularity = _ratio(jnp.sum(jnp.where(active, largest, 0)), num_active, 1 / num_factors)
  compactness = jnp.mean(
    _ratio(jnp.max(kept, axis=1), jnp.sum(kept, axis=1), 1 / jnp.maximum(num_active, 1))
  )
  explicitness = predictive_information(
    v, features, probe=probe, num_values=num_values, num_steps=num_steps
  )
  scores = InfoMEC(
    _above_chance(modularity, num_factors),
    _above_chance(compactness, num_active),
    jnp.mean(explicitness),
    nmi,
    active,
  )
  return nan_unless_finite(scores, z)


def _above_chance(ratio: jax.Array, count: jax.Array | int) -> jax.Array:
  """From 0, all alike, to 1; the only one there is has all there is."""
  chance = 1 / jnp.maximum(count, 1)
  return _ratio(ratio - chance, 1 - chance, 1.0 * (jnp.asarray(count) > 0))


def _ratio(a: jax.Array, b: jax.Array, otherwise: jax.Array | float) -> jax.Array:
  """a / b, or something else where b is 0."""
  return jnp.where(b > 0, a / jnp.where(b > 0, b, 1), otherwise)


def _check(
  codes: ArrayLike,
  factors: ArrayLike,
  num_values: int | Sequence[int] | None,
  num_codes: int | None,
  axis_name: str | None,
) -> tuple[jax.Array, jax.Array, int]:
  if num_codes is None:
    check_float(**{"codes, without num_codes,": codes})
    z = check_codes("codes", codes, axis_name)
  else:
    z, _ = check_labels("codes", codes, num_codes, axis_name)
  v, num_values = check_labels("factors", factors, num_values, axis_name)
  check_rows(codes=z, factors=v)
  check_key_range(z.shape[0], num_values)
  if v.shape[1] < 2:
    raise ValueError(f"factors must have at least 2 columns, got shape {v.shape}")
  return z, v, num_values
