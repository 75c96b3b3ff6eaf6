"""Values of pythae's losses on given arrays: reads an .npz file, prints one JSON object.

Runs in the peer's environment. Every loss is pythae's own `loss_function` of the model named.
"""

import json
import sys
from typing import Any

import numpy as np
import torch
from pythae import models
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseEncoder
from torch import nn


class Encoder(BaseEncoder):
  """The linear encoder of the comparison."""

  def __init__(self, weight: torch.Tensor, log_var: float) -> None:
    super().__init__()
    self.weight = nn.Parameter(weight)
    self.log_var = log_var

  def forward(self, x: torch.Tensor) -> ModelOutput:
    mean = x.reshape(len(x), -1) @ self.weight
    return ModelOutput(embedding=mean, log_covariance=torch.full_like(mean, self.log_var))


class Decoder(BaseDecoder):
  """The linear decoder of the comparison."""

  def __init__(self, weight: torch.Tensor) -> None:
    super().__init__()
    self.weight = nn.Parameter(weight)

  def forward(self, z: torch.Tensor) -> ModelOutput:
    return ModelOutput(reconstruction=z @ self.weight.T)


def main(path: str) -> None:
  """Evaluate every loss."""
  arrays = np.load(path)
  t = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
  x, probs, mean, log_var = t["x"], t["probs"], t["mean"], t["log_var"]
  z, z_prior, zs = t["z"], t["z_prior"], t["zs"]  # zs: (B, M, K, Z), as pythae orders them
  dim, latent, n = x.shape[1], z.shape[1], int(arrays["dataset_size"])
  num_groups, num_samples = zs.shape[1:3]

  def model(name: str, **kwargs: Any) -> Any:
    base = {"input_dim": (1, 1, dim), "latent_dim": latent}
    joint = "_" if "_" in name else ""
    settings = getattr(models, f"{name}{joint}Config")(**base | kwargs)
    networks = (Encoder(t["encoder"], float(arrays["code_log_var"])), Decoder(t["decoder"]))
    return getattr(models, name)(settings, *networks)

  bce = {"reconstruction_loss": "bce"}
  four = (probs, x, mean, log_var)
  flat = (t["probs_flat"], x, mean[:, None], log_var[:, None], zs.flatten(1, 2))
  grouped = (t["probs_grouped"], x, mean[:, None, None], log_var[:, None, None], zs)
  groups = {"number_gradient_estimates": num_groups, "number_samples": num_samples}
  out: dict[str, float] = {}

  def put(name: str, value: torch.Tensor) -> None:
    out[name] = float(value.detach())

  put("VAE", model("VAE", **bce).loss_function(*four, z)[0])
  put("VAE, Gaussian", model("VAE").loss_function(t["x_hat"], x, mean, log_var, z)[0])
  put("beta-VAE", model("BetaVAE", beta=4.0, **bce).loss_function(*four, z)[0])
  capacity = model("DisentangledBetaVAE", beta=10.0, C=3.0, warmup_epoch=1, **bce)
  put("capacity", capacity.loss_function(*four, z, 100)[0])
  for use_mss, name in ((False, "weighted"), (True, "stratified")):
    tc = model("BetaTCVAE", beta=6.0, use_mss=use_mss, **bce)
    put(f"beta-TCVAE, {name}", tc.loss_function(*four, z, n)[0])
  for kernel in ("rbf", "imq"):
    info = model("INFOVAE_MMD", kernel_choice=kernel, alpha=0.5, lbd=10.0, **bce)
    put(f"InfoVAE, {kernel}", info.loss_function(probs, x, z, z_prior, mean, log_var)[0])
  put("WAE-MMD", model("WAE_MMD", reg_weight=10.0).loss_function(t["x_hat"], x, z, z_prior)[0])
  factor = model("FactorVAE", gamma=5.0, **bce)
  factor.discriminator = nn.Linear(latent, 2, bias=False)
  factor.discriminator.weight = nn.Parameter(t["discriminator"].T)
  _, loss, discriminator = factor.loss_function(*four, z, t["z_shuffled"])
  put("FactorVAE", loss)
  put("FactorVAE, discriminator", discriminator)
  put("IWAE", model("IWAE", number_samples=num_groups * num_samples, **bce).loss_function(*flat)[0])
  put("MIWAE", model("MIWAE", **groups, **bce).loss_function(*grouped)[0])
  ciwae = model("CIWAE", number_samples=num_groups * num_samples, beta=0.3, **bce)
  put("CIWAE", ciwae.loss_function(*flat)[0])
  vamp = model("VAMP", number_components=len(t["pseudo_inputs"]), **bce)
  vamp.pseudo_inputs = nn.Identity()
  vamp.idle_input = t["pseudo_inputs"]
  put("VampPrior", vamp.loss_function(*four, z, 100)[0])
  for name in ("RAE_L2", "RAE_GP"):
    rae = model(name, embedding_weight=0.2, **({"reg_weight": 0.3} if name == "RAE_GP" else {}))
    data = x.clone().requires_grad_(True)
    code = rae.encoder(data).embedding
    put(
      name.replace("_", "-"), rae.loss_function(rae.decoder(code)["reconstruction"], data, code)[0]
    )
  sphere = model("SVAE", **bce)
  put("vMF divergence", sphere._compute_kl(latent, t["concentration"]).mean())
  print(json.dumps(out))


if __name__ == "__main__":
  main(sys.argv[1])
