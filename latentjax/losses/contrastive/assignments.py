"""Losses on assignments to prototypes that a batch shares out equally (SwAV, MSN)."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_float, check_positive_int, check_range, check_rank, wide_dtype
from latentjax.losses.contrastive._views import as_views, cross_view_entropy, log_mean_exp_rows

__all__ = ["msn_loss", "sinkhorn_assignments", "swav_loss"]


def sinkhorn_assignments(
  scores: ArrayLike,
  *,
  epsilon: ArrayLike = 0.05,
  num_iterations: int = 3,
  axis_name: str | None = None,
) -> jax.Array:
  r"""Soft assignments of a batch to prototypes in equal shares, by Sinkhorn's iteration.

  .. math::

    Q = \mathrm{diag}(u) \, e^{S / \epsilon} \, \mathrm{diag}(v), \qquad
    \sum_k Q_{bk} = 1, \quad \sum_b Q_{bk} \to B / K

  In log-space, prototypes first, so that every example's assignment sums to 1 exactly; the shares of
  the prototypes become equal with the iterations.

  Args:
    scores: similarities of examples and prototypes, shape (B, K), or stacked views (V, B, K), each
      of which is assigned by itself.
    epsilon: temperature, positive; the entropy that the transport keeps. Can be traced.
    num_iterations: Sinkhorn iterations, at least 1.
    axis_name: mapped device axis over which B is split, inside `pmap` or `shard_map`; the shares are
      equal over the whole batch.

  Returns:
    Probabilities, the shape of scores, float32 or wider. Detached.

  Raises:
    TypeError: if scores is not floating point or num_iterations is not an integer.
    ValueError: if scores is not of rank 2 or 3, epsilon is not positive or num_iterations is below 1.

  Example:
    >>> sinkhorn_assignments(jnp.array([[3.0, 1.0], [3.0, 1.0]])).tolist()
    [[0.5, 0.5], [0.5, 0.5]]

  References:
    Caron et al., Unsupervised Learning of Visual Features by Contrasting Cluster Assignments (SwAV),
      2020. arXiv:2006.09882
    Cuturi, Sinkhorn Distances, 2013. arXiv:1306.0895
  """
  check_float(scores=scores)
  check_rank(3 if jnp.ndim(scores) == 3 else 2, scores=scores)
  check_range(low=0.0, strict=True, epsilon=epsilon)
  check_positive_int(num_iterations=num_iterations)
  scores = jax.lax.stop_gradient(jnp.asarray(scores, wide_dtype(scores)))

  def iterate(_: int, log_q: jax.Array) -> jax.Array:
    log_q -= log_mean_exp_rows(log_q, axis_name)[..., None, :]
    return jax.nn.log_softmax(log_q, axis=-1)

  log_q = scores / jnp.asarray(epsilon, scores.dtype)
  return jnp.exp(jax.lax.fori_loop(0, num_iterations, iterate, log_q))


def swav_loss(
  scores: ArrayLike,
  *,
  num_assigned: int = 2,
  temperature: ArrayLike = 0.1,
  epsilon: ArrayLike = 0.05,
  num_iterations: int = 3,
  axis_name: str | None = None,
) -> jax.Array:
  r"""Each view predicts the assignment of another (SwAV).

  .. math::

    \frac{1}{T (V - 1)} \sum_{t=1}^T \sum_{v \ne t}
    - Q_t \cdot \log \mathrm{softmax}(S_v / \tau)

  with assignments Q of the first T views by `sinkhorn_assignments`.

  Args:
    scores: similarities of unit-norm embeddings and prototypes, views to be assigned first, shape
      (V, B, K).
    num_assigned: T, how many views are assigned: the global crops.
    temperature: tau, positive. Can be traced.
    epsilon: temperature of the assignments, positive. Can be traced.
    num_iterations: Sinkhorn iterations, at least 1.
    axis_name: mapped device axis over which B is split, inside `pmap` or `shard_map`.

  Returns:
    Loss per example in nats, shape (B,), float32 or wider. Gradient flows to the scores as
    predictions; the assignments are detached.

  Raises:
    TypeError: if scores is not floating point or an integer is not one.
    ValueError: if scores is not of shape (V, B, K) with V at least 2, num_assigned is not in [1, V],
      a temperature is not positive or num_iterations is below 1.

  Example:
    >>> swav_loss(jnp.zeros((2, 3, 4))).tolist()  # log 4
    [1.38629..., 1.38629..., 1.38629...]

  References:
    Caron et al., Unsupervised Learning of Visual Features by Contrasting Cluster Assignments (SwAV),
      2020. arXiv:2006.09882
  """
  scores = as_views(scores=scores)
  check_positive_int(num_assigned=num_assigned)
  if num_assigned > len(scores):
    raise ValueError(f"num_assigned must be at most the {len(scores)} views, got {num_assigned}")
  check_range(low=0.0, strict=True, temperature=temperature)
  targets = sinkhorn_assignments(
    scores[:num_assigned], epsilon=epsilon, num_iterations=num_iterations, axis_name=axis_name
  )
  logits = scores / jnp.asarray(temperature, scores.dtype)
  return cross_view_entropy(targets, jax.nn.log_softmax(logits, axis=-1))


def msn_loss(
  anchor_scores: ArrayLike,
  target_scores: ArrayLike,
  *,
  temperature: ArrayLike = 0.1,
  target_temperature: ArrayLike = 0.025,
  lambda_entropy: ArrayLike = 1.0,
  axis_name: str | None = None,
) -> jax.Array:
  r"""Masked views predict the whole view's prototypes, all of which are to be used (MSN).

  .. math::

    \frac1V \sum_v - p^+_b \cdot \log p_{vb} - \lambda H(\bar p), \qquad
    p = \mathrm{softmax}(s / \tau), \quad p^+ = \mathrm{softmax}(s^+ / \tau^+), \quad
    \bar p = \frac{1}{V B} \sum_{v, b} p_{vb}

  H is the entropy over prototypes, the same for every example; the mean over examples is the paper's
  loss. Targets are sharper than predictions, tau^+ < tau; to share them out equally as well, pass
  through `sinkhorn_assignments` first.

  Args:
    anchor_scores: similarities of the masked views' unit-norm embeddings and the prototypes, shape
      (V, B, K).
    target_scores: those of the target network's whole view, shape (B, K).
    temperature: tau, positive. Can be traced.
    target_temperature: tau^+, positive. Can be traced.
    lambda_entropy: weight of the mean prediction's entropy, at least 0. Can be traced.
    axis_name: mapped device axis over which B is split, inside `pmap` or `shard_map`.

  Returns:
    Loss per example in nats, shape (B,), float32 or wider. Gradient flows to anchor_scores;
    target_scores is detached.

  Raises:
    TypeError: if an argument is not floating point.
    ValueError: if the shapes do not fit, a temperature is not positive or lambda_entropy is negative.

  Example:
    >>> msn_loss(jnp.zeros((1, 2, 4)), jnp.zeros((2, 4)), lambda_entropy=0.0).tolist()  # log 4
    [1.38629..., 1.38629...]

  References:
    Assran et al., Masked Siamese Networks for Label-Efficient Learning, 2022. arXiv:2204.07141
  """
  anchors = as_views(1, anchor_scores=anchor_scores)
  check_float(target_scores=target_scores)
  if jnp.shape(target_scores) != anchors.shape[1:]:
    raise ValueError(
      f"target_scores must have shape {anchors.shape[1:]}, got {jnp.shape(target_scores)}"
    )
  check_range(low=0.0, strict=True, temperature=temperature, target_temperature=target_temperature)
  check_range(low=0.0, lambda_entropy=lambda_entropy)
  dtype = wide_dtype(anchors, target_scores)
  targets = jax.lax.stop_gradient(jnp.asarray(target_scores, dtype))
  targets = jax.nn.softmax(targets / jnp.asarray(target_temperature, dtype), axis=-1)
  log_probs = jax.nn.log_softmax(anchors / jnp.asarray(temperature, dtype), axis=-1)
  cross_entropy = -jnp.sum(targets * jnp.mean(log_probs, axis=0), axis=-1)
  log_mean = log_mean_exp_rows(
    jnp.swapaxes(log_probs, 0, 1).reshape(-1, log_probs.shape[2]), axis_name
  )
  entropy = -jnp.sum(jnp.exp(log_mean) * log_mean)
  return cross_entropy - jnp.asarray(lambda_entropy, dtype) * entropy
