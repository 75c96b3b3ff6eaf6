"""Two diffusion models that never met translate digits by their common latent space.

Claim (Wu and De la Torre 2022): stochastic samplers have a Gaussian latent space, all the noise that they
draw, and DPM-Encoder finds a code from which a model makes a given image exactly. Of models that were
trained independently on related domains the spaces are nearly common: an image encoded by one and decoded
by the other (CycleDiffusion) comes out in the other's domain and resembles the source. It is held against
SDEdit, which noises the source and denoises it by the other model.
Command: python -m experiments cycle_diffusion --data_dir=DIRECTORY_OF_TFDS_MNIST
Expected: decoded by its own model, an image is itself within 1e-3 at every pixel; of the threes at least 85
% and of the eights as many become the other digit for a classifier; their squared distance to the source is
at most 0.75 of that of samples of the same model; and at the same distance SDEdit makes the other digit
less often.
Protocol: MNIST at 14 x 14 pixels, one network of vectors for each digit, with parameters, data and noise of
its own; 150 test images of each. As in the authors' settings for cats and dogs eta = 0.1 and codes start
where alpha = 0.03 is left of the image (t = 0.98), here in 100 steps. SDEdit is ancestral sampling from six
times, its share of right digits interpolated at CycleDiffusion's distance; where that is below all of
SDEdit's, the share at SDEdit's least, which is too good for it.
Time: about three minutes on one CPU core, two seeds of two models.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments import harness
from experiments.harness import Claim, Outcome, denoising, pictures, quality
from latentjax.diffusion import processes, samplers
from latentjax.diffusion.latent_codes import cycle_diffusion
from latentjax.models import DenoisingMLP
from latentjax.objectives import diffusion
from latentjax.training import train

PAPERS = {
  7: "Unifying Diffusion Models' Latent Space, with Applications to CycleDiffusion and Guidance"
}
FUNCTIONS = (
  "diffusion.latent_codes.cycle_diffusion",
  "diffusion.latent_codes.dpm_encode",
  "diffusion.latent_codes.dpm_decode",
  "objectives.diffusion",
)
QUICK = {"steps": 20, "warmup_steps": 5, "seeds": 2, "num_images": 20, "sample_steps": 10}
PAPER = "Wu and De la Torre 2022"
PROCESS = processes.vp_cosine()
DIGITS = (3, 8)
STRENGTHS = (0.35, 0.45, 0.55, 0.65, 0.75, 0.85)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(harness.Config):
  """Flags of this experiment."""

  steps: int = 2000
  batch_size: int = 64
  seeds: int = 2
  learning_rate: float = 1e-3
  schedule: str = "cosine"
  warmup_steps: int = 100
  ema_decay: float | None = 0.995
  num_images: int = 150
  """Test images of each digit."""
  sample_steps: int = 100
  """Steps of encoder and decoder."""
  eta: float = 0.1
  """Noise of a step."""
  start: float = 0.98
  """Time of the code's first part."""


def run(config: Config) -> Outcome:
  """Train a model of each digit, translate both ways, compare."""
  sets = {s: denoising.images("mnist", s, config, side=14) for s in ("train", "test")}
  judge = quality.fit_judge(
    *sets["train"], config.folder / "judge", steps=50 if config.quick else 1200
  )
  network = denoising.bind(DenoisingMLP(192, 2), (14, 14, 1))
  model = diffusion(network.predict_fn, process=PROCESS, prediction="v")
  params = []
  for place, digit in enumerate(DIGITS):
    own = sets["train"].take(sets["train"].labels == digit)
    apart = dataclasses.replace(config, seed=config.seed + 1000 * place)  # nothing in common
    fitted = train(
      model.objective,
      lambda key: (network.init_fn(key), ()),
      config.optimizer(),
      own.dataset,
      apart,
      config.folder / f"model_{digit}",
      name=f"model of {digit}",
    )
    params.append(fitted.state.eval_params)

  def denoiser(params: Any) -> Any:
    return lambda x, t: jnp.clip(model.denoise(params, x, t), -1, 1)

  found: dict[str, Any] = {}
  rows = []
  for a, b in ((0, 1), (1, 0)):
    test = sets["test"].take(np.flatnonzero(sets["test"].labels == DIGITS[a])[: config.num_images])
    measure = lambda pair, x=test.x: translate(config, *map(denoiser, pair), jnp.asarray(x))
    made = jax.tree.map(np.asarray, config.each_seed(measure)((params[a], params[b])))
    name = f"{DIGITS[a]} to {DIGITS[b]}"
    found[name] = judged(test.x, made, judge, DIGITS[b])
    print(name, {k: np.round(v, 3).tolist() for k, v in found[name].items()})
    rows += [test.x[:12], made["cycle"][0, :12], made["fresh"][0, :12]]
    rows += [made["sdedit"][0, 3, :12]]
  labels = ["source", "CycleDiffusion", "sample", "SDEdit, 0.65"] * 2
  path = config.folder / "translations.png"
  pictures.image_grid(path, list(map(denoising.to_unit, rows)), title="digits", labels=labels)
  return Outcome(claims(found), jax.tree.map(np.ndarray.tolist, found))


def translate(config: Config, source: Any, target: Any, x: jax.Array) -> dict[str, jax.Array]:
  """Images by CycleDiffusion, back by its own model, samples, and SDEdit's from all times."""
  key = jax.random.key(5)
  times = lambda start, steps: jnp.linspace(start, 0.0, steps + 1)
  given = {"process": PROCESS, "times": times(config.start, config.sample_steps)}
  cycle = partial(cycle_diffusion, key, source, x=x, eta=config.eta, **given)
  noise = jax.random.normal(jax.random.key(6), x.shape)
  ancestral = lambda z, start: samplers.ddpm(
    key, target, z, process=PROCESS, times=times(start, config.sample_steps)
  )
  edited = lambda start: ancestral(processes.noised(x, noise, start, process=PROCESS), start)
  return {
    "back": cycle(source),
    "cycle": cycle(target),
    "fresh": ancestral(noise, 0.999),
    "sdedit": jax.lax.map(edited, jnp.array(STRENGTHS)),
  }


def judged(
  x: np.ndarray, made: dict[str, np.ndarray], judge: quality.Judge, digit: int
) -> dict[str, np.ndarray]:
  """Shares of the wanted digit and mean squared distances to the source, for each seed."""
  right = lambda images: np.mean(judge.classify(images.reshape(-1, *x.shape[1:])) == digit)
  share = lambda images: np.array([right(one) for one in images])
  away = lambda images: np.square(images - x).sum(axis=(-3, -2, -1)).mean(-1)
  edits = made["sdedit"]
  edit_share = np.stack([share(edits[:, i]) for i in range(edits.shape[1])], axis=1)
  found = {"share": share(made["cycle"]), "distance": away(made["cycle"])}
  found |= {"sample share": share(made["fresh"]), "sample distance": away(made["fresh"])}
  found |= {"sdedit share": edit_share, "sdedit distance": away(edits)}
  alike = [
    np.interp(d, dists, shares)
    for d, dists, shares in zip(found["distance"], found["sdedit distance"], edit_share)
  ]
  return found | {
    "sdedit share there": np.array(alike),
    "greatest error": np.abs(made["back"] - x).max(axis=(1, 2, 3, 4)),
  }


def claims(found: dict[str, dict[str, np.ndarray]]) -> list[Claim]:
  """What the paper says, both ways."""
  claim = partial(Claim, published=PAPER, unit="")
  made = []
  for name, values in found.items():
    made += [
      claim(
        f"{name}: greatest error of a decoded code",
        1e-3,
        values["greatest error"],
        relation="at most",
      ),
      claim(f"{name}: share of the other digit", 0.85, values["share"], relation="at least"),
      claim(
        f"{name}: squared distance to the source, over a sample's",
        0.75,
        values["distance"] / values["sample distance"],
        relation="at most",
      ),
      claim(
        f"{name}: share of the other digit, less SDEdit's at the same distance",
        0.0,
        values["share"] - values["sdedit share there"],
        relation="at least",
      ),
    ]
  return made
