"""Representations of edits: what turns one sequence into another (Marrese-Taylor et al., 2020)."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from latentjax.checks import check_range, check_rank, check_same_shape
from latentjax.densities import gaussian
from latentjax.losses.annealing import linear_annealing
from latentjax.losses.elbo import bag_of_words_loss, elbo, sequence_log_prob
from latentjax.objectives.latent_model import (
  Batch,
  BoundTerms,
  Metrics,
  Objective,
  Params,
  mean_metrics,
  take_feature,
)

__all__ = ["EditModel", "edit_vae"]

PairEncodeFn = Callable[[Params, jax.Array, jax.Array], tuple[jax.Array, jax.Array]]
EditDecodeFn = Callable[[Params, jax.Array, jax.Array, jax.Array], jax.Array]


class EditModel(NamedTuple):
  """A training objective for p(target|source), and the state it starts with.

  Attributes:
    objective: `(params, model_state, key, batch) -> (loss, (model_state, metrics))`.
    init_state: number of steps done, an integer, or () without annealing.
  """

  objective: Objective
  init_state: Any = ()


def edit_vae(
  encode_fn: PairEncodeFn,
  decode_fn: EditDecodeFn,
  bow_fn: Callable[[Params, jax.Array], jax.Array] | None = None,
  *,
  beta: float = 1.0,
  bow_weight: float = 1.0,
  annealing_steps: int | None = None,
  end_token: int = 0,
  axis_name: str | None = None,
) -> EditModel:
  r"""Variational autoencoder of an edit: z explains the target given the source.

  .. math::

    -\log p(x_+ | x_-, z) + \beta_t \, KL(q(z|x_-, x_+) \,\|\, p(z)) - \lambda \log p(\Delta | z)

  Delta is the bag of inserted and deleted tokens; predicting it from z alone keeps z in use although
  the decoder has seen the source and the target's beginning. The weight of the divergence rises
  linearly from 0 to beta.

  Args:
    encode_fn: `(params, source, target) -> (mean, log_scale)` of q(z|x-, x+), each (B, Z).
    decode_fn: `(params, z, source, target) -> logits` of the target's tokens given those before,
      shape (B, T, V); the logits at t must not see the target at t or later.
    bow_fn: `(params, z) -> logits` of the words of Delta, shape (B, W); None leaves the term out.
    beta: final weight of the divergence; 0 with a log_scale of -20, say, is a deterministic
      autoencoder (at -inf the divergence is infinite and 0 times it is not a number).
    bow_weight: lambda.
    annealing_steps: steps over which the weight of the divergence rises; None: it does not.
    end_token: token that ends a sequence; what follows is padding.
    axis_name: mapped device axis over which the batch is split, inside `pmap` or `shard_map`.

  Returns:
    EditModel for batches of "source" and "target", integers of shape (B, T), and, with bow_fn,
    "delta", counts of shape (B, W), floating point. Metrics: elbo (beta = 1), log_likelihood, kl,
    beta, and with bow_fn bag_of_words, means in nats.

  Raises:
    ValueError: if a weight is negative.

  References:
    Marrese-Taylor, Reid & Matsuo, Variational Inference for Learning Representations of Natural
      Language Edits, 2020. arXiv:2004.09143
  """
  check_range(0.0, beta=beta, bow_weight=bow_weight)

  def weight(step: Any) -> jax.Array:
    if annealing_steps is None:
      return jnp.asarray(beta, jnp.float32)
    return linear_annealing(step, num_steps=annealing_steps, end=beta)

  def objective(
    params: Params, model_state: Any, key: jax.Array, batch: Batch
  ) -> tuple[jax.Array, tuple[Any, Metrics]]:
    source, target = take_feature(batch, "source"), take_feature(batch, "target")
    mean, log_scale = encode_fn(params, source, target)
    check_rank(2, mean=mean)
    check_same_shape(mean=mean, log_scale=log_scale)
    z = gaussian.sample(key, mean, log_scale, axis_name=axis_name)
    log_p = sequence_log_prob(target, decode_fn(params, z, source, target), end_token=end_token)
    kl = gaussian.kl_standard(mean, log_scale)
    loss = -elbo(log_p, kl, beta=weight(model_state))
    metrics = mean_metrics(BoundTerms(elbo(log_p, kl), log_p, kl)) | {"beta": weight(model_state)}
    if bow_fn is not None:
      bag = bag_of_words_loss(bow_fn(params, z), take_feature(batch, "delta"))
      loss += bow_weight * bag
      metrics["bag_of_words"] = jnp.mean(bag)
    next_state = model_state if annealing_steps is None else model_state + 1
    return jnp.mean(loss), (next_state, metrics)

  return EditModel(objective, () if annealing_steps is None else jnp.zeros((), jnp.int32))
