"""Values and gradients of lightly's and pytorch-metric-learning's losses on given arrays, as one JSON object.

Runs in the peers' environment. Every loss is the peer's own class, with its settings named here.
"""

import json
import sys
from collections.abc import Callable

import numpy as np
import torch
from lightly import loss as lightly
from pytorch_metric_learning import losses as pml


def main(path: str) -> None:
  """Evaluate every loss."""
  arrays = np.load(path)
  t = {name: torch.from_numpy(np.ascontiguousarray(arrays[name])) for name in arrays.files}
  z_2, labels, scores = t["z_2"], t["labels"], t["scores"]
  batch, dim = z_2.shape
  num_prototypes = scores.shape[-1]
  unit = torch.nn.functional.normalize
  out: dict[str, dict] = {}

  def put(name: str, fn: Callable, x: torch.Tensor) -> None:
    x = x.clone().requires_grad_(True)
    value = fn(x).sum()
    value.backward()
    out[name] = {"value": float(value.detach()), "grad": x.grad.tolist()}

  pairs = {
    "NT-Xent": lightly.NTXentLoss(temperature=0.5),
    "DCL": lightly.DCLLoss(temperature=0.1),
    "DCLW": lightly.DCLWLoss(temperature=0.1, sigma=0.5),
    "Barlow Twins": lightly.BarlowTwinsLoss(),
    "VICReg": lightly.VICRegLoss(),
    "TiCo": lightly.TiCoLoss(rho=8.0),
  }
  for name, fn in pairs.items():
    put(f"{name}, lightly", lambda z, fn=fn: fn(z, z_2), t["z_1"])
  cosine = lightly.NegativeCosineSimilarity()
  put(
    "SimSiam, lightly",
    lambda p: 0.5 * (cosine(p, z_2) + cosine(t["prediction"], t["z_1"])),
    t["z_1"].flip(0),
  )
  whitening = lightly.WMSELoss(embedding_dim=dim, eps=1e-3, w_size=batch)
  put("W-MSE, lightly", lambda z: whitening(torch.cat([z, z_2])), t["z_1"])
  put("KoLeo, lightly", lightly.KoLeoLoss(), t["z_1"])
  mmcr = lightly.MMCRLoss(lmda=5e-3)
  put("MMCR, lightly", lambda z: mmcr(unit(z)[:, None], unit(z_2)[:, None]), t["z_1"])
  put("FroSSL, lightly", lambda z: lightly.FroSSLLoss()([z, z_2]), t["z_1"])
  msn = lightly.MSNLoss(temperature=0.1, sinkhorn_iterations=0)
  put("MSN, lightly", lambda z: msn(z, z_2, t["prototypes"]), t["z_1"])
  swav = lightly.SwaVLoss()
  put("SwAV, lightly", lambda s: swav([s, scores[1]], [scores[2]]), scores[0])
  dino = lightly.DINOLoss(output_dim=num_prototypes)
  dino.center = t["centre"].reshape(1, 1, num_prototypes)
  put("DINO, lightly", lambda s: dino(list(t["teacher"]), [s, *scores[1:]]), scores[0])
  nt_xent = pml.SelfSupervisedLoss(pml.NTXentLoss(temperature=0.5))
  put("NT-Xent, pytorch-metric-learning", lambda z: nt_xent(z, z_2), t["z_1"])
  sup_con = pml.SupConLoss(temperature=0.1)
  put("SupCon, pytorch-metric-learning", lambda z: sup_con(z, labels), t["z_1"])
  print(json.dumps(out))


if __name__ == "__main__":
  main(sys.argv[1])
