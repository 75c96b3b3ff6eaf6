"""What a study of disentanglement measures: every score of trained encoders, and how scores are compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.harness import pictures
from latentjax.data.factors import FactorSet, sample_factors
from latentjax.metrics import (
  active_units,
  disentanglement_report,
  factor_association,
  identifiability_r2,
  mean_correlation_coefficient,
  mean_sampled_correlations,
  omes,
)

PAIRS = 200  # that differ in one factor, of every factor


class Examples(NamedTuple):
  """Rendered examples of a set, two thirds of them to fit predictors, and pairs that differ in one factor.

  Attributes:
    images: float32 in [0, 1], shape (N, H, W, C).
    factors: int32, shape (N, F).
    pairs: images of both sides, shape (2, F * PAIRS, H, W, C).
  """

  images: jax.Array
  factors: jax.Array
  pairs: jax.Array


def draw_examples(key: jax.Array, made: FactorSet, num_examples: int) -> Examples:
  """Examples that every model is measured on."""
  key_factors, key_pairs, key_turn = jax.random.split(key, 3)
  factors = sample_factors(key_factors, made, num_examples)
  first = sample_factors(key_pairs, made, len(made.sizes) * PAIRS)
  turn = jax.random.randint(key_turn, (len(first),), 1, jnp.repeat(jnp.array(made.sizes), PAIRS))
  own = jnp.repeat(jnp.arange(len(made.sizes)), PAIRS)
  step = jax.nn.one_hot(own, len(made.sizes), dtype=jnp.int32) * turn[:, None]
  second = (first + step) % jnp.array(made.sizes)
  render = jax.jit(lambda v: jax.vmap(made.render)(v).astype(jnp.float32) / 255)
  return Examples(render(factors), factors, jnp.stack([render(first), render(second)]))


def encoder_scores(
  encode: Callable[[Any, jax.Array], tuple[jax.Array, jax.Array]],
  bound: Callable[[Any, jax.Array, jax.Array], Any],
  made: FactorSet,
  examples: Examples,
  params: Any,
) -> tuple[dict[str, jax.Array], jax.Array, jax.Array]:
  """All scores of one model by name, the means (N, Z), and every latent's divergence in nats (Z,)."""
  mean, log_scale = encode(params, examples.images)
  factors, z = examples.factors, mean
  fitted = 2 * len(z) // 3
  found = disentanglement_report(
    jax.random.key(1),
    z[:fitted],
    factors[:fitted],
    test_codes=z[fitted:],
    test_factors=factors[fitted:],
    num_values=made.sizes,
  )
  found.pop("total_correlation")
  ordered = [i for i, factor in enumerate(made.factors) if factor.kind == "ordinal"]
  sources = factors[:, jnp.array(ordered)].astype(jnp.float32)
  first, second = (
    encode(params, side)[0].reshape(-1, PAIRS, z.shape[1]) for side in examples.pairs
  )
  pairs = factor_association(first, second)
  correlations = mean_sampled_correlations(mean, log_scale)
  terms = bound(params, jax.random.key(2), examples.images)
  kl = 0.5 * jnp.mean(mean**2 + jnp.exp(2 * log_scale) - 1 - 2 * log_scale, axis=0)
  found |= {
    "omes": jnp.mean(omes(pairs, where=jnp.std(z, axis=0) > 0.05).score),
    "mcc": mean_correlation_coefficient(sources, z),
    "r2": identifiability_r2(sources, z, up_to="permutation"),
    "tc_mean": correlations.mean,
    "tc_sampled": correlations.sampled,
    "active_units": 1.0 * active_units(z).num_active,
    "elbo": jnp.mean(terms.elbo),
    "log_likelihood": jnp.mean(terms.log_likelihood),
    "kl": jnp.mean(terms.kl),
  }
  return found, mean, kl


def explained_variance(scores: np.ndarray, *, axes: tuple[int, ...]) -> float:
  """Share of a score's variance that groups explain, without the bias of few members.

  One minus the variance within the groups over that of all, each over its degrees of freedom: 0 in the
  mean for groups of no influence.

  Args:
    scores: of any shape.
    axes: those along which the members of a group lie.
  """
  within = scores - scores.mean(axis=axes, keepdims=True)
  groups = scores.size / np.prod([scores.shape[axis] for axis in axes])
  unexplained = np.sum(within**2) / (scores.size - groups)
  return float(1 - unexplained / max(scores.var(ddof=1), 1e-30))


def rank_correlations(table: Mapping[str, np.ndarray]) -> np.ndarray:
  """Spearman's rank correlation of all pairs of scores; 0 for a score that does not vary."""
  from scipy.stats import rankdata

  ranks = np.stack([rankdata(np.ravel(values)) for values in table.values()])
  ranks -= ranks.mean(axis=1, keepdims=True)
  norm = np.linalg.norm(ranks, axis=1, keepdims=True)
  ranks /= np.where(norm > 0, norm, 1)
  return ranks @ ranks.T


def draw_study(
  path: Path,
  correlations: np.ndarray,
  names: list[str],
  panels: Mapping[str, Mapping[str, np.ndarray]],
  *,
  title: str,
) -> None:
  """Save the matrix of rank correlations, and beside it scores by method and strength.

  Args:
    path: PNG file.
    correlations: shape (M, M).
    names: of the M scores.
    panels: by score, for each method an array (strengths, seeds), the weakest strength first.
    title: above the picture.
  """
  figure = pictures._figure(17.0, 8.2)
  left, right = figure.subfigures(1, 2, width_ratios=(1.12, 1.0))
  axes = left.subplots()
  axes.imshow(correlations, cmap="RdBu_r", vmin=-1, vmax=1)
  axes.set_xticks(range(len(names)), names, rotation=90, fontsize=8)
  axes.set_yticks(range(len(names)), names, fontsize=8)
  for (i, j), value in np.ndenumerate(correlations):
    colour = "white" if abs(value) > 0.6 else "black"
    axes.text(j, i, f"{100 * value:.0f}", ha="center", va="center", fontsize=6, color=colour)
  axes.set_title("Spearman's rank correlation of scores over all models, in %", fontsize=10)
  columns = 2
  grid = right.subplots(-(-len(panels) // columns), columns, sharex=True)
  for axes, (score, lines) in zip(np.ravel(grid), panels.items()):
    for shift, (method, values) in enumerate(lines.items()):
      x = np.arange(1, 1 + len(values)) + 0.07 * (shift - (len(lines) - 1) / 2)
      (line,) = axes.plot(x, values.mean(axis=1), label=method, linewidth=1.3)
      axes.plot(x, values, ".", markersize=3, alpha=0.6, color=line.get_color())
    axes.set_title(score, fontsize=9)
    axes.set_xticks(range(1, 1 + len(values)))
    axes.grid(alpha=0.3)
  right.supxlabel("strength, from the weakest to the strongest of each method", fontsize=9)
  handles, labels = np.ravel(grid)[0].get_legend_handles_labels()
  right.legend(handles, labels, loc="outside upper center", ncols=3, frameon=False, fontsize=9)
  figure.suptitle(title, fontsize=12)
  pictures.save(figure, path)
