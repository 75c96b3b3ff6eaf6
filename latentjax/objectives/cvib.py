"""Contrastive variational information bottleneck: a classifier and its own pruned twin."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_range
from latentjax.losses.contrastive import info_nce, l2_normalize
from latentjax.losses.information import vib_loss
from latentjax.objectives.latent_model import Batch, Metrics, Objective, Params, take_feature

__all__ = ["cvib"]


def cvib(
  original_fn: Callable[[Params, jax.Array], tuple[jax.Array, jax.Array]],
  pruned_fn: Callable[[Params, jax.Array, jax.Array], tuple[jax.Array, jax.Array, jax.Array]],
  *,
  beta: ArrayLike = 1e-6,
  contrastive_weight: ArrayLike = 1.0,
  temperature: ArrayLike = 0.1,
  label: str = "label",
  feature: str = "image",
  axis_name: str | None = None,
  block_size: int | None = None,
) -> Objective:
  r"""Objective of CVIB: two networks, one with noisy gates, that agree on which example is which.

  .. math::

    -\log p(y|x) - \log \tilde p(y|x) + \beta \sum_d \tfrac12 \log(1 + \mu_d^2 / \sigma_d^2)
    + \alpha \, \mathrm{InfoNCE}(\tilde f(x), f(x))

  with cosines of the features f of the original and those of the pruned network. The authors train
  the networks in turn, each against the other's fixed features; at the same parameters the gradient
  of this sum is the same. The pruned network, without the units that `gate_mask` drops, is the result.

  Args:
    original_fn: `(params, x) -> (features, logits)`, (B, D) and (B, C).
    pruned_fn: `(params, key, x) -> (features, logits, kl)`, the twin with `vib_gate` on its units, which
      is to be given the same axis_name, and kl, a scalar, the sum of `gate_kl` over all of them (times
      the tokens they gate, in the paper).
    beta: weight of kl, at least 0.
    contrastive_weight: alpha, at least 0; with 0 the pruned network is a VIB on its own.
    temperature: of the cosines, positive.
    label: name of the batch's integer array (B,) of classes.
    feature: name of the batch's array of inputs, shape (B, ...).
    axis_name: mapped device axis over which the batch is split, inside `pmap` or `shard_map`.
    block_size: rows at a time in the contrastive loss, see `info_nce`.

  Returns:
    Objective. It passes model_state through unchanged; its metrics are nll, pruned_nll, kl and
    contrastive in nats, accuracy and pruned_accuracy.

  Raises:
    ValueError: if beta or contrastive_weight is negative or temperature is not positive.

  Example:
    >>> gated = lambda w, key, x: (x @ w, 2 * x @ w, jnp.sum(w))
    >>> objective = cvib(lambda w, x: (x @ w, x @ w), gated, beta=0.5, contrastive_weight=0.0)
    >>> batch = {"image": jnp.eye(2), "label": jnp.array([0, 1])}
    >>> _, (_, metrics) = objective(jnp.eye(2), (), jax.random.key(0), batch)
    >>> float(metrics["kl"]), float(metrics["pruned_accuracy"])
    (2.0, 1.0)

  References:
    Chang et al., Contrastive Variational Information Bottleneck for Aspect-based Sentiment Analysis,
      2024. arXiv:2303.02846
  """
  check_range(0.0, beta=beta, contrastive_weight=contrastive_weight)
  check_range(0.0, strict=True, temperature=temperature)

  def objective(
    params: Params, model_state: Any, key: jax.Array, batch: Batch
  ) -> tuple[jax.Array, tuple[Any, Metrics]]:
    x, y = take_feature(batch, feature), take_feature(batch, label)
    features, logits = original_fn(params, x)
    pruned_features, pruned_logits, kl = pruned_fn(params, key, x)
    nll, pruned_nll = _nll(logits, y), _nll(pruned_logits, y)
    contrastive = info_nce(
      l2_normalize(pruned_features),
      l2_normalize(features),
      temperature=temperature,
      axis_name=axis_name,
      block_size=block_size,
    )
    pruned_loss = vib_loss(pruned_nll, jnp.broadcast_to(kl, pruned_nll.shape), beta=beta)
    loss = jnp.mean(nll + pruned_loss + contrastive_weight * contrastive)
    metrics = {
      "nll": jnp.mean(nll),
      "pruned_nll": jnp.mean(pruned_nll),
      "kl": kl,
      "contrastive": jnp.mean(contrastive),
      "accuracy": jnp.mean(jnp.argmax(logits, axis=-1) == y),
      "pruned_accuracy": jnp.mean(jnp.argmax(pruned_logits, axis=-1) == y),
    }
    return loss, (model_state, metrics)

  return objective


def _nll(logits: jax.Array, y: jax.Array) -> jax.Array:
  """-log p(y|x) of every example, (B,)."""
  return -jnp.take_along_axis(jax.nn.log_softmax(logits), y[:, None], axis=-1)[:, 0]
