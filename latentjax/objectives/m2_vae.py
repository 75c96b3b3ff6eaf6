"""Semi-supervised VAE with a class variable: the model M2 of Kingma et al. (2014)."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_positive_int, check_range
from latentjax.collectives import device_mean
from latentjax.densities import bernoulli, gaussian
from latentjax.objectives.latent_model import (
  Batch,
  DecodeFn,
  Metrics,
  Objective,
  Params,
  log_likelihood,
  take_feature,
)

__all__ = ["m2_vae"]


def m2_vae(
  classify_fn: Callable[[Params, jax.Array], jax.Array],
  encode_fn: Callable[[Params, jax.Array, jax.Array], tuple[jax.Array, jax.Array]],
  decode_fn: DecodeFn,
  *,
  num_classes: int,
  label_weight: ArrayLike = 1.0,
  likelihood: ModuleType = bernoulli,
  label: str = "label",
  feature: str = "image",
  axis_name: str | None = None,
) -> Objective:
  r"""Objective of M2: a class y and a Gaussian z, the class summed out where it is not known.

  .. math::

    \mathcal{L}(x, y) = E_{q(z|x,y)}[\log p(x|y, z)] - \log C - KL(q(z|x, y) \| N(0, I)),
    \qquad
    \mathcal{U}(x) = \sum_y q(y|x) \mathcal{L}(x, y) + H[q(y|x)]

  The loss of a labelled example is -L(x, y) - alpha log q(y|x), that of an unlabelled one -U(x):
  bounds on -log p(x, y) and -log p(x), the first with the term that lets labels train the classifier.
  All C classes are decoded for every example, labelled or not.

  Args:
    classify_fn: `(params, x) -> logits` of q(y|x), (B, C).
    encode_fn: `(params, x, y) -> (mean, log_scale)` of q(z|x, y), each (B, Z), for one-hot y of shape
      (B, C).
    decode_fn: `(params, zy) -> parameters of p(x|z, y)` for zy of shape (B * C, Z + C): z, then the
      one-hot class.
    num_classes: C, with a uniform prior.
    label_weight: alpha of a labelled example, at least 0. The authors' code takes 0.1 (N_l + N_u) /
      N_l for N_l labelled and N_u other examples that are drawn in this proportion.
    likelihood: density family of p(x|z, y), a module such as `latentjax.densities.bernoulli`.
    label: name of the batch's integer array (B,) of classes, negative where unknown.
    feature: name of the batch's array to model, shape (B, ...), floating point.
    axis_name: mapped device axis over which the batch is split, inside `pmap` or `shard_map`.

  Returns:
    Objective. It passes model_state through unchanged; its metrics are bound, the mean of L or U in
    nats, and label_nll and accuracy, -log q(y|x) and the share of right classes over the labelled.

  Raises:
    TypeError: if num_classes is not an integer.
    ValueError: if num_classes is below 1, label_weight is negative or classify_fn's shape is wrong.

  Example:
    >>> objective = m2_vae(lambda w, x: jnp.zeros((len(x), 2)), lambda w, x, y: (x @ w, 0 * x @ w),
    ...                    lambda w, zy: zy[:, :1] @ w.T, num_classes=2)
    >>> batch = {"image": jnp.ones((4, 3)), "label": jnp.array([0, 1, -1, -1])}
    >>> _, (_, metrics) = objective(jnp.zeros((3, 1)), (), jax.random.key(0), batch)
    >>> float(metrics["bound"])  # -3 log 2, and for the labelled half another -log 2
    -2.426015...

  References:
    Kingma et al., Semi-Supervised Learning with Deep Generative Models, 2014, eq. 6 to 9.
      arXiv:1406.5298
  """
  check_positive_int(num_classes=num_classes)
  check_range(0.0, label_weight=label_weight)
  classes = jnp.eye(num_classes)

  def class_bounds(params: Params, key: jax.Array, x: jax.Array) -> jax.Array:
    """L(x, y) without log p(y) for every class, (B, C)."""
    given = lambda y: encode_fn(params, x, jnp.broadcast_to(y, (len(x), num_classes)))
    mean, log_scale = jax.vmap(given, out_axes=1)(classes)
    z = gaussian.sample(key, mean, log_scale, axis_name=axis_name)
    zy = jnp.concatenate([z, jnp.broadcast_to(classes, (*z.shape[:2], num_classes))], axis=-1)
    log_p = log_likelihood(decode_fn, likelihood, params, x, jnp.swapaxes(zy, 0, 1)).T
    return log_p - gaussian.kl_standard(mean, log_scale)

  def objective(
    params: Params, model_state: Any, key: jax.Array, batch: Batch
  ) -> tuple[jax.Array, tuple[Any, Metrics]]:
    x, y = take_feature(batch, feature), take_feature(batch, label)
    logits = classify_fn(params, x)
    if jnp.shape(logits) != (len(x), num_classes):
      raise ValueError(
        f"classify_fn must return shape {(len(x), num_classes)}, got {jnp.shape(logits)}"
      )
    log_q, known = jax.nn.log_softmax(logits, axis=-1), y >= 0
    target = jax.nn.one_hot(y, num_classes)  # all zeros where unknown
    weights = jnp.where(known[:, None], target, jnp.exp(log_q))
    entropy = jnp.where(known, 0.0, -jnp.sum(jnp.exp(log_q) * log_q, axis=-1))
    values = class_bounds(params, key, x) - jnp.log(num_classes)
    bound = jnp.sum(weights * values, axis=-1) + entropy
    nll, right = -jnp.sum(target * log_q, axis=-1), known & (jnp.argmax(logits, axis=-1) == y)
    # Devices may hold different numbers of labels: the shares are those of the global batch.
    shares = [device_mean(jnp.mean(rows), axis_name) for rows in (nll, right, known)]
    labelled = jnp.maximum(shares[2], jnp.finfo(shares[2].dtype).tiny)
    metrics = {
      "bound": jnp.mean(bound),
      "label_nll": shares[0] / labelled,
      "accuracy": shares[1] / labelled,
    }
    return jnp.mean(label_weight * nll - bound), (model_state, metrics)

  return objective
