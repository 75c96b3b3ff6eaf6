"""Schedulers of diffusers on a given denoiser, start and noise, as one JSON object; there.

Every scheduler is the peer's own class. The denoiser is the exact one of a mixture of normal clusters, at the
levels that the scheduler itself holds for a step; they are part of the answer.
"""

import json
import sys
from typing import Any

import diffusers
import numpy as np
import torch

PLAIN = {"prediction_type": "sample", "clip_sample": False}
CASES: dict[str, tuple[str, dict[str, Any], int]] = {
  "DDPM": ("DDPMScheduler", {**PLAIN, "timestep_spacing": "leading"}, 50),
  "DDPM, large variance": (
    "DDPMScheduler",
    {**PLAIN, "timestep_spacing": "leading", "variance_type": "fixed_large"},
    50,
  ),
  "DDPM, large variance, trailing steps": (
    "DDPMScheduler",
    {**PLAIN, "timestep_spacing": "trailing", "variance_type": "fixed_large"},
    20,
  ),
  "DDIM": ("DDIMScheduler", {**PLAIN, "timestep_spacing": "leading"}, 50),
  "DDIM, eta 0.7": ("DDIMScheduler", {**PLAIN, "timestep_spacing": "leading"}, 50),
  "DDIM, steps that do not divide 1,000": (
    "DDIMScheduler",
    {**PLAIN, "timestep_spacing": "trailing"},
    600,
  ),
  "Euler": ("EulerDiscreteScheduler", {"prediction_type": "sample"}, 20),
  "Heun": ("HeunDiscreteScheduler", {"prediction_type": "sample"}, 20),
  "DPM-Solver++ 2M": ("DPMSolverMultistepScheduler", {"prediction_type": "sample"}, 20),
  "DPM-Solver++ 2M, SDE": (
    "DPMSolverMultistepScheduler",
    {"prediction_type": "sample", "algorithm_type": "sde-dpmsolver++"},
    20,
  ),
  "UniPC, order 1": (
    "UniPCMultistepScheduler",
    {"prediction_type": "sample", "solver_order": 1},
    20,
  ),
  "UniPC, order 2": ("UniPCMultistepScheduler", {"prediction_type": "sample"}, 20),
  "UniPC, order 3": (
    "UniPCMultistepScheduler",
    {"prediction_type": "sample", "solver_order": 3},
    20,
  ),
  "flow, Euler": ("FlowMatchEulerDiscreteScheduler", {}, 20),
  "flow, Heun": ("FlowMatchHeunDiscreteScheduler", {}, 20),
  "flow, DPM-Solver++ 2M": (
    "DPMSolverMultistepScheduler",
    {"prediction_type": "flow_prediction", "use_flow_sigmas": True},
    20,
  ),
  "flow, UniPC, order 2": (
    "UniPCMultistepScheduler",
    {"prediction_type": "flow_prediction", "use_flow_sigmas": True},
    20,
  ),
}


def main(path: str) -> None:
  """Run every case in both precisions."""
  arrays = np.load(path)
  out = {
    name: {str(dtype): run(name, arrays, dtype) for dtype in ("float64", "float32")}
    for name in CASES
  }
  print(json.dumps({"version": diffusers.__version__, "cases": out}))


def run(name: str, arrays: Any, dtype: str) -> dict[str, Any]:
  """Final sample, and the levels (alpha, sigma) of the steps."""
  kind, settings, num_steps = CASES[name]
  t = {key: torch.from_numpy(arrays[key]).to(getattr(torch, dtype)) for key in ("means", "weights")}
  noise = torch.from_numpy(arrays[f"noise_{dtype}_{num_steps}"])
  scheduler = getattr(diffusers, kind)(**settings)
  scheduler.set_timesteps(num_steps)
  in_sigma = kind in ("EulerDiscreteScheduler", "HeunDiscreteScheduler")
  flow = name.startswith("flow")
  by_index = not hasattr(scheduler, "sigmas")
  if dtype == "float64":  # the numbers stay what they are, the arithmetic is wider
    for attribute in ("alphas_cumprod", "one", "final_alpha_cumprod", "sigmas"):
      if hasattr(scheduler, attribute):
        setattr(scheduler, attribute, getattr(scheduler, attribute).double())
  alpha, sigma = levels(scheduler, kind, flow)

  def denoise(z: torch.Tensor, alpha: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    means, scale = t["means"], float(arrays["scale"])
    variance = (alpha * scale) ** 2 + sigma**2
    squares = (z[:, None] - alpha * means).square().sum(-1)
    weights = torch.softmax(t["weights"].log() - squares / (2 * variance), dim=1)
    by_cluster = means + alpha * scale**2 / variance * (z[:, None] - alpha * means)
    return (weights[..., None] * by_cluster).sum(1)

  x = torch.from_numpy(arrays["x_init"]).to(getattr(torch, dtype))
  if in_sigma:
    x = x / alpha[0]
  draws = iter(noise)
  module = sys.modules[type(scheduler).__module__]
  if hasattr(module, "randn_tensor"):
    module.randn_tensor = lambda shape, **_: next(draws)
  for i, time in enumerate(scheduler.timesteps):
    z = scheduler.scale_model_input(x, time) if in_sigma else x
    # Heun's second evaluation of a step is at the next level.
    at = (i + 1) // 2 if "Heun" in kind else i
    x0 = denoise(z, alpha[at], sigma[at])
    given = (x - x0) / sigma[at] if flow else x0
    extra = {"eta": 0.7} if "eta" in name else {}
    x = scheduler.step(given, time.item() if by_index else time, x, **extra).prev_sample
  return {"x": x.tolist(), "alpha": alpha.tolist(), "sigma": sigma.tolist()}


def levels(scheduler: Any, kind: str, flow: bool) -> tuple[torch.Tensor, torch.Tensor]:
  """alpha and sigma at every evaluation and at the end, without noise."""
  if hasattr(scheduler, "sigmas"):
    ratio = scheduler.sigmas
    ratio = torch.cat([ratio[:1], ratio[1::2]]) if "Heun" in kind else ratio
    if flow:
      return 1 - ratio, ratio
    alpha = 1 / (1 + ratio**2).sqrt()
    return alpha, alpha * ratio
  squared = scheduler.alphas_cumprod[scheduler.timesteps]
  squared = torch.cat([squared, torch.ones_like(squared[:1])])
  return squared.sqrt(), (1 - squared).sqrt()


if __name__ == "__main__":
  main(sys.argv[1])
