"""What linear probes read off a code: predictive V-information."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import (
  check_choice,
  check_float,
  check_positive_int,
  check_rank,
  wide_dtype,
)
from latentjax.collectives import all_gather_rows
from latentjax.metrics._newton import newton

__all__ = ["predictive_information"]


def predictive_information(
  sources: ArrayLike,
  features: ArrayLike,
  *,
  probe: str = "logistic",
  num_values: int | None = None,
  num_steps: int = 50,
  axis_name: str | None = None,
) -> jax.Array:
  r"""Share of every source's uncertainty that a linear probe of the features removes, in [0, 1].

  .. math::

    \frac{H_V(s|\varnothing) - H_V(s|z)}{H_V(s|\varnothing)}, \qquad
    H_V(s|z) = \min_{f \in V} -\frac1N \sum_n \log f(s_n|z_n)

  V are the probes: "logistic" is multinomial logistic regression, for which H_V without features is
  the entropy of the source; "linear" is linear regression with a Gaussian of variance 1/2, on a
  standardised source, for which the share is R^2. Fitted and judged on the same examples, so that as
  many features as examples explain everything.

  The logistic probe is fitted by Newton's method, as `logistic_probe` without a penalty; about ten steps
  are taken, and num_steps where classes are separable, whose loss keeps falling.

  Args:
    sources: s, shape (N, S): integers in [0, num_values) for "logistic", numbers for "linear".
    features: z, shape (N, F), floating point. Shifts, scales and linear maps do not matter.
    probe: "logistic" or "linear".
    num_values: largest number of values of a source; obligatory for "logistic".
    num_steps: most steps of the fit of the logistic probe.
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`.

  Returns:
    Share of every source, shape (S,), float32 or wider; 0 for a constant source. Detached.

  Raises:
    TypeError: if features are not floating point, or the sources of a logistic probe not integers.
    ValueError: if an array is not of rank 2, their rows differ, the probe is unknown, or num_values
      is missing.

  Example:
    >>> sources = jnp.array([[0], [0], [1], [1]])
    >>> features = jnp.array([[-1.0, 1.0], [-1.0, -1.0], [1.0, 1.0], [1.0, -1.0]])
    >>> predictive_information(sources, features, probe="linear").round(3).tolist()
    [1.0]

  References:
    Xu et al., A Theory of Usable Information Under Computational Constraints, 2020.
      arXiv:2002.10689
    Hsu et al., Disentanglement via Latent Quantization, 2023 (InfoExplicitness). arXiv:2305.18378
  """
  check_float(features=features)
  check_rank(2, sources=sources, features=features)
  check_choice(("logistic", "linear"), probe=probe)
  check_positive_int(num_steps=num_steps)
  if jnp.shape(sources)[0] != jnp.shape(features)[0]:
    raise ValueError(
      "sources and features must have equally many rows, got "
      f"{jnp.shape(sources)} and {jnp.shape(features)}"
    )
  sources, features = (
    all_gather_rows(jnp.asarray(array), axis_name) for array in (sources, features)
  )
  white = _whiten(jax.lax.stop_gradient(features).astype(wide_dtype(features)))
  if probe == "linear":
    s = _standardise(jax.lax.stop_gradient(sources).astype(white.dtype))
    projected = jnp.matmul(white.T, s, precision="highest") / white.shape[0]
    return jnp.clip(jnp.sum(jnp.square(projected), axis=0), 0, 1)
  if not jnp.issubdtype(sources.dtype, jnp.integer):
    raise TypeError(f"sources of a logistic probe must be integers, got {sources.dtype}")
  if num_values is None:
    raise ValueError("num_values must be the number of values of a source, got None")
  check_positive_int(num_values=num_values)
  one_hot = jax.nn.one_hot(sources.T, num_values, dtype=white.dtype)
  # One source at a time: each takes its own number of steps.
  return jax.lax.map(lambda target: _logistic_share(white, target, num_steps), one_hot)


def _logistic_share(white: jax.Array, target: jax.Array, num_steps: int) -> jax.Array:
  """Share of the entropy of target (N, C), one-hot, that white features (N, F) explain."""
  x = jnp.concatenate([jnp.ones_like(white[:, :1]), white], axis=1)
  frequency = jnp.mean(target, axis=0)
  entropy = jnp.sum(jax.scipy.special.entr(frequency))
  present = frequency > 0
  w = newton(x, target, present, jnp.zeros_like(x[0]), num_steps)
  log_probs = jax.nn.log_softmax(jnp.where(present, x @ w, -jnp.inf))
  loss = -jnp.mean(jnp.sum(jnp.where(target > 0, log_probs, 0), axis=1))
  return jnp.where(entropy > 0, jnp.clip(1 - loss / jnp.where(entropy > 0, entropy, 1), 0, 1), 0)


def _whiten(features: jax.Array) -> jax.Array:
  """Uncorrelated combinations of unit variance that span the features; zeros for what is redundant."""
  z = _standardise(features)
  values, vectors = jnp.linalg.eigh(jnp.matmul(z.T, z, precision="highest") / z.shape[0])
  keep = values > 1e-6 * z.shape[1]
  scale = jnp.where(keep, jax.lax.rsqrt(jnp.where(keep, values, 1)), 0)
  return jnp.matmul(z, vectors * scale, precision="highest")


def _standardise(x: jax.Array) -> jax.Array:
  """Columns of mean 0 and variance 1, or 0 where they are constant."""
  x = x / jnp.maximum(jnp.max(jnp.abs(x), axis=0), 1e-30)
  centred = x - jnp.mean(x, axis=0)
  variance = jnp.mean(jnp.square(centred), axis=0)
  varies = variance > 1e-12
  return jnp.where(varies, centred * jax.lax.rsqrt(jnp.where(varies, variance, 1)), 0)
