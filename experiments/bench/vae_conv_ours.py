"""Our side: `latentjax.training.train` as a user calls it, on `models.conv_vae`; see `vae_mlp_ours`.

A round has no checkpoint in it: one comes every 1,000 steps, 128,000 images.
"""

from pathlib import Path

from experiments.bench import vae_mlp_ours, worker
from latentjax import objectives
from latentjax.models import Networks, conv_vae


class Side(vae_mlp_ours.Side):
  """The model, and runs of it."""

  def __init__(self, problem: worker.Problem, scratch: Path) -> None:
    super().__init__(problem, scratch)
    self.unit = self.mark_every

  def build(self) -> tuple[Networks, objectives.LatentModel]:
    """What is trained."""
    shape, latent_dim = self.images.shape[1:], self.problem.latent_dim
    networks = conv_vae(shape, latent_dim, channels=(32, 64), hidden=self.problem.hidden)
    return networks, objectives.vae(networks.encode_fn, networks.decode_fn, latent_dim=latent_dim)


if __name__ == "__main__":
  vae_mlp_ours.main(Side)
