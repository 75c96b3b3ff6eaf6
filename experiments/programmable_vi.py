"""Every mix of gradient strategies for a Bernoulli and a Gaussian choice, on one variational program.

Claims (Becker et al. 2024; Lew et al. 2023): random choices annotated with any strategies make an unbiased
gradient estimator: the mean gradient of every mix is the analytic one, and training with every mix ends at
the optimum. The importance-weighted bound as a program is that of losses.importance. Enumeration, the
conditional mean of REINFORCE, has no higher variance.
Command: python -m experiments programmable_vi
Expected: at most 3 standard errors off the analytic gradient for the worst of nine mixes and five parameters;
0.02 nats from the evidence after training with the worst mix; 0 between bounds; a log ratio of at least 0.
Time: under a minute on two CPU cores.
"""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import optax
from scipy import stats

from experiments import harness
from experiments.harness import Claim, Outcome, pictures
from latentjax.densities import bernoulli, gaussian
from latentjax.losses.importance import iwae_bound
from latentjax.losses.programmable import expectation, sample

PAPERS = {202: "Probabilistic Programming with Programmable Variational Inference"}
FUNCTIONS = ("losses.programmable.expectation", "losses.programmable.sample")
QUICK = {"steps": 100, "runs": 1000, "seeds": 2}
DISCRETE = ("reinforce", "enumerate", "measure_valued")
MIXES = list(itertools.product(DISCRETE, ("reparam", "reinforce", "measure_valued")))
OBSERVED, PRIOR_LOGIT, LOG_NOISE = 0.4, -0.4, -0.7
# log sum_x p(x) N(observed; 3 x - 1, 1 + noise variance)
COMPONENTS = stats.norm.logpdf(OBSERVED, [-1.0, 2.0], np.sqrt(1 + np.exp(2 * LOG_NOISE)))
LOG_EVIDENCE = np.logaddexp(*(COMPONENTS + [-np.log1p(np.exp(s * PRIOR_LOGIT)) for s in (1, -1)]))
VALUES = {"logit": 0.5, "mean": [0.3, 0.8], "log_scale": [-0.2, 0.1]}
START = {name: np.float32(value) for name, value in VALUES.items()}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(harness.Config):
  """Flags of this experiment."""

  steps: int = 3000
  seeds: int = 4
  learning_rate: float = 0.02
  runs: int = 50_000
  """Runs of the program over which a gradient is averaged."""
  particles: int = 16
  """Runs per optimiser step."""


def log_joint(x: jax.Array, z: jax.Array) -> jax.Array:
  """A mixture of two Gaussians, observed with noise."""
  log_p = bernoulli.log_prob(x, PRIOR_LOGIT, event_ndim=0)
  log_p += gaussian.log_prob(z, 3 * x - 1, 0.0, event_ndim=0)
  return log_p + gaussian.log_prob(OBSERVED, z, LOG_NOISE, event_ndim=0)


def elbo_program(discrete: str, continuous: str) -> Any:
  """The ELBO with a guide that first chooses the component, then the place."""

  def program(params: Any) -> Any:
    x = yield sample(bernoulli, (params["logit"],), strategy=discrete)
    pick = lambda pair: (1 - x) * pair[0] + x * pair[1]
    q_z = pick(params["mean"]), pick(params["log_scale"])
    z = yield sample(gaussian, q_z, strategy=continuous)
    log_q = bernoulli.log_prob(x, params["logit"], event_ndim=0)
    return log_joint(x, z) - log_q - gaussian.log_prob(z, *q_z, event_ndim=0)

  return program


def exact_elbo(params: Any) -> jax.Array:
  """The same bound by sums and Gaussian integrals."""
  x, mean, log_scale = jnp.array([0.0, 1.0]), params["mean"], params["log_scale"]
  variance = jnp.exp(2 * log_scale)
  log_q = bernoulli.log_prob(x, params["logit"], event_ndim=0)
  bounds = log_joint(x, mean) - 0.5 * variance * (1 + jnp.exp(-2 * LOG_NOISE)) - log_q
  return jnp.sum(jnp.exp(log_q) * (bounds + gaussian.entropy(mean, log_scale, event_ndim=0)))


def study(config: Config, mix: tuple[str, str], key: jax.Array) -> dict[str, jax.Array]:
  """Largest error of the mean gradient in standard errors, its variance, and the bound after training."""
  grad = jax.grad(expectation(elbo_program(*mix)), argnums=1)
  flat = lambda tree: jax.flatten_util.ravel_pytree(tree)[0]
  key_draws, key_train = jax.random.split(key)
  draws = jax.vmap(lambda key: flat(grad(key, START)))(jax.random.split(key_draws, config.runs))
  error = jnp.abs(jnp.mean(draws, axis=0) - flat(jax.grad(exact_elbo)(START)))
  standard_error = jnp.std(draws, axis=0) / config.runs**0.5
  optimizer = optax.adam(optax.linear_schedule(config.learning_rate, 0.0, config.steps))

  def step(carry: Any, key: jax.Array) -> tuple[Any, jax.Array]:
    params, state = carry
    grads = jax.vmap(grad, (0, None))(jax.random.split(key, config.particles), params)
    updates, state = optimizer.update(jax.tree.map(lambda g: -jnp.mean(g, axis=0), grads), state)
    params = optax.apply_updates(params, updates)
    return (params, state), LOG_EVIDENCE - exact_elbo(params)

  carry, keys = (START, optimizer.init(START)), jax.random.split(key_train, config.steps)
  _, gaps = jax.lax.scan(step, carry, keys)
  z = jnp.max(error / (standard_error + 1e-5))  # float32 rounding
  return {"z": z, "variance": jnp.sum(jnp.var(draws, axis=0)), "gaps": gaps}


def compare_bounds(key: jax.Array) -> jax.Array:
  """Largest difference between the IWELBO program and `iwae_bound`, in value and gradient."""

  def bound(z: jax.Array, mean: jax.Array, log_scale: jax.Array) -> jax.Array:
    log_q = gaussian.log_prob(z, mean, log_scale, event_ndim=0)
    return iwae_bound((log_joint(jnp.ones(64), z) - log_q)[:, None])[0]

  def program(mean: jax.Array, log_scale: jax.Array) -> Any:
    z = yield sample(gaussian, (mean * jnp.ones(64), log_scale), strategy="reparam")
    return bound(z, mean, log_scale)

  draw = lambda *q: gaussian.sample(jax.random.fold_in(key, 0), q[0] * jnp.ones(64), q[1])
  direct = lambda key, *q: bound(draw(*q), *q)
  grads = lambda fn: jnp.stack(jax.tree.leaves(jax.value_and_grad(fn, (1, 2))(key, 0.3, -0.4)))
  return jnp.max(jnp.abs(grads(expectation(program)) - grads(direct)))


def run(config: Config) -> Outcome:
  """Study all mixes, compare the bounds, draw the training curves."""
  keys, found = jax.random.split(jax.random.key(config.seed), config.seeds), {}
  for mix in MIXES:
    one = jax.jit(jax.vmap(lambda key, mix=mix: study(config, mix, key)))(keys)
    found[" + ".join(mix)] = jax.tree.map(np.asarray, one)
  difference = jax.jit(jax.vmap(compare_bounds))(keys)
  config.folder.mkdir(parents=True, exist_ok=True)
  steps = np.arange(0, config.steps, 20)
  pictures.curves(
    config.folder / "gap.png",
    {name: (steps, f["gaps"].T[steps]) for name, f in found.items()},
    title="Evidence minus bound while training with each mix",
    x_label="step",
    y_label="nats",
  )
  worst = lambda what: np.max([what(f) for f in found.values()], axis=0)
  spread = lambda name: np.log(found[name]["variance"])
  ratio = spread("reinforce + reparam") - spread("enumerate + reparam")
  paper, unit = "Becker et al. 2024", "standard errors"
  z, gap = worst(lambda f: f["z"]), worst(lambda f: f["gaps"][:, -1])
  claims = [
    Claim("error of the mean gradient, worst mix", 3.0, z, paper, "at most", unit=unit),
    Claim("evidence minus bound after training, worst mix", 0.0, gap, paper, tolerance=0.02),
    Claim("IWELBO program minus iwae_bound, value and gradient", 0.0, difference, paper, unit=""),
    Claim("log variance, REINFORCE over enumeration", 0.0, ratio, "Rao-Blackwell", "at least"),
  ]
  mean = lambda f: {what: float(np.mean(f[what])) for what in ("variance", "z")}
  return Outcome(claims, {name: mean(f) for name, f in found.items()})
