"""Cauchy-Schwarz information bottleneck: its estimates against closed forms, and regression with it.

Claim (Yu et al. 2024): the divergences are estimated consistently from samples; a network trained with them
(CS-IB) predicts with lower error, and withstands adversarial inputs (FGSM) better, than the squared error and
the variational bottleneck (VIB), compared without compression and at half of the information.
Command: python -m experiments cs_bottleneck
Expected: error over 64 trials falling as n^-1/2 or faster (slope of the logarithms at most -0.4: sampling
error is n^-1/2, bias 1 / n), below 10 % at n = 1,000; differences of test RMSE, and of RMSE under FGSM, at
least 0.
Set-up: Friedman's first function, five of ten features irrelevant, noise of variance 1, standardised; 4,000
points, since the paper's data sets have thousands. The prediction term has kernels of width 1 and the
compression is normalised, I(x; t) / sqrt(I(x; x) I(t; t)), as in the authors' program. Deviation: it has
kernels as wide as the data, since with width 1 it saturates; on test data it measures the information of all
methods. "Half" is half of that of the network trained by the squared error; errors there are read off the
curves over beta. Among few points (--num_points=400) networks overfit, and the noise of VIB's code keeps them
from it: there VIB's error is the lower one.
Time: a minute on two CPU cores, four seeds.
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
from latentjax.losses.information import (
  cs_conditional_divergence,
  cs_divergence,
  cs_information,
  vib_loss,
)

PAPERS = {232: "Cauchy-Schwarz Divergence Information Bottleneck for Regression"}
FUNCTIONS = (
  "losses.information.cs_conditional_divergence",
  "losses.information.cs_divergence",
  "losses.information.cs_information",
  "losses.information.vib_loss",
)
QUICK = {"steps": 50, "seeds": 2, "trials": 4}
PAPER = "Yu et al. 2024, table and figure of test RMSE"
SIZES = (125, 350, 1000)
BETAS = {
  "MSE": (0.0,),
  "VIB": (0.0, 0.003, 0.01, 0.03),
  "CS-IB": (0.0, 0.03, 0.1, 0.3),
}
TEST_SHARE, CODE, HIDDEN = 0.25, 16, 64
Params = Any


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(harness.Config):
  """Flags of this experiment."""

  steps: int = 1500
  batch_size: int = 128
  seeds: int = 4
  trials: int = 64
  """Samples of each size for the comparison with the closed forms."""
  num_points: int = 4000
  """Points of the regression, the share TEST_SHARE for testing."""
  epsilon: float = 0.3
  """Size of the adversarial perturbation, in standard deviations of a feature."""


def closed_forms(key: jax.Array, size: int) -> dict[str, jax.Array]:
  """Relative errors of estimates from one sample of so many points."""
  h, shift, rho, noise = 0.7, 2.0, 0.8, 0.5
  keys = jax.random.split(key, 3)
  x, y, eps = (jax.random.normal(k, (size, 1)) for k in keys)
  a, b = 1 + h / 2, 0.25 + h / 2  # variances of N(0, 1) and N(shift, 1/4) blurred by the kernels
  divergence = np.log((a + b) / (2 * np.sqrt(a * b))) + shift**2 / (a + b)
  r2 = (rho / (1 + h / 2)) ** 2
  information = np.log((4 - r2) / (4 * np.sqrt(1 - r2)))
  group = jnp.arange(size) % 4  # conditions so far apart that the kernel tells them apart exactly
  error, at = jnp.array([0.0, 0.5, 1.0, 1.5])[group][:, None], 100.0 * group[:, None]
  overlap = np.mean(np.exp(-(np.array([0.0, 0.5, 1.0, 1.5]) ** 2) / (2 * (2 * noise**2 + h))))
  target, prediction = jnp.sin(at) + noise * y, jnp.sin(at) + error + noise * eps
  pair = rho * x + np.sqrt(1 - rho**2) * eps
  width = {"bandwidth_x": h, "bandwidth_y": h}
  estimates = {
    "divergence": (cs_divergence(x, shift + y / 2, bandwidth=h), divergence),
    "information": (cs_information(x, pair, **width), information),
    "conditional": (
      cs_conditional_divergence(at, target, prediction, **width),
      -2 * np.log(overlap),
    ),
  }
  zeros = jnp.stack([cs_divergence(x, x), cs_conditional_divergence(x, y, y)])
  return {n: e / exact - 1 for n, (e, exact) in estimates.items()} | {"zeros": jnp.abs(zeros).max()}


def make_data(num_points: int, seed: int) -> list[np.ndarray]:
  """Standardised features and target."""
  from sklearn import datasets

  arrays = datasets.make_friedman1(num_points, noise=1.0, random_state=seed)
  standardised = ((v - v.mean(0)) / v.std(0) for v in arrays)
  return [v.astype(np.float32).reshape(num_points, -1) for v in standardised]


def init(key: jax.Array, dim: int) -> Params:
  """Two hidden layers to the code's mean and log_scale, one back to y."""
  shapes = [(dim, HIDDEN), (HIDDEN, HIDDEN), (HIDDEN, 2 * CODE), (CODE, HIDDEN), (HIDDEN, 1)]
  keys = jax.random.split(key, len(shapes))
  return [
    (jax.random.normal(k, s) * (2 / sum(s)) ** 0.5, jnp.zeros(s[1])) for k, s in zip(keys, shapes)
  ]


def encode(params: Params, x: jax.Array) -> list[jax.Array]:
  """Mean and log_scale of the code."""
  for w, b in params[:2]:
    x = jax.nn.relu(x @ w + b)
  w, b = params[2]
  return jnp.split(x @ w + b, 2, axis=-1)


def decode(params: Params, t: jax.Array) -> jax.Array:
  """Prediction (B, 1)."""
  (w, b), (v, c) = params[3:]
  return jax.nn.relu(t @ w + b) @ v + c


def compression(x: jax.Array, t: jax.Array) -> jax.Array:
  """Normalised information of x and t, at most 1."""
  t /= jnp.sqrt(jnp.mean(jnp.square(t)) + 1e-12)
  own = cs_information(x, x) * cs_information(t, t)
  return cs_information(x, t) / jnp.sqrt(own + 1e-12)


def loss(method: str, params: Params, key: jax.Array, x: jax.Array, y: jax.Array, beta: Any) -> Any:
  """Training loss; the codes of MSE and CS-IB are deterministic."""
  mean, log_scale = encode(params, x)
  if method == "VIB":
    t = gaussian.sample(key, mean, log_scale)
    nll = 0.5 * jnp.square(y - decode(params, t))[:, 0]
    return jnp.mean(vib_loss(nll, gaussian.kl_standard(mean, log_scale), beta=beta))
  y_hat = decode(params, mean)
  if method == "MSE":
    return 0.5 * jnp.mean(jnp.square(y - y_hat))
  prediction = cs_conditional_divergence(x, y, y_hat, bandwidth_x=1.0, bandwidth_y=1.0)
  return prediction + beta * compression(x, mean)


def fit(config: Config, method: str, key: jax.Array, x: jax.Array, y: jax.Array, beta: Any) -> dict:
  """Train on the first rows; RMSE, RMSE under attack and compression on the others."""
  key_init, key_steps = jax.random.split(key)
  optimizer = config.optimizer()
  params, num_train = init(key_init, x.shape[1]), round((1 - TEST_SHARE) * len(x))

  def step(carry: Any, key: jax.Array) -> tuple[Any, None]:
    params, state = carry
    key_rows, key_noise = jax.random.split(key)
    rows = jax.random.randint(key_rows, (config.batch_size,), 0, num_train)
    grads = jax.grad(partial(loss, method))(params, key_noise, x[rows], y[rows], beta)
    updates, state = optimizer.update(grads, state, params)
    return (optax.apply_updates(params, updates), state), None

  carry = (params, optimizer.init(params))
  (params, _), _ = jax.lax.scan(step, carry, jax.random.split(key_steps, config.steps))
  x, y = x[num_train:], y[num_train:]
  squares = lambda x: jnp.square(decode(params, encode(params, x)[0]) - y)
  attacked = x + config.epsilon * jnp.sign(jax.grad(lambda x: jnp.sum(squares(x)))(x))
  mean, log_scale = encode(params, x)
  t = gaussian.sample(key_init, mean, log_scale) if method == "VIB" else mean
  rmse = lambda x: jnp.sqrt(jnp.mean(squares(x)))
  return {"rmse": rmse(x), "attacked": rmse(attacked), "information": compression(x, t)}


def train_all(config: Config) -> dict[str, dict[str, np.ndarray]]:
  """Measurements (seeds, betas) by method."""
  seeds = range(config.seed, config.seed + config.seeds)
  x, y = (np.stack(v) for v in zip(*(make_data(config.num_points, seed) for seed in seeds)))
  keys = jax.random.split(jax.random.key(config.seed), config.seeds)
  results = {}
  for method, betas in BETAS.items():
    over_betas = jax.vmap(partial(fit, config, method), in_axes=(None, None, None, 0))
    run = jax.jit(jax.vmap(over_betas, in_axes=(0, 0, 0, None)))
    results[method] = jax.tree.map(np.asarray, run(keys, x, y, jnp.array(betas)))
  return results


def at_information(levels: np.ndarray, result: dict[str, np.ndarray], what: str) -> np.ndarray:
  """A quantity where a method's information has a given level, for each seed."""
  values = []
  for level, information, y in zip(levels, result["information"], result[what]):
    order = np.argsort(information)
    values.append(np.interp(level, information[order], y[order]))
  return np.array(values)


def run(config: Config) -> Outcome:
  """Estimate, train, compare."""
  errors: dict[str, list] = {}
  for size in SIZES:
    keys = jax.random.split(jax.random.key(size), config.trials)
    found = jax.jit(lambda keys, size=size: jax.lax.map(partial(closed_forms, size=size), keys))(
      keys
    )
    for name, values in found.items():
      errors.setdefault(name, []).append(float(np.sqrt(np.mean(np.square(values)))))
  slope = lambda name: np.polyfit(np.log(SIZES), np.log(errors[name]), 1)[0]
  results = train_all(config)
  names = ("divergence", "information", "conditional")
  theory = "consistency; the number follows from theory"
  below = lambda what, limit, value: Claim(what, limit, [value], theory, "at most", unit="")
  gain = lambda what, value: Claim(what, 0.0, value, PAPER, "at least", unit="of std(y)")
  claims = [
    below("largest slope of log error by log n", -0.4, max(map(slope, names))),
    below("largest relative error at n = 1,000", 0.1, max(errors[n][-1] for n in names)),
    below("divergence of equal samples", 1e-5, max(errors["zeros"])),
  ]
  mse, vib, cs = results.values()
  half = mse["information"][:, 0] / 2
  for what, text in (("rmse", "RMSE"), ("attacked", "RMSE under FGSM")):
    compressed = at_information(half, vib, what) - at_information(half, cs, what)
    claims += [
      gain(f"{text}, MSE minus CS, no compression", mse[what][:, 0] - cs[what][:, 0]),
      gain(f"{text}, VIB minus CS, no compression", vib[what][:, 0] - cs[what][:, 0]),
      gain(f"{text}, VIB minus CS-IB, half of the information", compressed),
    ]
  config.folder.mkdir(parents=True, exist_ok=True)
  pictures.curves(
    config.folder / "errors.png",
    {
      f"{method}, {text}": (result["information"].mean(0), result[what].mean(0))
      for method, result in results.items()
      for what, text in (("rmse", "clean"), ("attacked", "FGSM"))
    },
    title="Test error as the code is compressed",
    x_label="normalised information of x and the code",
    y_label="RMSE of standardised y",
  )
  by_beta = jax.tree.map(lambda v: v.mean(0).tolist(), results)
  return Outcome(claims, {"sizes": SIZES, "errors": errors, "by_beta": by_beta, "betas": BETAS})
