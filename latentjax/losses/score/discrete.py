"""The variational bound of discrete diffusion, at random times."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_positive_int
from latentjax.diffusion.discrete import DiscreteProcess, corrupt, prior_kl, rate_loss, step_kl
from latentjax.diffusion.discrete.transitions import check_logits, check_tokens, is_token
from latentjax.losses.score.times import TimeSampler, antithetic_times

__all__ = ["DiscreteLoss", "discrete_loss"]

LogitsFn = Callable[[jax.Array, jax.Array], jax.Array]


class DiscreteLoss(NamedTuple):
  """The parts of the loss in nats, each of shape (B,).

  Attributes:
    bound: an unbiased estimate of an upper bound of -log p(x).
    cross_entropy: -log p(x_0 | x_t), summed over the places, at the same x_t.
  """

  bound: jax.Array
  cross_entropy: jax.Array


def discrete_loss(
  key: jax.Array,
  predict_fn: LogitsFn,
  x: ArrayLike,
  *,
  process: DiscreteProcess,
  num_steps: int | None = None,
  time_sampler: TimeSampler = antithetic_times,
  axis_name: str | None = None,
) -> DiscreteLoss:
  r"""The variational bound at one random time for every example, and the auxiliary cross entropy.

  .. math::

    T \, \mathrm{KL}\big(q(x_s | x_t, x_0) \,\|\, p(x_s | x_t)\big) + \mathrm{KL}(q(x_1 | x_0) \,\|\,
    p(x_1)), \qquad t = \tfrac iT, \; s = \tfrac{i - 1}T, \; i \sim U\{1, \dots, T\}

  see `step_kl`, or its limit of many steps, see `rate_loss`. The last term is 0 if at t = 1 nothing is
  left of the data. D3PM and VQ-Diffusion minimise the bound plus a small multiple of the cross
  entropy; binary latent diffusion the cross entropy, plus a multiple of the bound. Times must be uniform,
  each by itself, for the bound to be one.

  Args:
    key: random key, the same on every device.
    predict_fn: `(x_t, t) -> logits` of p(x_0 | x_t), for int32 x_t (B, ...) and t (B,), shape
      (B, ..., K).
    x: tokens of the data, integers in [0, K), shape (B, ...).
    process: the discrete process.
    num_steps: T, of the chain; None: continuous time.
    time_sampler: `(key, *, batch_size, axis_name) -> t`, uniform.
    axis_name: mapped device axis over which the examples are split, inside `pmap` or `shard_map`; times
      and noise do not depend on how.

  Returns:
    DiscreteLoss, summed over places, float32 or wider. Gradient flows to what predict_fn holds.

  Raises:
    TypeError: if x or num_steps is not integer, or the logits are not floating point.
    ValueError: if a shape does not fit or num_steps is not positive.

  Example:
    >>> from latentjax.diffusion.discrete import absorbing
    >>> know_nothing = lambda x_t, t: jnp.zeros((*x_t.shape, 4))
    >>> x, process = jnp.zeros((512, 3), jnp.int32), absorbing(num_tokens=4)
    >>> loss = discrete_loss(jax.random.key(0), know_nothing, x, process=process, num_steps=5)
    >>> bool(abs(loss.bound.mean() - 3 * jnp.log(4.0)) < 0.2)
    True

  References:
    Austin et al., Structured Denoising Diffusion Models in Discrete State-Spaces, 2021.
      arXiv:2107.03006
    Gu et al., Vector Quantized Diffusion Model for Text-to-Image Synthesis, 2022. arXiv:2111.14822
    Wang et al., Binary Latent Diffusion, 2023. arXiv:2304.04820
  """
  x = check_tokens("x", x)
  key_time, key_noise = jax.random.split(key)
  t = time_sampler(key_time, batch_size=x.shape[0], axis_name=axis_name)
  if num_steps is not None:
    check_positive_int(num_steps=num_steps)
    step = jnp.clip(jnp.floor(t * num_steps), 0, num_steps - 1)
    s, t = step / num_steps, (step + 1) / num_steps
  x_t = corrupt(key_noise, x, t, process=process, axis_name=axis_name)
  logits = predict_fn(x_t, t)
  logits, x = check_logits(logits, x, process, "x")
  if num_steps is None:
    bound = rate_loss(logits, x, x_t, t, process=process)
  else:
    bound = num_steps * step_kl(logits, x, x_t, s, t, process=process)
  bound += prior_kl(x, process=process)
  log_p = jax.nn.log_softmax(logits, axis=-1)
  nats = jnp.where(is_token(x, process), -log_p, 0)
  return DiscreteLoss(bound, jnp.sum(nats, axis=tuple(range(1, nats.ndim))))
