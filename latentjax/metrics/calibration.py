"""Whether predicted probabilities are the frequencies with which things happen."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_float, check_positive_int, check_rank, wide_dtype
from latentjax.collectives import device_mean

__all__ = ["expected_calibration_error"]


def expected_calibration_error(
  probs: ArrayLike, labels: ArrayLike, *, num_bins: int = 15, axis_name: str | None = None
) -> jax.Array:
  r"""Expected calibration error (ECE) of a classifier: how far its confidence is from its accuracy.

  .. math:: \mathrm{ECE} = \sum_{m=1}^M \frac{|B_m|}{B} \, |\mathrm{acc}(B_m) - \mathrm{conf}(B_m)|

  where bin m has the examples whose largest probability lies in ((m - 1) / M, m / M]. In [0, 1]. Too
  large for few examples, by the order of sqrt(M / B), since every bin's deviation counts as positive.

  Args:
    probs: predicted class probabilities, rows that sum to 1, shape (B, C).
    labels: true classes, integers in [0, C), shape (B,).
    num_bins: M, bins of equal width.
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`.

  Returns:
    Error for the batch, a scalar, float32 or wider, the same on every device. Gradient flows to the
    largest probabilities alone; accuracies and bins have none.

  Raises:
    TypeError: if probs is not floating point, labels are not integers, or num_bins is not one.
    ValueError: if probs is not of rank 2, labels do not have one entry for each of its rows, or
      num_bins is below 1.

  Example:
    >>> probs = jnp.array([[0.75, 0.25], [0.75, 0.25]])  # 75 % sure, half of the time right
    >>> expected_calibration_error(probs, jnp.array([0, 1])).item()
    0.25

  References:
    Naeini, Cooper & Hauskrecht, Obtaining Well Calibrated Probabilities Using Bayesian Binning, 2015.
    Guo, Pleiss, Sun & Weinberger, On Calibration of Modern Neural Networks, 2017. arXiv:1706.04599
  """
  check_float(probs=probs)
  check_rank(2, probs=probs)
  check_positive_int(num_bins=num_bins)
  if not jnp.issubdtype(jnp.result_type(labels), jnp.integer):
    raise TypeError(f"labels must be integers, got {jnp.result_type(labels)}")
  if jnp.shape(labels) != jnp.shape(probs)[:1]:
    raise ValueError(
      f"labels must have one entry for each row of probs {jnp.shape(probs)}, got {jnp.shape(labels)}"
    )
  probs = jnp.asarray(probs, wide_dtype(probs))
  confidence = jnp.max(probs, axis=1)
  edges = jnp.arange(1, num_bins) / num_bins
  bins = jnp.searchsorted(edges, confidence, side="left")
  surplus = confidence - (jnp.argmax(probs, axis=1) == labels)
  per_bin = jax.ops.segment_sum(surplus, bins, num_bins) / probs.shape[0]
  return jnp.sum(jnp.abs(device_mean(per_bin, axis_name)))
