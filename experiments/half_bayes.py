"""Empirical risk, variational information bottleneck and full Bayes on noisy labels.

Claim (Alemi et al. 2020): VIB is a compromise between empirical risk minimisation (ERM) and Bayesian
inference. It minimises the risk due to the finite sample of labels of each input, not that due to the
finite sample of inputs; so with few labels per input it lies between them, with many it has nothing left to
gain over ERM, and with many inputs Bayesian inference has little left to gain over it.
Command: python -m experiments half_bayes
Expected: with 30 inputs of one label each, negative log-likelihood (NLL) and calibration error (ECE) of new
inputs fall from ERM to VIB and from VIB to Bayes. With 64 labels for each of the 30 inputs the difference of
NLL between ERM and VIB is at most a quarter of what it was, and with one label for each of 1,000 inputs that
between VIB and Bayes.
Set-up: three classes, probabilities softmax of functions drawn from the prior: 100 random Fourier features
with normal weights. All methods use these features. Bayes has a mean-field posterior of the weights; VIB's
code is the logits of an input, with mean and log scale linear in the features and their distribution under
the prior as r(z). beta = 0.1 / (labels per input); with 1 instead of 0.1 ("local Bayes", in the details) it
is Bayes' theorem for one input at a time, which keeps its doubt about every input however many there are.
Time: a minute and a half on two CPU cores, six seeds.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments import harness
from experiments.harness import Claim, Outcome, pictures
from latentjax.densities import gaussian
from latentjax.losses.information import bayes_loss, vib_loss
from latentjax.metrics import expected_calibration_error

PAPERS = {171: "VIB is Half Bayes"}
FUNCTIONS = (
  "losses.information.vib_loss",
  "losses.information.bayes_loss",
  "metrics.expected_calibration_error",
)
QUICK = {"steps": 50, "seeds": 2}
PAPER = "Alemi et al. 2020; the numbers are set here"
REGIMES = {"few": (30, 1), "many labels": (30, 64), "many inputs": (1000, 1)}
METHODS = ("ERM", "VIB", "local Bayes", "Bayes")
BETA = {"VIB": 0.1, "local Bayes": 1.0}
CLASSES, FEATURES, SCALE, TEST, SAMPLES = 3, 100, 3.0, 2000, 64


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(harness.Config):
  """Flags of this experiment."""

  steps: int = 1500
  seeds: int = 6
  learning_rate: float = 0.02
  schedule: str = "cosine"
  num_samples: int = 4
  """Samples of the code or the weights per step."""


def make_data(key: jax.Array, inputs: int, labels: int) -> dict[str, jax.Array]:
  """Features and label frequencies of the training inputs; features and probabilities of new ones."""
  keys = jax.random.split(key, 5)
  frequencies = 1.5 * jax.random.normal(keys[0], (2, FEATURES))
  phases = jax.random.uniform(keys[1], (FEATURES,), maxval=2 * jnp.pi)
  x = jax.random.normal(keys[2], (inputs + TEST, 2))
  features = jnp.sqrt(2 / FEATURES) * jnp.cos(x @ frequencies + phases)
  logits = SCALE * features @ jax.random.normal(keys[3], (FEATURES, CLASSES))
  y = jax.random.categorical(keys[4], logits[:inputs], shape=(labels, inputs))
  return {
    "features": features[:inputs],
    "frequencies": jnp.mean(jax.nn.one_hot(y, CLASSES), axis=0),
    "new_features": features[inputs:],
    "new_probs": jax.nn.softmax(logits[inputs:]),
  }


def nll_of(logits: jax.Array, frequencies: jax.Array) -> jax.Array:
  """Mean over an input's labels, (..., B)."""
  return -jnp.sum(frequencies * jax.nn.log_softmax(logits), axis=-1)


def logits_of(method: str, params: Any, key: jax.Array, features: jax.Array, num: int) -> jax.Array:
  """Samples of the logits, (num, B, CLASSES); all alike for ERM."""
  weights, widths, bias = params
  repeat = lambda array: jnp.broadcast_to(array, (num, *array.shape))
  if method == "Bayes":
    return SCALE * features @ gaussian.sample(key, repeat(weights), repeat(widths))
  mean = features @ weights
  if method in BETA:
    return SCALE * gaussian.sample(key, repeat(mean), repeat(features @ widths + bias))
  return SCALE * repeat(mean)


def loss(method: str, labels: int, num: int, params: Any, key: jax.Array, data: Any) -> jax.Array:
  """Training loss; codes and weights have a standard normal prior, in units of SCALE."""
  weights, widths, bias = params
  features, frequencies = data["features"], data["frequencies"]
  nll = jnp.mean(nll_of(logits_of(method, params, key, features, num), frequencies), axis=0)
  if method in BETA:
    kl = gaussian.kl_standard(features @ weights, features @ widths + bias)
    nll = vib_loss(nll, kl, beta=BETA[method] / labels)
  elif method == "Bayes":
    kl = gaussian.kl_standard(weights, widths, event_ndim=2)
    nll = bayes_loss(nll, kl, num_examples=labels * len(features))
  return jnp.mean(nll)


def fit(config: Config, method: str, regime: str, key: jax.Array) -> dict[str, jax.Array]:
  """Draw data, train on all of it at every step, measure on new inputs."""
  inputs, labels = REGIMES[regime]
  key_data, key_steps, key_test = jax.random.split(key, 3)
  data = make_data(key_data, inputs, labels)
  optimizer = config.optimizer()
  shape = (FEATURES, CLASSES)
  params = (
    jnp.zeros(shape),
    jnp.full(shape, -1.0 if method == "Bayes" else 0.0),
    jnp.zeros(CLASSES),
  )

  def step(carry: Any, key: jax.Array) -> tuple[Any, None]:
    params, state = carry
    grads = jax.grad(partial(loss, method, labels, config.num_samples))(params, key, data)
    updates, state = optimizer.update(grads, state, params)
    return (optax.apply_updates(params, updates), state), None

  carry = (params, optimizer.init(params))
  (params, _), _ = jax.lax.scan(step, carry, jax.random.split(key_steps, config.steps))
  samples = logits_of(method, params, key_test, data["new_features"], SAMPLES)
  log_probs = jax.nn.logsumexp(jax.nn.log_softmax(samples), axis=0) - np.log(SAMPLES)
  y = jax.random.categorical(key_test, jnp.log(data["new_probs"]))
  return {
    "nll": -jnp.mean(jnp.sum(data["new_probs"] * log_probs, axis=1)),
    "ece": expected_calibration_error(jnp.exp(log_probs), y),
    "accuracy": jnp.mean(jnp.argmax(log_probs, axis=1) == y),
    "entropy": -jnp.mean(jnp.sum(data["new_probs"] * jnp.log(data["new_probs"]), axis=1)),
  }


def run(config: Config) -> Outcome:
  """Every method in every regime."""
  keys = jax.random.split(jax.random.key(config.seed), config.seeds)
  found = {
    regime: {
      method: jax.tree.map(
        np.asarray, jax.jit(jax.vmap(partial(fit, config, method, regime)))(keys)
      )
      for method in METHODS
    }
    for regime in REGIMES
  }
  gap = lambda regime, worse, better, what="nll": (
    found[regime][worse][what] - found[regime][better][what]
  )
  claims = [
    Claim(
      f"few labels: {text} of {worse} minus {better}",
      0.0,
      gap("few", worse, better, what),
      PAPER,
      "at least",
      unit=unit,
    )
    for what, text, unit in (("nll", "NLL", "nats"), ("ece", "ECE", ""))
    for worse, better in (("ERM", "VIB"), ("VIB", "Bayes"))
  ]
  for regime, worse, better in (("many labels", "ERM", "VIB"), ("many inputs", "VIB", "Bayes")):
    share = np.mean(gap(regime, worse, better)) / np.mean(gap("few", worse, better))
    what = f"{regime}: gap of NLL, {worse} minus {better}, over that with few labels"
    claims.append(Claim(what, 0.25, [share], PAPER, "at most", unit=""))
  config.folder.mkdir(parents=True, exist_ok=True)
  pictures.curves(
    config.folder / "nll.png",
    {
      m: (np.arange(3), np.array([found[r][m]["nll"] - found[r][m]["entropy"] for r in REGIMES]))
      for m in METHODS
    },
    title="Excess NLL of new inputs",
    x_label="0: 30 inputs x 1 label, 1: 30 x 64, 2: 1,000 x 1",
    y_label="nats",
  )
  return Outcome(claims, jax.tree.map(lambda v: v.tolist(), found))
