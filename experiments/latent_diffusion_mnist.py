"""Diffusion of a VAE's latents by a transformer: digits of the class that is asked for, by 16 tokens.

Claim (Rombach et al. 2022, abstract): diffusion in the latent space of a pretrained autoencoder makes
images at a fraction of the computation in pixels. The autoencoder's divergence has a small weight, so that it
keeps details and its own prior makes no digits; a diffusion model of the latents does. MNIST at 28 x 28; 4
x 4 latents of 4 channels; a DiT with classifier-free guidance.
Command: python -m experiments latent_diffusion_mnist --data_dir=DIR; on an accelerator with --full: 12 blocks
of width 384, 50,000 steps, 10,000 samples.
Expected: Frechet distance, in the features of a classifier, of guided samples (scale 2, 50 steps of DDIM)
at most half that of what the VAE decodes from N(0, I), and the share that the classifier puts in their class
at least 0.95 (real digits: 0.99). A step of the sampler costs at most a tenth of the floating point
operations of the same transformer on the pixels, in patches of 2 x 2. Reconstructions of test digits, the
best that can be hoped for, are in the details.
Time: about five minutes on one CPU core.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from experiments import harness
from experiments.harness import Claim, Outcome, denoising, pictures
from experiments.harness.generation import NUM_CLASSES, Setting, balanced, generator
from experiments.harness.grid_vae import LATENTS, fit_grid_vae
from experiments.harness.quality import fit_judge, quality
from latentjax import data
from latentjax.diffusion.processes import vp_cosine
from latentjax.models import DiT
from latentjax.objectives import diffusion
from latentjax.training import train

PAPERS: dict[int, str] = {}  # what every library of diffusion has; row 210 is `diffusion_ablation`
FUNCTIONS = (
  "models.DiT",
  "objectives.vae",
  "diffusion.guidance.classifier_free",
  "metrics.frechet_distance",
)
QUICK = {"steps": 20, "vae_steps": 20, "samples": 20, "sample_steps": 2, "judge_steps": 100}
ROMBACH = "Rombach et al. 2022, abstract; the number is set here"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(harness.Config):
  """Flags of this experiment."""

  steps: int = 1000
  batch_size: int = 128
  learning_rate: float = 2e-3
  schedule: str = "cosine"
  warmup_steps: int = 10
  ema_decay: float | None = 0.99
  full: bool = False
  """A DiT of size S and more steps, whatever the other flags say."""
  width: int = 64
  """Of the DiT."""
  depth: int = 4
  """Blocks of the DiT."""
  vae_steps: int = 600
  """Of the autoencoder's training."""
  beta: float = 0.2
  """Weight of the autoencoder's divergence."""
  samples: int = 500
  """Samples that are judged."""
  sample_steps: int = 50
  """Of DDIM."""
  judge_steps: int = 1200
  """Of the classifier's training."""

  def __post_init__(self) -> None:
    if self.full:
      large = {"width": 384, "depth": 12, "steps": 50_000, "vae_steps": 20_000, "batch_size": 256}
      large |= {"learning_rate": 3e-4, "warmup_steps": 500, "ema_decay": 0.9995}
      for name, value in (large | {"samples": 10_000}).items():
        object.__setattr__(self, name, value)
    super().__post_init__()


def transformer(
  config: Config, patch: int, shape: tuple[int, ...], unroll: int = 1
) -> denoising.Network:
  """The transformer for data of a shape, in patches."""
  size = {"width": config.width, "depth": config.depth, "num_classes": NUM_CLASSES}
  module = DiT(patch_size=patch, unroll=unroll, dtype=config.compute_dtype, **size)
  return denoising.bind(module, shape, np.int32(0))


def flops(config: Config, patch: int, shape: tuple[int, ...]) -> float:
  """Floating point operations of one evaluation of the transformer for one example."""
  # The loop over blocks is written out: its cost would be that of one block.
  network = transformer(config, patch, shape, unroll=config.depth)
  params = jax.eval_shape(network.init_fn, jax.random.key(0))
  arrays = jnp.zeros((1, *shape)), jnp.zeros(1), jnp.zeros(1, jnp.int32)
  return jax.jit(network.predict_fn).lower(params, *arrays).cost_analysis()["flops"]


def run(config: Config) -> Outcome:
  """Train the autoencoder, then the diffusion model of its latents; sample, judge."""
  digits, test = (denoising.images("mnist", split, config) for split in ("train", "test"))
  judge = fit_judge(digits.x, digits.labels, config.folder / "judge", steps=config.judge_steps)
  autoencoder = fit_grid_vae(
    digits.x,
    dataclasses.replace(config, full=False),  # or it would set the steps again
    config.folder / "vae",
    steps=config.vae_steps,
    beta=config.beta,
  )
  mean, scale = autoencoder.encode(digits.x)
  z = np.asarray(mean + scale * jax.random.normal(jax.random.key(2), mean.shape))
  unit = z.std()  # one number for all, as in the paper: the latents' variance becomes 1
  network, process = transformer(config, 1, LATENTS), vp_cosine()
  model = diffusion(
    network.predict_fn,
    process=process,
    prediction="v",
    feature="latent",
    condition="label",
    null_condition=NUM_CLASSES,
    axis_name=config.axis_name,
  )
  result = train(
    model.objective,
    lambda key: (network.init_fn(key), ()),
    config.optimizer(),
    data.load({"latent": z / unit, "label": digits.labels}),
    config,
    config.folder,
    name="latent_diffusion_mnist",
  )
  params = config.first_seed(result.state.eval_params)
  generate, key = generator(model.denoise, LATENTS, process, bound=None), jax.random.key(1)

  real, some = digits.take(slice(config.samples)), test.take(slice(config.samples))
  labels = balanced(config.samples)
  prior = jax.random.normal(key, (config.samples, *LATENTS))
  shown = {
    "real digits": (real.x, real.labels),
    "reconstructions": (autoencoder.decode(autoencoder.encode(some.x)[0]), some.labels),
    "VAE's prior": (autoencoder.decode(prior), None),
  }
  for guidance in (1.0, 2.0):
    setting = Setting("ddim", config.sample_steps, guidance)
    sample = autoencoder.decode(unit * generate(params, key, labels, setting))
    shown[f"scale {guidance:g}"] = sample, labels
  reference = judge.features(some.x)
  found = {name: quality(np.asarray(x), y, judge, reference) for name, (x, y) in shown.items()}
  pictures.image_grid(
    config.folder / "samples.png",
    [denoising.to_unit(x[:20]) for x, _ in shown.values()],
    title=f"Latent diffusion of MNIST after {config.steps:,} steps of training",
    labels=list(shown),
  )
  ours, ratio = found["scale 2"], found["scale 2"]["frechet"] / found["VAE's prior"]["frechet"]
  cost = {"latents": flops(config, 1, LATENTS), "pixels": flops(config, 2, test.x.shape[1:])}
  claims = [
    ("Frechet distance, samples over the VAE's prior", 0.5, ratio, "at most"),
    ("accuracy of the classifier on samples", 0.95, ours["accuracy"], "at least"),
    ("operations of a step, latents over pixels", 0.1, cost["latents"] / cost["pixels"], "at most"),
  ]
  return Outcome(
    claims=[
      Claim(f"{what}, latent diffusion of MNIST", expected, [measured], ROMBACH, relation, unit="")
      for what, expected, measured, relation in claims
    ],
    details={
      "quality": found,
      "samples": config.samples,
      "flops": cost,
      "examples_per_second": result.examples_per_second,
    },
  )
