r"""Objectives as programs: every random choice names how the gradient gets through it.

A program is a generator that yields `sample` sites and returns a number:

.. code-block:: python

  def elbo(mean, log_scale):
    z = yield sample(gaussian, (mean, log_scale), strategy="reparam")
    return log_joint(z) - gaussian.log_prob(z, mean, log_scale)

  grad = jax.grad(expectation(elbo), argnums=(1, 2))(key, mean, log_scale)

What follows a site is its continuation k. A strategy turns k into a number whose expectation is
E[k(x)] and whose gradient has the expectation of the gradient of E[k(x)], provided that k does so for
fixed x; hence any mix of strategies does, in any order, also where one choice decides the parameters
of the next. Programs call others with `yield from`. They are run anew from the start for every site and
continuation, while tracing only, so they must be pure.
"""

import itertools
import math
from collections.abc import Callable, Generator
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_choice
from latentjax.densities import (
  bernoulli,
  categorical,
  discretized_logistic,
  discretized_logistic_mixture,
  gaussian,
  mixture,
  negative_binomial,
  poisson,
  zero_inflated_negative_binomial,
)

__all__ = ["Site", "expectation", "sample"]

Program = Callable[..., Generator["Site", Any, Any]]
Continuation = Callable[[jax.Array], jax.Array]

_MAX_OUTCOMES = 4096
# Families whose samples do not carry the gradient of their law, or not all of it.
_NOT_REPARAMETERISED = (
  bernoulli,
  categorical,
  discretized_logistic,
  discretized_logistic_mixture,
  mixture,
  negative_binomial,
  poisson,
  zero_inflated_negative_binomial,
)


class Site(NamedTuple):
  """A random choice of a program, made by `sample`.

  Attributes:
    family: density family.
    params: its parameters.
    strategy: name of the gradient strategy.
    baseline: what REINFORCE subtracts.
  """

  family: ModuleType
  params: tuple[jax.Array, ...]
  strategy: str
  baseline: jax.Array


def expectation(program: Program) -> Callable[..., jax.Array]:
  r"""Estimator of a program's expected return value whose gradient is unbiased, too.

  .. math:: E[\hat f(\theta)] = E_{x \sim p_\theta}[f(\theta, x)], \qquad
     E[\nabla_\theta \hat f(\theta)] = \nabla_\theta E_{x \sim p_\theta}[f(\theta, x)]

  The estimate is of one run; average over keys with `vmap`, batch over data likewise. The estimate can
  be differentiated once: second derivatives are not unbiased.

  Args:
    program: generator function that yields `sample` sites, gets their values, and returns a scalar.

  Returns:
    `estimator(key, *args)`, a float32 or wider scalar for `program(*args)`. Site i uses
    `fold_in(key, i)`. Gradient flows to args as the sites' strategies say, and through whatever else
    the program computes.

  Raises:
    TypeError: by the estimator, if the program yields something else than a site.
    ValueError: by the estimator, if the program does not return a scalar.

  Example:
    >>> def program(logit):
    ...   x = yield sample(bernoulli, (logit,), strategy="enumerate")
    ...   return 3.0 * x
    >>> value, grad = jax.value_and_grad(expectation(program), argnums=1)(jax.random.key(0), 0.0)
    >>> float(value), float(grad)
    (1.5, 0.75)

  References:
    Lew, Huot, Staton & Mansinghka, ADEV: Sound Automatic Differentiation of Expected Values of
      Probabilistic Programs, 2023. arXiv:2212.06386
    Becker et al., Probabilistic Programming with Programmable Variational Inference, 2024.
      arXiv:2406.15742
  """

  def run(key: jax.Array, args: tuple[Any, ...], values: tuple[Any, ...]) -> jax.Array:
    running, answer = program(*args), None
    try:
      for answer in (None, *values):
        site = running.send(answer)
    except StopIteration as stop:
      value = jnp.asarray(stop.value)
      if value.shape:
        raise ValueError(f"program must return a scalar, got shape {value.shape}") from None
      return value.astype(jnp.promote_types(value.dtype, jnp.float32))
    if not isinstance(site, Site):
      raise TypeError(f"program must yield sites made by sample, got {type(site).__name__}")
    return _STRATEGIES[site.strategy](
      jax.random.fold_in(key, len(values)), site, lambda x: run(key, args, (*values, x))
    )

  return lambda key, *args: run(key, args, ())


def sample(family: ModuleType, params: Any, *, strategy: str, baseline: ArrayLike = 0.0) -> Site:
  r"""A random choice, and how the gradient with respect to its parameters is estimated.

  .. math::

    \text{reparam: } \nabla k(T_\theta(\epsilon)), \quad
    \text{reinforce: } (k(x) - b) \nabla \log p_\theta(x) + \nabla k(x), \quad
    \text{enumerate: } \nabla \sum_x p_\theta(x) k(x)

  and "measure_valued", the difference of k under two distributions per parameter: for a Bernoulli
  variable with probability p, k(1) - k(0); for a Gaussian with W from the Weibull distribution of
  shape 2 and scale sqrt(2), M from the double-sided Maxwell, and epsilon standard normal,

  .. math::

    \nabla_m = \frac{k(m + s W) - k(m - s W)}{s \sqrt{2\pi}}, \qquad
    \nabla_{\log s} = k(m + s M) - k(m + s \epsilon)

  with common W, epsilon = U M for uniform U, and the other elements as sampled. All elements of a site
  are independent. Runs of the continuation, for D elements: 1 for the first two; all outcomes for
  enumerate; D + 1 (Bernoulli) and 3 D + 1 (Gaussian) for measure_valued. They share their noise.

  Args:
    family: density family, such as `latentjax.densities.gaussian`. "reparam" needs one whose samples
      are differentiable, and k differentiable in x; "reinforce" any with a log_prob; "enumerate"
      bernoulli or categorical; "measure_valued" gaussian or bernoulli.
    params: tuple of the family's parameters.
    strategy: "reparam", "reinforce", "enumerate" or "measure_valued".
    baseline: b, a scalar that does not depend on x; detached.

  Returns:
    A site, for the program to yield.

  Raises:
    ValueError: if the strategy is unknown or the family does not have it, or there are more than 4096
      outcomes to enumerate.

  Example:
    >>> site = sample(gaussian, (jnp.zeros(2), jnp.zeros(2)), strategy="measure_valued")
    >>> site.strategy
    'measure_valued'

  References:
    Williams, Simple statistical gradient-following algorithms, 1992 (REINFORCE).
    Mohamed, Rosca, Figurnov & Mnih, Monte Carlo Gradient Estimation in Machine Learning, 2020
      (measure-valued derivatives). arXiv:1906.10652
  """
  check_choice(tuple(_STRATEGIES), strategy=strategy)
  if strategy == "reparam" and family in _NOT_REPARAMETERISED:
    raise ValueError(
      f"family must have differentiable samples for strategy 'reparam', got {family.__name__}"
    )
  choices = {"enumerate": (bernoulli, categorical), "measure_valued": (gaussian, bernoulli)}
  if strategy in choices and family not in choices[strategy]:
    wanted = " or ".join(each.__name__.rpartition(".")[2] for each in choices[strategy])
    raise ValueError(f"family must be {wanted} for strategy {strategy!r}, got {family.__name__}")
  if strategy == "enumerate":
    logits = jnp.asarray(params[0])
    per_element, count = (2, logits.size) if family is bernoulli else _classes(logits)
    if per_element**count > _MAX_OUTCOMES:
      raise ValueError(
        f"strategy 'enumerate' must have at most {_MAX_OUTCOMES} outcomes, got {per_element}**{count}"
      )
  baseline = jax.lax.stop_gradient(jnp.asarray(baseline))
  return Site(family, tuple(map(jnp.asarray, params)), strategy, baseline)


def _classes(logits: jax.Array) -> tuple[int, int]:
  return logits.shape[-1], math.prod(logits.shape[:-1])


def _attach(coefficient: jax.Array, param: jax.Array) -> jax.Array:
  """Zero, whose gradient with respect to the parameter is the (detached) coefficient."""
  stop = jax.lax.stop_gradient
  return jnp.sum(stop(coefficient) * (param - stop(param)))


def _log_prob(site: Site, x: jax.Array) -> jax.Array:
  return site.family.log_prob(x, *site.params, event_ndim=x.ndim)


def _reparam(key: jax.Array, site: Site, continuation: Continuation) -> jax.Array:
  return continuation(site.family.sample(key, *site.params))


def _reinforce(key: jax.Array, site: Site, continuation: Continuation) -> jax.Array:
  x = jax.lax.stop_gradient(site.family.sample(key, *site.params))
  value = continuation(x)
  return value + _attach(value - site.baseline, _log_prob(site, x))


def _enumerate(key: jax.Array, site: Site, continuation: Continuation) -> jax.Array:
  (logits,) = site.params
  if site.family is bernoulli:
    shape, outcomes = logits.shape, jnp.array([0, 1], logits.dtype)
  else:
    shape, outcomes = logits.shape[:-1], jnp.arange(logits.shape[-1])
  every = list(itertools.product(range(outcomes.size), repeat=math.prod(shape)))
  xs = outcomes[jnp.array(every, jnp.int32).reshape(-1, *shape)]
  probs = jnp.exp(jax.vmap(lambda x: _log_prob(site, x))(xs))
  return jnp.sum(probs * jax.vmap(continuation)(xs))


def _measure_valued(key: jax.Array, site: Site, continuation: Continuation) -> jax.Array:
  if site.family is bernoulli:
    return _measure_valued_bernoulli(key, site, continuation)
  mean, log_scale = jnp.broadcast_arrays(*site.params)
  stopped, scale = jax.lax.stop_gradient(mean), jax.lax.stop_gradient(jnp.exp(log_scale))
  key_weibull, key_maxwell, key_sign, key_uniform = jax.random.split(key, 4)
  shape, dtype = mean.shape, mean.dtype
  weibull = jnp.sqrt(2 * jax.random.exponential(key_weibull, shape, dtype))
  maxwell = jnp.linalg.norm(jax.random.normal(key_maxwell, (3, *shape), dtype), axis=0)
  maxwell = maxwell * jax.random.rademacher(key_sign, shape, dtype)
  x = stopped + scale * maxwell * jax.random.uniform(key_uniform, shape, dtype)
  value = continuation(x)
  ends = [stopped + scale * noise for noise in (weibull, -weibull, maxwell)]
  plus, minus, wide = (_replaced(continuation, x, end) for end in ends)
  slope = (plus - minus) / (scale * math.sqrt(2 * math.pi))
  return value + _attach(slope, mean) + _attach(wide - value, log_scale)


def _measure_valued_bernoulli(key: jax.Array, site: Site, continuation: Continuation) -> jax.Array:
  (logits,) = site.params
  x = jax.lax.stop_gradient(bernoulli.sample(key, logits))
  value = continuation(x)
  flipped = _replaced(continuation, x, 1 - x)
  return value + _attach((1 - 2 * x) * (flipped - value), jax.nn.sigmoid(logits))


def _replaced(continuation: Continuation, x: jax.Array, end: jax.Array) -> jax.Array:
  """The continuation with one element of x at a time replaced, in the shape of x; detached."""
  one = jnp.eye(x.size, dtype=bool).reshape(x.size, *x.shape)
  values = jax.vmap(lambda chosen: continuation(jnp.where(chosen, end, x)))(one)
  return jax.lax.stop_gradient(values.reshape(x.shape))


_STRATEGIES: dict[str, Callable[[jax.Array, Site, Continuation], jax.Array]] = {
  "reparam": _reparam,
  "reinforce": _reinforce,
  "enumerate": _enumerate,
  "measure_valued": _measure_valued,
}
