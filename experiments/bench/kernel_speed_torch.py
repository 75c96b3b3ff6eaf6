"""The peers of `kernel_speed`, each called as its library means it to be."""

import functools
import time
import types
from collections.abc import Callable

import torch

from experiments.bench import kernel_arrays, worker


def total_correlation(z: torch.Tensor, mean: torch.Tensor, log_var: torch.Tensor) -> torch.Tensor:
  """pythae's BetaTCVAE with minibatch weighted sampling; its reconstruction is of nothing."""
  from pythae.models import BetaTCVAE

  settings = types.SimpleNamespace(reconstruction_loss="mse")
  model = types.SimpleNamespace(
    model_config=settings,
    use_mss=False,
    alpha=1.0,
    beta=6.0,
    gamma=1.0,
    _compute_log_gauss_density=functools.partial(BetaTCVAE._compute_log_gauss_density, None),
  )
  nothing = torch.zeros(len(z), 1)
  size = kernel_arrays.DATASET_SIZE
  return BetaTCVAE.loss_function(model, nothing, nothing, mean, log_var, z, size)[2]


def nt_xent(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
  """lightly's."""
  from lightly.loss import NTXentLoss

  return NTXentLoss(temperature=kernel_arrays.TEMPERATURE)(x, y)


def siglip(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
  """All logits at once, as in the paper's pseudo-code; the mean over images of the sum over texts."""
  logits = kernel_arrays.LOGIT_SCALE * x @ y.T + kernel_arrays.LOGIT_BIAS
  labels = 2 * torch.eye(len(x)) - 1
  return -torch.nn.functional.logsigmoid(labels * logits).sum() / len(x)


def sinkhorn(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
  """geomloss's, annealed from the diameter of the data; its gradient is that of the last iteration."""
  from geomloss import SamplesLoss

  blur = kernel_arrays.EPSILON**0.5
  return SamplesLoss("sinkhorn", p=2, blur=blur, scaling=0.9, backend="tensorized")(x, y)


KERNELS: dict[str, Callable[..., torch.Tensor]] = {
  f.__name__: f for f in (total_correlation, nt_xent, siglip, sinkhorn)
}


def main() -> None:
  """Warm up, and answer."""
  problem, channel = worker.start()
  torch.set_num_threads(worker.num_threads())
  arrays = [torch.from_numpy(x).requires_grad_() for x in kernel_arrays.make(problem.objective)]
  kernel = KERNELS[problem.objective]

  def both() -> float:
    for x in arrays:
      x.grad = None
    value = kernel(*arrays)
    value.backward()
    return value.item()

  before, begin = worker.peak_rss_mib(), time.perf_counter()
  value = both()
  channel.send(first_seconds=time.perf_counter() - begin, value=value, mib_before=before)

  def step() -> int:
    both()
    return 1

  channel.serve(lambda seconds: worker.steps_for(seconds, step))


if __name__ == "__main__":
  main()
