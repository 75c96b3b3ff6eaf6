"""VAE with categorical latent variables: Gumbel-softmax (Jang et al., 2017) or score-function gradients."""

import math
from collections.abc import Callable
from types import ModuleType
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_choice, check_positive_int, check_range
from latentjax.densities import bernoulli, categorical, gumbel_softmax
from latentjax.losses.elbo import elbo
from latentjax.losses.score_function import leave_one_out_loss, reinforce_loss
from latentjax.objectives.gaussian_vae import Schedule, at_step
from latentjax.objectives.latent_model import (
  Batch,
  BoundTerms,
  DecodeFn,
  LatentModel,
  Metrics,
  Params,
  as_tuple,
  log_likelihood,
  mean_metrics,
  take_feature,
)

__all__ = ["CategoricalState", "categorical_vae"]

LogitsFn = Callable[[Params, jax.Array], jax.Array]
ESTIMATORS = ("gumbel_softmax", "straight_through", "reinforce", "leave_one_out")


class CategoricalState(NamedTuple):
  """What training carries: the number of finished steps and the running mean of the cost.

  Attributes:
    step: int32, shape ().
    cost: decaying sum of -log p(x|z) in nats, shape ().
  """

  step: jax.Array
  cost: jax.Array


def categorical_vae(
  encode_fn: LogitsFn,
  decode_fn: DecodeFn,
  *,
  num_variables: int,
  num_classes: int,
  estimator: str = "gumbel_softmax",
  temperature: Schedule = 1.0,
  likelihood: ModuleType = bernoulli,
  beta: ArrayLike = 1.0,
  num_samples: int = 1,
  baseline_decay: float = 0.99,
  feature: str = "image",
  axis_name: str | None = None,
) -> LatentModel:
  r"""VAE with N independent categorical latent variables of C classes and a uniform prior.

  .. math:: -\frac1B \sum_b E_{q(z|x_b)}[\log p(x_b|z)] - \beta \sum_n (\log C - H[q(z_n|x_b)])

  The divergence is exact; the gradient of the first term with respect to q is that of the estimator:
  "gumbel_softmax" trains on relaxed samples, the bound of a neighbouring, continuous model;
  "straight_through" decodes one-hot samples with the relaxed ones' gradient, biased;
  "reinforce" is unbiased, with the running mean of the cost as its baseline; "leave_one_out" is
  unbiased, with the other samples' mean as baseline. `bound` and `log_weights` always take exact
  categorical samples.

  Args:
    encode_fn: `(params, x) -> logits` of q(z|x), shape (B, N, C).
    decode_fn: `(params, z) -> parameters of p(x|z)` for z of shape (B, N * C), N one-hot (or relaxed)
      vectors side by side. With K samples it gets K * B rows at once.
    num_variables: N.
    num_classes: C.
    estimator: of the gradient, see above.
    temperature: tau > 0 of the relaxation, a number or a function of the number of finished steps, such
      as `exponential_annealing`.
    likelihood: density family of p(x|z), a module such as `latentjax.densities.bernoulli`.
    beta: weight of the divergence in the loss; metrics and `bound` always have beta = 1.
    num_samples: K, samples of z per example.
    baseline_decay: of the running mean, in [0, 1).
    feature: name of the batch's array to model, shape (B, ...), floating point.
    axis_name: mapped device axis over which the batch is split, inside `pmap` or `shard_map`.

  Returns:
    LatentModel; `encode` returns the logits. `objective` carries a `CategoricalState` and has the
    metrics elbo, log_likelihood and kl in nats, at the samples it trains on, and temperature.

  Raises:
    TypeError: if a size is not an integer.
    ValueError: if a size, a weight or the temperature is out of range, the estimator is unknown, or
      "leave_one_out" has fewer than two samples.

  Example:
    >>> encode = lambda w, x: (x @ w).reshape(-1, 2, 3)
    >>> model = categorical_vae(encode, lambda w, z: z @ w.T, num_variables=2, num_classes=3)
    >>> batch = {"image": jnp.ones((4, 5))}
    >>> loss, _ = model.objective(jnp.zeros((5, 6)), model.init_state, jax.random.key(0), batch)
    >>> float(loss)  # 5 log 2
    3.465735...

  References:
    Jang et al., Categorical Reparameterization with Gumbel-Softmax, 2017.
      arXiv:1611.01144
  """
  check_choice(ESTIMATORS, estimator=estimator)
  check_positive_int(num_variables=num_variables, num_classes=num_classes, num_samples=num_samples)
  check_range(low=0.0, beta=beta)
  if not callable(temperature):
    check_range(0.0, strict=True, temperature=temperature)
  if not 0 <= baseline_decay < 1:
    raise ValueError(f"baseline_decay must be in [0, 1), got {baseline_decay}")
  if estimator == "leave_one_out" and num_samples < 2:
    raise ValueError(f"num_samples must be at least 2 for 'leave_one_out', got {num_samples}")
  shape = (num_variables, num_classes)

  def encode(params: Params, x: jax.Array) -> jax.Array:
    logits = encode_fn(params, x)
    if jnp.shape(logits) != (x.shape[0], *shape):
      raise ValueError(
        f"encode_fn must return shape {(x.shape[0], *shape)}, got {jnp.shape(logits)}"
      )
    return logits

  def log_p(params: Params, x: jax.Array, y: jax.Array) -> jax.Array:
    flat = y.reshape(*y.shape[:2], -1)
    return log_likelihood(decode_fn, likelihood, params, x, flat)

  def draw(
    params: Params, key: jax.Array, x: jax.Array, logits: jax.Array, num: int, name: str | None
  ) -> tuple[jax.Array, jax.Array]:
    """log p(x|z) and log q(z|x) at exact samples, each (K, B)."""
    z = categorical.sample(key, logits, num_samples=num, axis_name=name)
    one_hot = jax.nn.one_hot(z, num_classes, dtype=logits.dtype)
    return log_p(params, x, one_hot), categorical.log_prob(z, logits)

  def estimate(
    params: Params, key: jax.Array, x: jax.Array, logits: jax.Array, tau: jax.Array, b: jax.Array
  ) -> tuple[jax.Array, jax.Array]:
    """The cost with the estimator's gradient, and log p(x|z), each (K, B)."""
    if estimator in ("gumbel_softmax", "straight_through"):
      hard = estimator == "straight_through"
      y = gumbel_softmax.sample(
        key, logits, temperature=tau, hard=hard, num_samples=num_samples, axis_name=axis_name
      )
      log_p_x = log_p(params, x, y)
      return -log_p_x, log_p_x
    log_p_x, log_q = draw(params, key, x, logits, num_samples, axis_name)
    if estimator == "leave_one_out":
      return leave_one_out_loss(-log_p_x, log_q), log_p_x
    return reinforce_loss(-log_p_x, log_q, baseline=b), log_p_x

  def objective(
    params: Params, model_state: CategoricalState, key: jax.Array, batch: Batch
  ) -> tuple[jax.Array, tuple[CategoricalState, Metrics]]:
    x = take_feature(batch, feature)
    tau = jnp.float32(at_step(temperature, model_state.step)[0])
    logits = encode(params, x)
    baseline = running_mean(model_state, baseline_decay)
    cost, log_p_x = estimate(params, key, x, logits, tau, baseline)
    kl = categorical.kl_uniform(logits)
    metrics = mean_metrics(bound_terms(jnp.mean(log_p_x, axis=0), kl)) | {"temperature": tau}
    state = update_state(model_state, -log_p_x, baseline_decay, axis_name)
    return jnp.mean(-elbo(-jnp.mean(cost, axis=0), kl, beta=beta)), (state, metrics)

  def bound(params: Params, key: jax.Array, x: jax.Array) -> BoundTerms:
    logits = encode(params, x)
    log_p_x, _ = draw(params, key, x, logits, num_samples, None)
    return bound_terms(jnp.mean(log_p_x, axis=0), categorical.kl_uniform(logits))

  def decode(params: Params, z: jax.Array) -> jax.Array:
    return likelihood.mean(*as_tuple(decode_fn(params, z)))

  def sample(params: Params, key: jax.Array, num_samples: int) -> jax.Array:
    check_positive_int(num_samples=num_samples)
    z = categorical.sample(key, jnp.zeros((num_samples, *shape)))
    return decode(params, jax.nn.one_hot(z, num_classes).reshape(num_samples, -1))

  def log_weights(params: Params, key: jax.Array, x: jax.Array, *, num_samples: int) -> jax.Array:
    log_p_x, log_q = draw(params, key, x, encode(params, x), num_samples, None)
    return log_p_x - num_variables * math.log(num_classes) - log_q

  state = CategoricalState(jnp.zeros((), jnp.int32), jnp.zeros(()))
  return LatentModel(objective, bound, encode, decode, sample, log_weights, state)


def running_mean(state: CategoricalState, decay: float) -> jax.Array:
  """Mean cost of the steps so far, the latest weighing most; 0 before the first."""
  return state.cost / jnp.maximum(1 - decay ** state.step.astype(jnp.float32), 1 - decay)


def update_state(
  state: CategoricalState, cost: jax.Array, decay: float, axis_name: str | None
) -> CategoricalState:
  """The state after one more step, the same on every device."""
  mean = jax.lax.stop_gradient(jnp.mean(cost).astype(jnp.float32))
  if axis_name is not None:
    mean = jax.lax.pmean(mean, axis_name)
  return CategoricalState(state.step + 1, decay * state.cost + (1 - decay) * mean)


def bound_terms(log_p_x: jax.Array, kl: jax.Array) -> BoundTerms:
  """The bound of every example and its parts."""
  return BoundTerms(elbo(log_p_x, kl), log_p_x, kl)
