"""Pretraining on unlabelled data where both phases are exact: factor models and Gaussian mixtures.

Claim (Ge, Tang, Fan & Jin 2023, abstract): maximum likelihood on m unlabelled points, then empirical risk
minimisation on the features of n labelled ones, has an excess risk that falls with m and with n each, and
beats supervised learning of the whole (D numbers instead of Z) where m >> n. The bounds are upper bounds, of
the order of the roots; for least squares on a well-specified model the classical rate is 1 / m and 1 / n.
Command: python -m experiments pretraining
Expected: slopes of log excess risk by log m (all labels) and log n (true features) of -1 within 0.1, for both
models. Supervised over pretrained risk: at least 3 at m = 12,800, n = 100 (2 weights instead of 20); at most
1 at m = 400, n = 6,400, and at m = 12,800, n = 100 for a target that the factors say nothing about.
Time: about a minute on two CPU cores.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments import harness
from experiments.harness import Claim, Outcome, pictures
from latentjax.densities import factor_analysis, mixture
from latentjax.densities.factor_analysis import factor_analysis_em
from latentjax.densities.mixture_em import gmm_em

PAPERS = {16: "On the Provable Advantage of Unsupervised Pretraining"}
FUNCTIONS = ("densities.factor_analysis.factor_analysis_em", "densities.mixture_em.gmm_em")
QUICK = {"trials": 2, "seeds": 2}
PAPER = "Ge et al. 2023"
Risks = dict[str, np.ndarray]
UNLABELLED, LABELLED = (400, 800, 1600, 3200), (100, 200, 400, 800)
FEW, MANY, MANY_LABELLED = 400, 12_800, 6_400
DIM, LATENT_DIM, NOISE = 20, 2, 0.5
RNG = np.random.default_rng(0)
LOADINGS = RNG.standard_normal((DIM, LATENT_DIM)).astype(np.float32)
LOG_SCALE = RNG.uniform(-0.5, 0.5, DIM).astype(np.float32)
COVARIANCE = LOADINGS @ LOADINGS.T + np.diag(np.exp(2 * LOG_SCALE))
OF_FACTORS = np.array([1.0, -1.0], np.float32)
OF_NOISE = RNG.standard_normal(DIM).astype(np.float32) / np.sqrt(DIM, dtype=np.float32)
CENTRES, LEVELS = 3 * np.eye(3, 5, dtype=np.float32), np.array([-1.0, 0.0, 2.0], np.float32)
MIXTURE = np.zeros(3, np.float32), CENTRES, 0 * CENTRES


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(harness.Config):
  """Flags of this experiment."""

  seeds: int = 4
  trials: int = 128
  """Data sets per seed."""


def least_squares(features: jax.Array, y: jax.Array) -> jax.Array:
  """Weights of the empirical risk minimiser."""
  return jnp.linalg.solve(features.T @ features, features.T @ y)


def factor_data(key: jax.Array, count: int) -> tuple[jax.Array, jax.Array, jax.Array]:
  """(x, y that depends on the factors, y that depends on what they do not explain)."""
  keys = jax.random.split(key, 3)
  z = jax.random.normal(keys[0], (count, LATENT_DIM))
  eps = jax.random.normal(keys[1], (count, DIM)) * np.exp(LOG_SCALE)
  y_noise = NOISE * jax.random.normal(keys[2], (count,))
  return z @ LOADINGS.T + eps, z @ OF_FACTORS + y_noise, eps @ OF_NOISE + y_noise


def factor_trial(key: jax.Array, m: int | None, labelled: tuple[int, ...]) -> dict[str, jax.Array]:
  """Excess risks of linear predictors, exact by the covariance of x; m None: the true features."""
  key_x, key_y = jax.random.split(key)
  params = (np.zeros(DIM, np.float32), LOADINGS, LOG_SCALE)
  if m is not None:
    x, _, _ = factor_data(key_x, m)
    fit, _ = factor_analysis_em(x, latent_dim=LATENT_DIM, num_steps=100)
    params = fit._replace(mean=params[0])
  to_features = factor_analysis.posterior(jnp.eye(DIM), *params)[0]  # linear, since the mean is 0
  cross = {"factors": LOADINGS @ OF_FACTORS, "noise": np.exp(2 * LOG_SCALE) * OF_NOISE}
  best = {name: jnp.linalg.solve(COVARIANCE, c) for name, c in cross.items()}
  excess = lambda weights, name: (weights - best[name]) @ COVARIANCE @ (weights - best[name])
  inner = to_features.T @ COVARIANCE @ to_features
  limit = to_features @ jnp.linalg.solve(inner, to_features.T @ cross["factors"])
  risks = {"all labels": excess(limit, "factors")}
  for count in labelled:
    x, *targets = factor_data(jax.random.fold_in(key_y, count), count)
    for name, y in zip(("factors", "noise"), targets):
      pretrained = to_features @ least_squares(x @ to_features, y)
      risks[f"pretrained, {name}, {count}"] = excess(pretrained, name)
      risks[f"supervised, {name}, {count}"] = excess(least_squares(x, y), name)
  return risks


def mixture_data(key: jax.Array, count: int) -> tuple[jax.Array, jax.Array]:
  """(x, y) with y the level of the point's component plus noise."""
  key_label, key_x, key_y = jax.random.split(key, 3)
  label = jax.random.randint(key_label, (count,), 0, 3)
  x = jnp.asarray(CENTRES)[label] + jax.random.normal(key_x, (count, 5))
  return x, jnp.asarray(LEVELS)[label] + NOISE * jax.random.normal(key_y, (count,))


def mixture_trial(key: jax.Array, m: int | None, labelled: tuple[int, ...]) -> dict[str, jax.Array]:
  """Excess risks of predictors linear in the responsibilities, over 4,000 points."""
  key_x, key_em, key_y = jax.random.split(key, 3)
  params = MIXTURE
  if m is not None:
    x, _ = mixture_data(key_x, m)
    params, _ = gmm_em(key_em, x, num_components=3, num_steps=40, num_starts=2)
  points, _ = mixture_data(jax.random.key(17), 4000)
  best = mixture.responsibilities(points, *MIXTURE) @ LEVELS
  features = mixture.responsibilities(points, *params)
  excess = lambda weights: jnp.mean(jnp.square(features @ weights - best))
  risks = {"all labels": excess(least_squares(features, best))}
  for count in labelled:
    x, y = mixture_data(jax.random.fold_in(key_y, count), count)
    weights = least_squares(mixture.responsibilities(x, *params), y)
    risks[f"pretrained, mixture, {count}"] = excess(weights)
  return risks


def mean_risks(config: Config, trial: Callable, m: int | None, n: tuple[int, ...]) -> Risks:
  """Means over the trials, shape (seeds,)."""
  keys = jax.random.split(jax.random.key(config.seed), config.seeds * config.trials)
  run = jax.jit(lambda keys: jax.lax.map(lambda key: trial(key, m, n), keys, batch_size=16))
  return {k: np.asarray(v).reshape(config.seeds, -1).mean(1) for k, v in run(keys).items()}


def slope_claim(what: str, counts: tuple[int, ...], risks: list[np.ndarray]) -> Claim:
  """Slope of log risk by log count for every seed."""
  slopes = np.polyfit(np.log(counts), np.log(np.stack(risks)), 1)[0]
  published = f"classical asymptotics ({PAPER} bounds it from above)"
  return Claim(f"{what}: slope of log risk", -1.0, slopes, published, tolerance=0.1, unit="")


def ratio_claim(what: str, risks: Risks, target: str, n: int, expected: float, side: Any) -> Claim:
  """Supervised over pretrained risk."""
  ratio = risks[f"supervised, {target}, {n}"] / risks[f"pretrained, {target}, {n}"]
  published = f"{PAPER}, abstract; the number is set here"
  return Claim(f"{what}: supervised over pretrained", expected, ratio, published, side, unit="")


def run(config: Config) -> Outcome:
  """Both models over all sample sizes, slopes, ratios, and a picture."""
  claims, curves, details = [], {}, {}
  for name, trial in {"factors": factor_trial, "mixture": mixture_trial}.items():
    labelled = {None: LABELLED, FEW: (MANY_LABELLED,), MANY: (100,)}
    sizes = (*UNLABELLED, None, *((MANY,) if name == "factors" else ()))
    risks = {m: mean_risks(config, trial, m, labelled.get(m, ())) for m in sizes}
    by_m = [risks[m]["all labels"] for m in UNLABELLED]
    by_n = [risks[None][f"pretrained, {name}, {n}"] for n in LABELLED]
    curves[f"{name}, by m"] = np.log2(UNLABELLED), np.log2(by_m)
    curves[f"{name}, by n"] = np.log2(LABELLED), np.log2(by_n)
    claims.append(slope_claim(f"{name}, by m", UNLABELLED, by_m))
    claims.append(slope_claim(f"{name}, by n", LABELLED, by_n))
    details[name] = {str(m): {k: v.mean().item() for k, v in r.items()} for m, r in risks.items()}
    if name == "factors":
      claims += [
        ratio_claim("m = 12800, n = 100", risks[MANY], "factors", 100, 3.0, "at least"),
        ratio_claim("m = 400, n = 6400", risks[FEW], "factors", MANY_LABELLED, 1.0, "at most"),
        ratio_claim("a target without factors", risks[MANY], "noise", 100, 1.0, "at most"),
      ]
  text = {"x_label": "log2 of the number of points", "y_label": "log2 of the excess risk"}
  config.folder.mkdir(parents=True, exist_ok=True)
  pictures.curves(config.folder / "risks.png", curves, title="Excess risk", **text)
  return Outcome(claims, details)
