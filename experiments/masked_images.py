"""Masked images on MNIST: MAE predicts hidden pixels, I-JEPA a teacher's features of hidden blocks.

Claim (He et al. 2022, figure 5): a masked autoencoder learns useful features, and a high mask ratio, 0.75, is
better for a linear probe than low ones. (Assran et al. 2023, abstract): so does prediction in the space of
features, without views made by hand; and it does not collapse, although nothing repels.
Command: python -m experiments masked_images --data_dir=DIR
Expected: linear probe on the features of all patches, after MAE with mask ratio 0.75 and after I-JEPA, at
least 3 points above that of the same encoder untrained; MAE at 0.75 above MAE at 0.25; effective rank of
I-JEPA's features at least 10, and their spread (1 if isotropic) at least 0.1. The probe on raw pixels is
printed beside them. The networks are fully connected, with zeros and a mark for patches that are not seen:
a small transformer had learnt nothing by 1,000 steps.
Note: a first run of 1,500 steps, under two epochs, gave 3.4 +- 0.8 points for MAE, 2.97 +- 0.5 for I-JEPA,
which failed, and 0.2 +- 0.7 for the mask ratios. This one has five epochs; the expectations are the same, and
the ratios make no difference that could be seen, -0.1 +- 0.3.
Time: about two minutes on two CPU cores, three seeds of three runs.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments import harness
from experiments.harness import Claim, Outcome, pictures, ssl
from latentjax import data
from latentjax.data.transforms import to_float
from latentjax.losses.masked import block_masks, patchify, random_masking, unpatchify
from latentjax.models import MLP
from latentjax.objectives import SelfSupervised, cosine_momentum, i_jepa, mae
from latentjax.training import train

PAPERS = {}  # MAE (He et al. 2022) and I-JEPA (Assran et al. 2023) are what peers have: no numbers
FUNCTIONS = (
  "losses.masked.mae_loss",
  "losses.masked.random_masking",
  "losses.masked.jepa_loss",
  "losses.masked.block_masks",
  "objectives.mae",
  "objectives.i_jepa",
)
QUICK = {"steps": 50, "seeds": 2, "num_probe": 400}
MAE, JEPA = "He et al. 2022", "Assran et al. 2023"
PATCH, GRID, NUM_PATCHES, WIDTH = 7, (4, 4), 16, 8


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(harness.Config):
  """Flags of this experiment."""

  steps: int = 5000
  batch_size: int = 64
  seeds: int = 3
  schedule: str = "cosine"
  warmup_steps: int = 50
  mask_ratios: tuple[float, ...] = (0.25, 0.75)
  """Mask ratios of MAE; the first and the last are compared."""
  num_probe: int = 4_000
  """Labelled examples that the probe learns from; half as many judge it."""


ENCODER = MLP(NUM_PATCHES * WIDTH, (512,))
DECODER = MLP(NUM_PATCHES * PATCH**2, (512,))
PREDICTOR = MLP(NUM_PATCHES * WIDTH, (512,))


def init_params(key: jax.Array) -> dict[str, Any]:
  """Parameters of all networks; a method leaves those alone that it does not use."""
  keys = jax.random.split(key, 3)
  features = jnp.zeros((1, NUM_PATCHES * WIDTH))
  return {
    "encoder": ENCODER.init(keys[0], jnp.zeros((1, NUM_PATCHES * (PATCH**2 + 1)))),
    "decoder": DECODER.init(keys[1], features),
    "predictor": PREDICTOR.init(keys[2], features),
  }


def encode(
  params: Any, patches: jax.Array, positions: jax.Array, where: jax.Array | None = None
) -> jax.Array:
  """Features of all patches from some, with zeros and a mark for the others, (B, P, WIDTH)."""
  places = jax.nn.one_hot(positions, NUM_PATCHES)
  places = places if where is None else places * where[..., None]
  seen = jnp.sum(places, axis=1)
  image = jnp.einsum("bvp,bvc->bpc", places, patches).reshape(len(patches), -1)
  x = jnp.concatenate([image, seen], axis=1)
  return ENCODER.apply(params["encoder"], x).reshape(len(x), NUM_PATCHES, WIDTH)


def predict(
  module: Any, name: str, params: Any, seen: jax.Array, positions: Any, queries: jax.Array, *_: Any
) -> jax.Array:
  """From features to what a network makes of them at the queries, (B, Q, ...)."""
  out = module.apply(params[name], seen.reshape(len(seen), -1))
  return jnp.take_along_axis(out.reshape(len(out), NUM_PATCHES, -1), queries[..., None], axis=1)


decode, foresee = partial(predict, DECODER, "decoder"), partial(predict, PREDICTOR, "predictor")


def features(params: Any, x: jax.Array) -> jax.Array:
  """Features of a whole image, shape (B, P WIDTH)."""
  patches = patchify(x, patch_size=PATCH)
  everywhere = jnp.broadcast_to(jnp.arange(NUM_PATCHES), patches.shape[:2])
  return encode(params, patches, everywhere).reshape(len(x), -1)


def methods(config: Config) -> dict[str, SelfSupervised]:
  """Objectives by name."""
  masks = partial(block_masks, grid=GRID, num_targets=3, target_scale=(0.15, 0.3), min_context=4)
  found = {
    f"mae {ratio:g}": mae(
      encode, decode, patch_size=PATCH, mask_ratio=ratio, normalize_patches=False
    )
    for ratio in config.mask_ratios
  }
  found["i-jepa"] = i_jepa(
    encode,
    foresee,
    masks,
    patch_size=PATCH,
    momentum=cosine_momentum(0.98, config.steps),
    context_size=14,  # a target block has 2 to 4 of the 16 patches
    target_size=4,
  )
  return found


def run(config: Config) -> Outcome:
  """Train every method, probe its features, show reconstructions."""
  mnist = data.load("mnist", split="train", data_dir=config.data_dir)
  test = data.load("mnist", split="test", data_dir=config.data_dir)
  labelled = ssl.images(mnist, config.num_probe), ssl.images(test, config.num_probe // 2)
  probe = config.each_seed(lambda params: ssl.measure(features, params, *labelled))
  found, params = {}, {}
  for name, model in methods(config).items():
    result = train(
      model.objective,
      lambda key, model=model: (start := init_params(key), model.init_state(start)),
      config.optimizer(),
      mnist,
      config,
      config.folder / name.replace(" ", "_"),
      transform=to_float,
      name=name,
    )
    params[name] = result.state.params
    found[name] = jax.tree.map(np.asarray, probe(params[name]))
  keys = jnp.stack([jax.random.key(seed) for seed in range(config.seeds)])
  start = jax.vmap(init_params)(keys) if config.stacked else init_params(keys[0])
  found["untrained"] = jax.tree.map(np.asarray, probe(start))
  pixels = ssl.measure(lambda _, x: x.reshape(len(x), -1), (), *labelled)
  low, high = (f"mae {config.mask_ratios[i]:g}" for i in (0, -1))
  draw(config, config.first_seed(params[high]), labelled[1].x[:10])
  linear = {name: 100 * values["linear"] for name, values in found.items()}
  claim = partial(Claim, relation="at least")
  return Outcome(
    claims=[
      claim(
        f"linear probe of {name} minus untrained",
        3.0,
        linear[name] - linear["untrained"],
        f"{paper}; the number is set here",
        unit="points",
      )
      for name, paper in {high: MAE, "i-jepa": JEPA}.items()
    ]
    + [
      claim(
        f"linear probe of {high} minus {low}",
        0.0,
        linear[high] - linear[low],
        f"{MAE}, figure 5",
        unit="points",
      ),
      claim(
        "effective rank of I-JEPA's features",
        10.0,
        found["i-jepa"]["rank"],
        f"{JEPA}: no collapse; the number is set here",
        unit="",
      ),
      claim(
        "spread of I-JEPA's features, 1 if isotropic",
        0.1,
        found["i-jepa"]["scale"],
        f"{JEPA}: no collapse; the number is set here",
        unit="",
      ),
    ],
    details={
      "measures": {n: {k: v.tolist() for k, v in m.items()} for n, m in found.items()},
      "pixels": {k: float(v) for k, v in pixels.items()},
    },
  )


def draw(config: Config, params: Any, x: jax.Array) -> None:
  """What MAE sees, what it makes of it, and the image."""
  patches = patchify(x, patch_size=PATCH)
  size = {"batch_size": len(x), "num_patches": patches.shape[1]}
  masking = random_masking(jax.random.key(4), mask_ratio=config.mask_ratios[-1], **size)
  take = lambda i: jnp.take_along_axis(patches, i[..., None], axis=1)
  seen = encode(params, take(masking.visible), masking.visible)
  hidden = decode(params, seen, masking.visible, masking.hidden)
  shown = jnp.where(masking.mask[..., None], patches, 0.3)
  filled = jax.vmap(lambda image, i, patch: image.at[i].set(patch))(patches, masking.hidden, hidden)
  rows = [unpatchify(p, image_size=(28, 28), patch_size=PATCH) for p in (shown, filled, patches)]
  pictures.image_grid(
    config.folder / "reconstructions.png",
    [np.asarray(row) for row in rows],
    labels=["visible", "reconstruction", "test image"],
    title=f"MAE, mask ratio {config.mask_ratios[-1]:g}",
  )
