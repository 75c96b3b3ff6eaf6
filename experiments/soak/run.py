"""The run that faults happen to: small, and in a process of its own.

It decodes a folder of images into the cache, trains a VAE on them, and prints the fingerprints of its
final state. Its metrics depend on every batch and on all noise: its log tells whether a step was lost or
done twice.
Command: python -m experiments.soak.run FOLDER[,FOLDER ...] JSON
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax

from latentjax import data, training
from latentjax.data.transforms import dynamic_binarize
from latentjax.models import mlp_vae
from latentjax.objectives import vae
from latentjax.training.checkpoint import fingerprints

STEPS, CHECKPOINT_EVERY = 600, 20
FIELDS = {"steps": STEPS, "batch_size": 16, "fused_steps": 10, "checkpoint_every": CHECKPOINT_EVERY}
SIDE, NUM_IMAGES = 8, 300
ERRORS = (ValueError, training.CheckpointError, training.NonFiniteError, training.WorkdirError)


def make_images(root: Path) -> None:
  """A folder of random images in two classes."""
  from PIL import Image

  random = np.random.default_rng(0)
  for i in range(NUM_IMAGES):
    path = root / "ab"[i % 2] / f"{i}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(random.integers(0, 256, (SIDE, SIDE), dtype=np.uint8)).save(path)


def train(folder: Path, images: Path, **fields: Any) -> dict[str, Any]:
  """Train on a folder of images; steps done and the fingerprints of the final state."""
  config = training.TrainConfig(**FIELDS | fields)
  networks = mlp_vae((SIDE, SIDE, 1), 4, hidden=(256,))
  model = vae(networks.encode_fn, networks.decode_fn, latent_dim=4, axis_name=config.axis_name)
  result = training.train(
    model.objective,
    lambda key: (networks.init_fn(key), ()),
    optax.adam(1e-3),
    data.load(images),
    config,
    folder,
    transform=dynamic_binarize,
    progress=False,
  )
  return {
    "steps_run": result.steps_run,
    "fingerprints": np.asarray(fingerprints(result.state)).tolist(),
  }


def log(folder: Path) -> bytes:
  """The metrics log as it is on disk."""
  return (folder / "metrics.jsonl").read_bytes()


def main(argv: list[str]) -> int:
  """One or several runs, one after the other; a line of JSON for each."""
  folders, arguments = argv[0].split(","), json.loads(argv[1])
  images, distributed = Path(arguments.pop("images")), arguments.pop("distributed", None)
  jax.config.update("jax_compilation_cache_dir", os.environ["SOAK_XLA_CACHE"])
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
  try:
    if distributed:
      training.initialize_distributed(**distributed)
    for folder in folders:
      print(json.dumps(train(Path(folder), images, **arguments)), flush=True)
  except ERRORS as error:
    print(f"error: {error}", file=sys.stderr)
    return 1
  return 0


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
