"""Our side of `startup_speed`: a user's script up to its first step."""

import json
import sys
import tempfile

import numpy as np

from latentjax import data, models, objectives, training
from latentjax.data.transforms import to_float
from latentjax.training import TrainState


def stepped(state: TrainState) -> dict[str, float]:
  """Say so once, when the step has been computed."""
  int(state.step)
  print("stepped", flush=True)
  return {}


def main() -> None:
  """Train one batch."""
  problem = json.loads(sys.argv[1])
  dataset = data.load({"image": np.load(problem["data"], mmap_mode="r")})
  networks = models.mlp_vae((28, 28, 1), 20, hidden=(problem["hidden"],), activation="relu")
  vae = objectives.vae(networks.encode_fn, networks.decode_fn, latent_dim=20)
  config = training.TrainConfig(steps=1, batch_size=problem["batch_size"], eval_every=1)
  with tempfile.TemporaryDirectory() as folder:
    training.train(
      vae.objective,
      lambda key: (networks.init_fn(key), ()),
      training.make_optimizer(problem["learning_rate"]),
      dataset,
      config,
      folder,
      transform=to_float,
      evaluate=stepped,
    )


if __name__ == "__main__":
  main()
