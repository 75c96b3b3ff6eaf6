"""Any objective of an encoder and a decoder, with both networks given a condition of the same row."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from latentjax.objectives.latent_model import (
  Batch,
  DecodeFn,
  EncodeFn,
  LatentModel,
  Metrics,
  Objective,
  Params,
  take_feature,
)

__all__ = ["ConditionedModel", "conditional"]

ConditionalEncodeFn = Callable[[Params, jax.Array, jax.Array], tuple[jax.Array, jax.Array]]
ConditionalDecodeFn = Callable[[Params, jax.Array, jax.Array], Any]


class ConditionedModel(NamedTuple):
  """A training objective for p(x|y), and the model it trains for any conditions y.

  Attributes:
    objective: `(params, model_state, key, batch) -> (loss, (model_state, metrics))`.
    given: `(y) -> LatentModel` of p(x|y) for conditions y, shape (B, ...), one per row of what its
      functions are then called with. Of its `sample`, num_samples must be a multiple of B: each
      condition gets as many samples in a row.
    init_state: the model_state that training starts with.
  """

  objective: Objective
  given: Callable[[jax.Array], LatentModel]
  init_state: Any = ()


def conditional(
  make_model: Callable[[EncodeFn, DecodeFn], LatentModel],
  encode_fn: ConditionalEncodeFn,
  decode_fn: ConditionalDecodeFn,
  *,
  condition: str,
) -> ConditionedModel:
  r"""Conditions an objective: q(z|x) becomes q(z|x, y) and p(x|z) becomes p(x|z, y).

  .. math:: \log p(x|y) \ge E_{q(z|x,y)}[\log p(x|z,y)] - KL(q(z|x,y) \,\|\, p(z))

  The prior stays that of `make_model`. A posterior that sees the condition matches the form of the
  true posterior p(z|x, y).

  Args:
    make_model: `(encode_fn, decode_fn) -> LatentModel`, such as `partial(vae, latent_dim=8)`.
    encode_fn: `(params, x, y) -> (mean, log_scale)` of q(z|x, y), each (B, Z).
    decode_fn: `(params, z, y) -> parameters of p(x|z, y)`; z and y have equally many rows.
    condition: name of the batch's array y, shape (B, ...), of any dtype.

  Returns:
    ConditionedModel. Metrics are those of `make_model`.

  Example:
    >>> from functools import partial
    >>> from latentjax.objectives import vae
    >>> encode = lambda w, x, y: (x @ w + y, 0 * x @ w)
    >>> decode = lambda w, z, y: (z + y) @ w.T
    >>> model = conditional(partial(vae, latent_dim=2), encode, decode, condition="y")
    >>> batch = {"image": jnp.ones((4, 3)), "y": jnp.zeros((4, 2))}
    >>> float(model.objective(jnp.zeros((3, 2)), (), jax.random.key(0), batch)[0])  # 3 log 2
    2.079441...

  References:
    Sohn et al., Learning Structured Output Representation using Deep Conditional Generative Models,
      2015.
    Battenberg et al., Effective Use of Variational Embedding Capacity in Expressive End-to-End
      Speech Synthesis, 2019. arXiv:1906.03402
  """

  def given(y: jax.Array) -> LatentModel:
    # Samples of one example are neighbours among the decoder's rows.
    def decode(params: Params, z: jax.Array) -> Any:
      if z.shape[0] % y.shape[0]:
        raise ValueError(
          f"num_samples must be a multiple of the {y.shape[0]} conditions, got {z.shape[0]}"
        )
      return decode_fn(params, z, jnp.repeat(y, z.shape[0] // y.shape[0], axis=0))

    return make_model(lambda params, x: encode_fn(params, x, y), decode)

  def objective(
    params: Params, model_state: Any, key: jax.Array, batch: Batch
  ) -> tuple[jax.Array, tuple[Any, Metrics]]:
    model = given(take_feature(batch, condition))
    return model.objective(params, model_state, key, batch)

  return ConditionedModel(objective, given)
