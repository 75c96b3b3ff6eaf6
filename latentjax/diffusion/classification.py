"""Classes by how well a conditional diffusion model denoises under them: Diffusion Classifier."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import (
  check_batch,
  check_choice,
  check_float,
  check_positive_int,
  check_rank,
  wide_dtype,
)
from latentjax.diffusion.processes import PREDICTIONS, Process, noised
from latentjax.diffusion.processes.predictions import (
  draw_noise,
  noise_error_ratio,
  prediction_of,
)

__all__ = ["class_errors", "eliminate_classes"]

ConditionalFn = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]


def class_errors(
  key: jax.Array,
  predict_fn: ConditionalFn,
  x: ArrayLike,
  *,
  num_classes: int,
  process: Process,
  times: ArrayLike,
  prediction: str = "eps",
  weighting: Callable[[jax.Array], jax.Array] | None = None,
  shared_noise: bool = True,
  block_size: int | None = None,
  axis_name: str | None = None,
) -> jax.Array:
  r"""Error of the noise that a model predicts under every class; the least is the class.

  .. math::

    e_c = \frac1T \sum_i w(\lambda_{t_i}) \|\epsilon_i - \hat\epsilon(z_{t_i}, t_i, c)\|^2, \qquad
    p(c \mid x) \approx \mathrm{softmax}_c(-e_c)

  for equal prior probabilities. All classes see the same times and noise: what is hard about a draw is
  hard for all of them and cancels in their differences.

  Args:
    key: random key, the same on every device.
    predict_fn: `(z_t, t, labels) -> prediction`, z_t (B, ...), t and labels (B,).
    x: data, shape (B, ...).
    num_classes: C, labels are 0 ... C - 1.
    process: alpha, sigma and log_snr.
    times: t_i, shape (T,); evenly spaced in the paper.
    prediction: what predict_fn predicts: "eps", "x0", "v", "score" or "velocity".
    weighting: w of the log signal-to-noise ratio; None: 1, as in the paper. With that of the variational
      bound (`likelihood_weight`) it is Bayes' rule for a perfect model.
    shared_noise: False: every class draws its own, for comparison.
    block_size: classes that are predicted at once; None: all.
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`; a row's
      noise does not depend on how.

  Returns:
    Errors, shape (B, C), float32 or wider. Gradient flows to x and to what predict_fn holds.

  Raises:
    TypeError: if an array is not floating point or a number not an integer.
    ValueError: if a shape does not fit, prediction is unknown or a number is not positive.

  Example:
    >>> from latentjax.diffusion.processes import rectified_flow
    >>> data = jnp.array([[-1.0], [1.0]])  # one point for each class
    >>> predict = lambda z, t, labels: data[labels]
    >>> given = {"process": rectified_flow(), "times": jnp.linspace(0.1, 0.9, 5), "prediction": "x0"}
    >>> errors = class_errors(jax.random.key(0), predict, data, num_classes=2, **given)
    >>> jnp.argmin(errors, axis=1).tolist()
    [0, 1]

  References:
    Li et al., Your Diffusion Model is Secretly a Zero-Shot Classifier, 2023. arXiv:2303.16203
  """
  check_positive_int(num_classes=num_classes)
  x, times = _check(x, times, prediction, block_size)
  labels = jnp.broadcast_to(jnp.arange(num_classes), (x.shape[0], num_classes))
  totals = _total_errors(
    key, predict_fn, x, labels, process, times, prediction, weighting, shared_noise, block_size, axis_name
  )  # fmt: skip
  return totals / times.shape[0]


def eliminate_classes(
  key: jax.Array,
  predict_fn: ConditionalFn,
  x: ArrayLike,
  *,
  num_classes: int,
  process: Process,
  stages: Sequence[tuple[ArrayLike, int]],
  prediction: str = "eps",
  weighting: Callable[[jax.Array], jax.Array] | None = None,
  block_size: int | None = None,
  axis_name: str | None = None,
) -> tuple[jax.Array, jax.Array]:
  r"""The best classes of `class_errors` with fewer predictions: bad ones are given up early.

  .. math:: S_{k + 1} = \text{the } n_k \text{ classes of } S_k \text{ with the least error so far}

  Args:
    key: random key, the same on every device.
    predict_fn: `(z_t, t, labels) -> prediction`, z_t (B, ...), t and labels (B,).
    x: data, shape (B, ...).
    num_classes: C, labels are 0 ... C - 1.
    process: alpha, sigma and log_snr.
    stages: pairs of times (T_k,), at which every class that is left is tried, and the number of classes n_k
      that stay, which must not grow.
    prediction: what predict_fn predicts.
    weighting: see `class_errors`.
    block_size: classes that are predicted at once; None: all.
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`; a row's
      noise does not depend on how.

  Returns:
    Labels int32, shape (B, n), best first, and their mean errors over the times of all stages, shape
    (B, n), for the n of the last stage.

  Raises:
    TypeError: if an array is not floating point or a number not an integer.
    ValueError: if a shape does not fit, prediction is unknown, a number is not positive, stages are empty,
      or there are more classes to stay than there are.

  Example:
    >>> from latentjax.diffusion.processes import rectified_flow
    >>> data = jnp.array([[-1.0], [0.0], [1.0]])
    >>> predict = lambda z, t, labels: data[labels]
    >>> given = {"process": rectified_flow(), "prediction": "x0", "num_classes": 3}
    >>> stages = [(jnp.array([0.5]), 2), (jnp.array([0.2, 0.8]), 1)]
    >>> labels, _ = eliminate_classes(jax.random.key(0), predict, data, stages=stages, **given)
    >>> labels.tolist()
    [[0], [1], [2]]

  References:
    Li et al., Your Diffusion Model is Secretly a Zero-Shot Classifier, 2023. arXiv:2303.16203
  """
  if not stages:
    raise ValueError("stages must have at least one pair of times and count, got none")
  check_positive_int(num_classes=num_classes, **{"stages' count": min(n for _, n in stages)})
  counts = [num_classes, *(count for _, count in stages)]
  if counts != sorted(counts, reverse=True):
    raise ValueError(f"stages must keep fewer and fewer of {num_classes} classes, got {counts[1:]}")
  x, _ = _check(x, stages[0][0], prediction, block_size)
  labels = jnp.broadcast_to(jnp.arange(num_classes, dtype=jnp.int32), (x.shape[0], num_classes))
  totals, num_times = jnp.zeros(labels.shape, wide_dtype(x)), 0
  for stage, (times, count) in enumerate(stages):
    _, times = _check(x, times, prediction, block_size)
    key_stage = jax.random.fold_in(key, stage)
    totals += _total_errors(
      key_stage, predict_fn, x, labels, process, times, prediction, weighting, True, block_size, axis_name
    )  # fmt: skip
    num_times += times.shape[0]
    best = jnp.argsort(totals, axis=1)[:, :count]
    labels, totals = (jnp.take_along_axis(a, best, axis=1) for a in (labels, totals))
  return labels, totals / num_times


def _check(
  x: ArrayLike, times: ArrayLike, prediction: str, block_size: int | None
) -> tuple[jax.Array, jax.Array]:
  check_choice(PREDICTIONS, prediction=prediction)
  if block_size is not None:
    check_positive_int(block_size=block_size)
  check_batch(x=x)
  check_float(times=times)
  check_rank(1, times=times)
  return jnp.asarray(x), jnp.asarray(times, wide_dtype(x))


def _total_errors(
  key: jax.Array,
  predict_fn: ConditionalFn,
  x: jax.Array,
  labels: jax.Array,
  process: Process,
  times: jax.Array,
  prediction: str,
  weighting: Callable[[jax.Array], jax.Array] | None,
  shared_noise: bool,
  block_size: int | None,
  axis_name: str | None,
) -> jax.Array:
  """Weighted errors of eps, summed over times, for labels (B, K)."""
  dtype = wide_dtype(x)

  def at_time(totals: jax.Array, inputs: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
    t, key = inputs
    t, count = jnp.broadcast_to(t, x.shape[:1]), labels.shape[1]
    shared = draw_noise(key, x, axis_name)

    def error(label_and_key: tuple[jax.Array, jax.Array]) -> jax.Array:
      label, key = label_and_key
      eps = shared if shared_noise else draw_noise(key, x, axis_name)
      given = predict_fn(noised(x, eps, t, process=process), t, label)
      wanted = prediction_of(x, eps, t, process=process, prediction=prediction)
      squares = jnp.square(given.astype(dtype) - wanted.astype(dtype))
      return jnp.sum(squares, axis=tuple(range(1, x.ndim)))

    inputs = labels.T, jax.random.split(key, count)
    errors = jax.lax.map(error, inputs, batch_size=min(block_size or count, count))
    weight = jnp.square(noise_error_ratio(t, process=process, prediction=prediction))
    if weighting is not None:
      weight *= weighting(process.log_snr(t))
    return totals + (weight * errors).T, None

  totals = jnp.zeros_like(x, dtype, shape=labels.shape)
  keys = jax.random.split(key, times.shape[0])
  return jax.lax.scan(at_time, totals, (times, keys))[0]
