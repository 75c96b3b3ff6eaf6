"""Discrete processes: tokens that are masked, replaced by random ones, or both."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_positive_int, check_range
from latentjax.diffusion.processes.schedules import as_time

__all__ = ["DiscreteProcess", "absorbing", "bernoulli", "mask_and_replace", "uniform"]

TimeFn = Callable[[ArrayLike], jax.Array]


class DiscreteProcess(NamedTuple):
  """Two clocks that strike every token by itself: [MASK], which is final, and a uniform redraw.

  Both are functions of t in [0, 1], of any shape, that rise from 0; the number of states is K, and one
  more for [MASK], the integer K, if there is one.

  Attributes:
    num_tokens: K, tokens 0 to K - 1.
    has_mask: whether tokens can be masked.
    masked: probability that a token of the data is masked at time t.
    replaced: probability that it has been drawn anew, uniformly from all K, given that it is not masked.
  """

  num_tokens: int
  has_mask: bool
  masked: TimeFn
  replaced: TimeFn

  @property
  def num_states(self) -> int:
    """K, or K + 1 with [MASK]."""
    return self.num_tokens + self.has_mask


def absorbing(*, num_tokens: int, schedule: TimeFn = as_time) -> DiscreteProcess:
  r"""Tokens are masked, one after the other (masked diffusion, D3PM's absorbing state).

  .. math:: q(x_t | x_0) = (1 - c_t) \, \delta_{x_0} + c_t \, \delta_{\mathrm{MASK}}

  Args:
    num_tokens: K.
    schedule: c, rises from 0 at t = 0 to 1; t itself by default, `lambda t: mask_ratio(1 - t)` for
      MaskGIT's cosine.

  Returns:
    The process.

  Raises:
    TypeError: if num_tokens is not an integer.
    ValueError: if it is not positive.

  Example:
    >>> process = absorbing(num_tokens=5)
    >>> process.num_states, float(process.masked(0.25)), float(process.replaced(0.25))
    (6, 0.25, 0.0)

  References:
    Austin et al., Structured Denoising Diffusion Models in Discrete State-Spaces, 2021.
      arXiv:2107.03006
    Sahoo et al., Simple and Effective Masked Diffusion Language Models, 2024. arXiv:2406.07524
    Shi et al., Simplified and Generalized Masked Diffusion for Discrete Data, 2024. arXiv:2406.04329
  """
  check_positive_int(num_tokens=num_tokens)
  return DiscreteProcess(num_tokens, True, schedule, never)


def uniform(*, num_tokens: int, schedule: TimeFn = as_time) -> DiscreteProcess:
  r"""Tokens are replaced by random ones (multinomial diffusion).

  .. math:: q(x_t | x_0) = (1 - c_t) \, \delta_{x_0} + c_t / K

  Args:
    num_tokens: K.
    schedule: c, rises from 0 at t = 0 to 1; t itself by default.

  Returns:
    The process.

  Raises:
    TypeError: if num_tokens is not an integer.
    ValueError: if it is not positive.

  Example:
    >>> process = uniform(num_tokens=5)
    >>> process.num_states, float(process.masked(0.25)), float(process.replaced(0.25))
    (5, 0.0, 0.25)

  References:
    Hoogeboom et al., Argmax Flows and Multinomial Diffusion, 2021. arXiv:2102.05379
  """
  check_positive_int(num_tokens=num_tokens)
  return DiscreteProcess(num_tokens, False, never, schedule)


def bernoulli(*, schedule: TimeFn = as_time) -> DiscreteProcess:
  r"""Bits that turn into fair coins (binary latent diffusion); `uniform` with two tokens.

  .. math:: q(x_t = 1 | x_0) = k_t x_0 + (1 - k_t) / 2, \qquad k_t = 1 - c_t

  With the default k falls linearly: at step i of T, 1 - i / T.

  Args:
    schedule: c, rises from 0 at t = 0 to 1; t itself by default.

  Returns:
    The process, of tokens 0 and 1.

  Raises:
    Nothing.

  Example:
    >>> process = bernoulli()
    >>> process.num_tokens, float(process.replaced(0.5))
    (2, 0.5)

  References:
    Wang et al., Binary Latent Diffusion, 2023. arXiv:2304.04820
    Sohl-Dickstein et al., Deep Unsupervised Learning using Nonequilibrium Thermodynamics, 2015.
      arXiv:1503.03585
  """
  return uniform(num_tokens=2, schedule=schedule)


def mask_and_replace(
  *, num_tokens: int, mask_share: float = 0.9, schedule: TimeFn = as_time
) -> DiscreteProcess:
  r"""Some tokens are masked, others replaced by random ones (VQ-Diffusion).

  .. math::

    q(x_t | x_0) = (1 - c_t) \, \delta_{x_0} + \rho \, c_t \, \delta_{\mathrm{MASK}}
    + (1 - \rho) \, c_t / K

  over the K tokens. So a network cannot trust what it sees, and can mend what it has sampled.

  Args:
    num_tokens: K.
    mask_share: rho in [0, 1], of the masked tokens among those that are not kept; at 1 it is `absorbing`.
    schedule: c, rises from 0 at t = 0 to 1; t itself by default.

  Returns:
    The process.

  Raises:
    TypeError: if num_tokens is not an integer.
    ValueError: if it is not positive, or mask_share is not in [0, 1].

  Example:
    >>> process = mask_and_replace(num_tokens=5, mask_share=0.75)
    >>> round(float(process.masked(0.8)), 4), round(float(process.replaced(0.8)), 4)  # 0.2 of 0.4
    (0.6, 0.5)

  References:
    Gu et al., Vector Quantized Diffusion Model for Text-to-Image Synthesis, 2022. arXiv:2111.14822
  """
  check_positive_int(num_tokens=num_tokens)
  check_range(0.0, 1.0, mask_share=mask_share)
  if mask_share == 1:
    return absorbing(num_tokens=num_tokens, schedule=schedule)

  def replaced(t: ArrayLike) -> jax.Array:
    c, rest = schedule(t), 1 - mask_share
    return rest * c / (rest + mask_share * (1 - c))  # exactly 1 at c = 1

  return DiscreteProcess(num_tokens, True, lambda t: mask_share * schedule(t), replaced)


def never(t: ArrayLike) -> jax.Array:
  """The clock that does not strike: nothing has to be drawn for it."""
  return jnp.zeros_like(as_time(t))
