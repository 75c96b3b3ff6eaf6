"""CrossFlow from captions to pictures of shapes, without noise or conditioning.

Claim (Liu et al. 2024, abstract): a flow from text to image slightly outperforms one from noise with the text
as condition; variational encoders matter; arithmetic with latents makes semantically meaningful edits.
Command: python -m experiments cross_flow
Expected: share of a caption's attributes that its picture has, CrossFlow minus flow from noise at equal size
and guidance, at least 0 (tolerance 0.02: "slightly"); Frechet distance (of components) of a deterministic
encoder over that of the variational one at least 1.2; share after an edit from a to b by adding z(b, other) -
z(a, other), minus that of captions that say so, at least -0.1.
Protocol: 16 x 16 pictures of shapes by six attributes as 64 whitened principal components, captions with
synonyms and fillers, which leave the exact place open, as counts of words. Networks are fully connected; the
flow from noise has the condition in all layers. Guidance 2, 10 steps of Heun's method.
Changed after a first run of 1,000 steps (attributes -0.09, edits -0.11): its source had shrunk to noise 0.02
about means 0.2, for the flow alone would rather start in a point and the contrastive loss, of means, is blind
to scale. As in the authors' code, that loss now takes latents as drawn and the divergence is a sum.
Note: the first claim still fails, by what the network fits: latents tell all attributes (`of_source`), and
the exact flow of training pairs keeps all. 875 steps give CrossFlow 0.86, 2,000 0.89; noise has 0.98 early.
Time: about three minutes on one CPU core, two seeds.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments import harness
from experiments.harness import Claim, Outcome, captions, denoising, pictures
from experiments.harness.components import Components, fit_components
from experiments.harness.probe import fit_attributes
from latentjax import data
from latentjax.diffusion.processes import rectified_flow
from latentjax.diffusion.samplers import heun
from latentjax.metrics import frechet_distance
from latentjax.models import MLP, DenoisingMLP
from latentjax.objectives import cross_flow, diffusion
from latentjax.training import train

PAPERS = {239: "Flowing from Words to Pixels: A Noise-Free Framework for Cross-Modality Evolution"}
FUNCTIONS = ("losses.score.cross_flow_loss", "objectives.cross_flow")
QUICK = {"steps": 20, "seeds": 2, "num_train": 2_000, "num_samples": 200, "num_steps": 3}
DIM, WORDS = 64, len(captions.VOCABULARY)
TEXT, ALIGN = MLP(2 * DIM, (192,)), MLP(DIM, (128,))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(harness.Config):
  """Flags of this experiment."""

  steps: int = 2000
  batch_size: int = 128
  seeds: int = 2
  schedule: str = "cosine"
  learning_rate: float = 2e-3
  ema_decay: float | None = 0.99
  kl_weight: float = 1e-2
  guidance: float = 2.0
  num_steps: int = 10
  num_train: int = 20_000
  num_samples: int = 500
  block_size: int | None = harness.free(None)
  """Rows of a block of pairwise scores; with --parallel=pmap the blocks go round the devices."""


class Test(NamedTuple):
  """Captioned pictures to judge by, and the components of all."""

  made: captions.Captioned
  components: Components


def encode(variational: bool, params: Any, text: jax.Array) -> tuple[jax.Array, jax.Array | None]:
  """Mean and log_scale of a caption's latent."""
  mean, log_scale = jnp.split(TEXT.apply(params["text"], text), 2, axis=-1)
  return mean, log_scale if variational else None


class Method(NamedTuple):
  """`init_fn(key)`, objective, `draw(params, key, text) -> start`, `sample(params, start)`."""

  init_fn: Any
  objective: Any
  draw: Any
  sample: Any


def init(network: denoising.Network, key: jax.Array) -> tuple[Any, Any]:
  """Parameters of the text's network and the flow's, and of features for the contrastive loss."""
  text, flow, align = jax.random.split(key, 3)
  kept = {"text": TEXT.init(text, jnp.zeros((1, WORDS))), "flow": network.init_fn(flow)}
  return kept | {"align": ALIGN.init(align, jnp.zeros((1, DIM)))}, ()


def flow(config: Config, denoise_fn: Any, start: jax.Array) -> jax.Array:
  """Guided samples, where `denoise_fn(z, t, paired)` is the estimate with and without the condition."""
  w = config.guidance
  guided = lambda z, t: w * denoise_fn(z, t, 1) + (1 - w) * denoise_fn(z, t, 0)
  times = jnp.linspace(1.0, 0.0, config.num_steps + 1)
  return heun(jax.random.key(0), guided, start, process=rectified_flow(), times=times)


def crossing(config: Config, *, variational: bool) -> Method:
  """CrossFlow, from latents of captions."""
  network = denoising.bind(DenoisingMLP(width=192, depth=2, num_classes=2), (DIM,), np.int32(0))
  model = cross_flow(
    partial(encode, variational),
    lambda params, z, t, c: network.predict_fn(params["flow"], z, t, c),
    align_fn=lambda params, x: ALIGN.apply(params["align"], x),
    kl_weight=config.kl_weight,
    axis_name=config.axis_name,
    block_size=config.block_size,
  )

  def draw(params: Any, key: jax.Array, text: jax.Array) -> jax.Array:
    mean, log_scale = encode(variational, params, text)
    scale = 0.0 if log_scale is None else jnp.exp(log_scale)
    return mean + scale * jax.random.normal(key, mean.shape)

  sample = lambda params, start: flow(config, partial(model.denoise, params), start)
  return Method(partial(init, network), model.objective, draw, sample)


def from_noise(config: Config) -> Method:
  """Flow matching from noise, with features of the caption as condition, zeros for none."""
  network = denoising.bind(DenoisingMLP(width=192, depth=2), (DIM,), np.zeros(2 * DIM, np.float32))

  def predict_fn(params: Any, z: jax.Array, t: jax.Array, text: jax.Array) -> jax.Array:
    known = jnp.any(text > 0, axis=1, keepdims=True)
    return network.predict_fn(params["flow"], z, t, known * TEXT.apply(params["text"], text))

  kind = {"process": rectified_flow(), "prediction": "velocity", "axis_name": config.axis_name}
  model = diffusion(predict_fn, condition="text", null_condition=np.zeros(WORDS), **kind)
  given = lambda params, text, z, t, paired: model.denoise(params, z, t, paired * text)
  sample = lambda params, start: flow(config, partial(given, params, start[1]), start[0])
  draw = lambda params, key, text: (jax.random.normal(key, (len(text), DIM)), text)
  return Method(partial(init, network), model.objective, draw, sample)


def measure(config: Config, method: Method, test: Test, read: Any, params: Any) -> dict[str, Any]:
  """What samples have of their captions, and how far they are from real ones."""
  n = config.num_samples
  text, others = captions.count_words(test.made.text[:n]), test.made.image[n : 2 * n]
  x = method.sample(params, method.draw(params, jax.random.key(3), text))
  images = test.components.decode(x)
  return {
    "accuracy": jnp.mean(read(images) == test.made.attributes[:n].T),
    "frechet": frechet_distance(x, test.components.encode(others)),
    "images": images[:12],
  }


def source(config: Config, method: Method, test: Test, read: Any, params: Any) -> dict[str, Any]:
  """What the nearest mean of latents as drawn tells, which bounds pictures; their noise and means."""
  known, made = np.repeat(captions.ALL, 20, axis=0), test.made.attributes
  text = [captions.count_words(captions.write(a, seed=6)) for a in (known, made)]
  z, other = (method.draw(params, jax.random.key(6 + i), text) for i, text in enumerate(text))
  mean, centres = encode(False, params, text[0])[0], z.reshape(len(captions.ALL), 20, DIM).mean(1)
  unit = jnp.std(z - jnp.repeat(centres, 20, axis=0), axis=0)
  nearest = jnp.argmin(jnp.sum(jnp.square((other[:, None] - centres) / unit), axis=2), axis=1)
  spread = {"noise": jnp.std(z - mean), "means": jnp.std(mean - jnp.mean(mean, axis=0))}
  return spread | {"of_source": jnp.mean(jnp.asarray(captions.ALL)[nearest] == made)}


def edit(config: Config, method: Method, test: Test, read: Any, params: Any) -> dict[str, Any]:
  """Pictures before an edit, after it by arithmetic, and of captions that say so."""
  wanted, texts = captions.make_edits(config.num_samples, seed=5)
  counts = [captions.count_words(text) for text in texts]
  start, said = (method.draw(params, jax.random.key(4), text) for text in (counts[1], counts[0]))
  mean = lambda text: encode(False, params, text)[0]
  sources = {"before": start, "arithmetic": start + mean(counts[2]) - mean(counts[3]), "said": said}
  images = {k: test.components.decode(method.sample(params, z)) for k, z in sources.items()}
  right = {name: jnp.mean(read(x) == wanted.T) for name, x in images.items()}
  return {"of_edit": right, "edits": {name: x[:12] for name, x in images.items()}}


def run(config: Config) -> Outcome:
  """Train all three; read their pictures."""
  known = captions.make_captioned(config.num_train, seed=1)
  components = fit_components(known.image, DIM)
  test = Test(captions.make_captioned(2 * config.num_samples, seed=2), components)
  pairs, values = map(jnp.asarray, (known.image, known.attributes)), captions.NUM_VALUES
  read = fit_attributes(jax.random.key(4), *pairs, num_values=values, hidden=64, steps=500)
  methods = {
    "CrossFlow": (crossing(config, variational=True), (measure, source, edit)),
    "deterministic": (crossing(config, variational=False), (measure, source)),
    "noise": (from_noise(config), (measure,)),
  }
  text = captions.count_words(known.text)
  dataset = data.load({"image": components.encode(known.image), "text": text})
  found: dict[str, Any] = {}
  for name, (method, judges) in methods.items():
    run = method.objective, method.init_fn, config.optimizer(), dataset, config
    state = train(*run, config.folder / name, name=name).state
    for judge in judges:
      seen = config.each_seed(partial(judge, config, method, test, read))(state.eval_params)
      found[name] = found.get(name, {}) | jax.tree.map(np.asarray, seen)
  real = np.mean(read(jnp.asarray(test.made.image)) == test.made.attributes.T)
  rows = {"real": test.made.image[:12]} | {name: v["images"][0] for name, v in found.items()}
  rows |= {f"edit: {name}": x[0] for name, x in found["CrossFlow"]["edits"].items()}
  path, grid = config.folder / "samples.png", list(rows.values())
  pictures.image_grid(path, grid, title="Captions", labels=list(rows))
  return outcome(found, float(real))


def outcome(found: dict[str, Any], real: float) -> Outcome:
  """The verdict."""
  own = found["CrossFlow"]
  more = own["accuracy"] - found["noise"]["accuracy"]
  worse = found["deterministic"]["frechet"] / own["frechet"]
  edit = own["of_edit"]["arithmetic"] - own["of_edit"]["said"]
  claims = [
    ("attributes of the caption in the picture, CrossFlow minus flow from noise", 0.0, more, 0.02),
    ("Frechet distance, deterministic encoder over variational", 1.2, worse, 0.0),
    ("attributes after an edit, by arithmetic minus by the caption", -0.1, edit, 0.0),
  ]
  plain = ("accuracy", "frechet", "of_source", "noise", "means")
  kept = {name: {k: v[k].tolist() for k in plain if k in v} for name, v in found.items()}
  return Outcome(
    [
      Claim(what, value, seen, "Liu et al. 2024, abstract", "at least", tolerance=slack, unit="")
      for what, value, seen, slack in claims
    ],
    kept | {"of_edit": jax.tree.map(np.ndarray.tolist, own["of_edit"]), "of_real": real},
  )
