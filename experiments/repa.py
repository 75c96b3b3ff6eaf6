"""REPA: a flow model of digits learns faster when its early tokens are aligned with an encoder's features.

Claim (Yu et al. 2024, abstract): aligning projections of a denoising network's hidden states with clean-image
representations of a pretrained visual encoder improves both training efficiency and generation quality. A
small SiT on MNIST at half its resolution, 16 patches; the encoder is a transformer of patches trained by
SimCLR before, and frozen; weight 0.5, projection by three layers, rectified flow, velocity, as the authors.
Command: python -m experiments repa --data_dir=DIR
Expected: after equal steps, the Frechet distance (features of a classifier trained here) lower with REPA than
without, a linear probe of the aligned block's tokens on noisy digits better, and the distance lower than with
the same encoder's random parameters. Both measures after half the steps are in the details.
Note: not conditional on a class, which would tell the network what the encoder knows. After 500 steps of 32
digits samples are strokes, not digits yet: the very start of training (the authors': up to 400,000 steps).
Time: about six minutes on one CPU core, two seeds of three methods.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from experiments import harness
from experiments.harness import Claim, Outcome, denoising, pictures, ssl
from experiments.harness.denoising import Images
from experiments.harness.probe import fit_classifier
from experiments.harness.quality import fit_judge, quality
from latentjax.diffusion import samplers
from latentjax.diffusion.processes import convert, noised, rectified_flow
from latentjax.losses.contrastive import l2_normalize, nt_xent
from latentjax.losses.masked import patchify
from latentjax.models import MLP, BatchNormMLP, DiT, PatchTransformer
from latentjax.objectives import DiffusionModel, repa, two_view
from latentjax.training import train
from latentjax.training.workdir import read_lines

PAPERS = {252: "Representation Alignment for Generation (REPA)"}
FUNCTIONS = ("losses.distillation.repa_loss", "objectives.repa", "models.DiT")
QUICK = {"steps": 4, "encoder_steps": 4, "judge_steps": 4, "samples": 40, "num_probe": 200}
ABSTRACT = "Yu et al. 2024, abstract"
PROCESS, SHAPE, PATCH, FEATURES = rectified_flow(), (16, 16, 1), 4, 64
WIDTH, DEPTH, ALIGNED = 48, 4, 2  # of the SiT, and the block after which its tokens are aligned
METHODS = ("without", "repa", "random encoder")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(harness.Config):
  """Flags of this experiment."""

  steps: int = 500
  batch_size: int = 32
  seeds: int = 2
  learning_rate: float = 1e-3
  ema_decay: float | None = 0.99
  encoder_steps: int = 300
  """Of SimCLR."""
  judge_steps: int = 600
  """Of the classifier's training."""
  samples: int = 500
  """Digits drawn for the Frechet distance."""
  num_probe: int = 2000
  """Digits that the probe learns from; half as many judge it."""


def framed(x: Any) -> Any:
  """Images of 14 x 14 in [-1, 1] with a frame of one pixel, so that patches of 4 x 4 fit."""
  return jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-1.0)


class Aligned(nn.Module):
  """The SiT: its prediction, its early tokens, and their projection to the encoder's features."""

  @nn.compact
  def __call__(self, x: jax.Array, t: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    out, hidden = DiT(PATCH, WIDTH, DEPTH, heads=4)(x, t, hidden=ALIGNED)
    return out, hidden, MLP(FEATURES, (2 * WIDTH,) * 2, activation="silu")(hidden)


class Encoder(nn.Module):
  """Images in [-1, 1] to features of 16 patches, and an embedding of the whole."""

  @nn.compact
  def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    patches = patchify(x, patch_size=PATCH)
    places = jnp.broadcast_to(jnp.arange(16), patches.shape[:2])
    features = PatchTransformer((4, 4), FEATURES, depth=2)(patches, places)
    return features, BatchNormMLP(64, (128,))(jnp.mean(features, axis=1))


ENCODER, NETWORK = Encoder(), Aligned()


def views(key: jax.Array, example: dict[str, jax.Array]) -> dict[str, jax.Array]:
  """Two views of an image in [-1, 1], stretched and shifted."""
  image = (example["image"] + 1) / 2
  moved = 2 * jax.vmap(ssl.jitter_place, (0, None))(jax.random.split(key), image) - 1
  return {"view_1": moved[0], "view_2": moved[1]}


def fit_encoder(config: Config, digits: Images) -> tuple[Any, Any]:
  """Parameters of the encoder at the start, and after SimCLR."""
  init = lambda key: ENCODER.init(key, jnp.zeros((2, *SHAPE)))
  embed = lambda params, x: ENCODER.apply(params, x)[1]
  loss = lambda a, b: nt_xent(l2_normalize(a), l2_normalize(b), temperature=0.2)
  fields = {"steps": config.encoder_steps, "seeds": 1, "ema_decay": None, "batch_size": 128}
  config = dataclasses.replace(config, eval_every=None, **fields)
  result = train(
    two_view(embed, loss).objective,
    lambda key: (init(key), ()),
    config.optimizer(),
    digits.dataset,
    config,
    config.folder / "encoder",
    transform=views,
    name="encoder",
  )
  return init(jax.random.key(config.seed)), result.state.params


def models(config: Config, digits: Images) -> dict[str, DiffusionModel]:
  """The objectives by name."""
  start, trained = fit_encoder(config, digits)
  predict = lambda params, z, t, _: NETWORK.apply(params, z, t)[::2]

  def model(encoder: Any, weight: float) -> DiffusionModel:
    return repa(predict, lambda x: ENCODER.apply(encoder, x)[0], process=PROCESS, weight=weight)

  return dict(zip(METHODS, (model(start, 0.0), model(trained, 0.5), model(start, 0.5))))


def sampler(config: Config) -> Callable[[Any], jax.Array]:
  """`(params) -> samples`."""

  def sample(params: Any) -> jax.Array:
    noise = jax.random.normal(jax.random.key(11), (config.samples, *SHAPE))
    times = jnp.linspace(1.0, 0.0, 21)

    def denoise(x: jax.Array, t: jax.Array) -> jax.Array:
      velocity = NETWORK.apply(params, x, t)[0]
      return convert(velocity, x, t, process=PROCESS, source="velocity", target="x0")

    return samplers.euler(jax.random.key(0), denoise, noise, process=PROCESS, times=times)

  return config.each_seed(sample)


def prober(config: Config, digits: Images, test: Images) -> Callable[[Any], jax.Array]:
  """`(params) -> accuracy` of a linear probe of the aligned block's mean token at t = 0.3."""
  parts = digits.take(slice(config.num_probe)), test.take(slice(config.num_probe // 2))

  def probe(params: Any) -> jax.Array:
    def features(x: np.ndarray) -> jax.Array:
      z = noised(x, jax.random.normal(jax.random.key(5), x.shape), 0.3, process=PROCESS)
      one = lambda z: jnp.mean(NETWORK.apply(params, z[None], jnp.full(1, 0.3))[1][0], axis=0)
      return jax.lax.map(one, z, batch_size=500)

    h, h_test = (features(part.x) for part in parts)
    fit = fit_classifier(jax.random.key(7), h, jnp.asarray(parts[0].labels), num_classes=10)
    return jnp.mean(jnp.argmax(fit(h_test), axis=1) == parts[1].labels)

  return config.each_seed(probe)


def run(config: Config) -> Outcome:
  """Train the three, and judge samples and tokens at half time and at the end."""
  config = dataclasses.replace(config, eval_every=config.steps // 2)
  digits, test = (
    part._replace(x=np.asarray(framed(part.x)))
    for part in (denoising.images("mnist", s, config, side=14) for s in ("train", "test"))
  )
  judge = fit_judge(digits.x, digits.labels, config.folder / "judge", steps=config.judge_steps)
  real = judge.features(test.x[: config.samples])
  sample, probe = sampler(config), prober(config, digits, test)

  def evaluate(state: Any) -> dict[str, Any]:
    sets = np.asarray(sample(state.eval_params))
    frechet = [quality(x, None, judge, real)["frechet"] for x in sets]
    return {"frechet": frechet, "probe": probe(state.eval_params).tolist()}

  found, shown = {}, [denoising.to_unit(test.x[:12])]
  for name, model in models(config, digits).items():
    folder = config.folder / name.replace(" ", "_")
    init = lambda key: (NETWORK.init(key, jnp.zeros((1, *SHAPE)), jnp.zeros(1)), ())
    how = (config.optimizer(), digits.dataset, config, folder)
    result = train(model.objective, init, *how, evaluate=evaluate, name=name)
    lines = [line for line in read_lines(folder / "metrics.jsonl") if "eval/frechet" in line]
    found[name] = {
      kind: np.array([line[f"eval/{kind}"] for line in lines]).reshape(len(lines), -1)
      for kind in ("frechet", "probe")
    }
    shown.append(denoising.to_unit(sample(result.state.eval_params)[0][:12]))
  title = f"MNIST after {config.steps} steps"
  pictures.image_grid(config.folder / "samples.png", shown, title=title, labels=["data", *METHODS])
  return Outcome(claims(found), details=jax.tree.map(np.ndarray.tolist, found))


def claims(found: dict[str, dict[str, np.ndarray]]) -> list[Claim]:
  """Measured numbers are (evaluations, seeds)."""
  at_least = partial(Claim, expected=0.0, relation="at least")
  last = {name: {kind: v[-1] for kind, v in values.items()} for name, values in found.items()}
  gain = lambda name, other, kind: last[name][kind] - last[other][kind]
  return [
    at_least(
      "Frechet distance without REPA minus with it, equal steps",
      measured=gain("without", "repa", "frechet"),
      published=ABSTRACT,
      unit="",
    ),
    at_least(
      "linear probe of the aligned block with REPA minus without",
      measured=100 * gain("repa", "without", "probe"),
      published=ABSTRACT,
      unit="points",
    ),
    at_least(
      "Frechet distance with a random encoder minus with the trained one",
      measured=gain("random encoder", "repa", "frechet"),
      published="set here: what the encoder has learned helps",
      unit="",
    ),
  ]
