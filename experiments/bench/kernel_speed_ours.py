"""Our side of `kernel_speed`: a user's one line, jitted, with its gradient."""

import time
from collections.abc import Callable

import jax

from experiments.bench import kernel_arrays, worker
from latentjax.losses import contrastive
from latentjax.losses.elbo import tcvae_kl, total_correlation_terms
from latentjax.transport import sinkhorn_divergence

BLOCK = 512


def total_correlation(z: jax.Array, mean: jax.Array, log_variance: jax.Array) -> jax.Array:
  """Mean of beta-TCVAE's penalty."""
  size = kernel_arrays.DATASET_SIZE
  terms = total_correlation_terms(z, mean, log_variance / 2, dataset_size=size)
  return tcvae_kl(terms).mean()


def nt_xent(x: jax.Array, y: jax.Array, block_size: int | None = None) -> jax.Array:
  """Mean of SimCLR's loss."""
  temperature = kernel_arrays.TEMPERATURE
  return contrastive.nt_xent(x, y, temperature=temperature, block_size=block_size).mean()


def siglip(x: jax.Array, y: jax.Array, block_size: int | None = None) -> jax.Array:
  """Mean of the sigmoid loss."""
  scale, bias = kernel_arrays.LOGIT_SCALE, kernel_arrays.LOGIT_BIAS
  loss = contrastive.siglip_loss(x, y, logit_scale=scale, logit_bias=bias, block_size=block_size)
  return loss.mean()


def sinkhorn(x: jax.Array, y: jax.Array) -> jax.Array:
  """Divergence of two sets."""
  epsilon, steps = kernel_arrays.EPSILON, kernel_arrays.ITERATIONS
  return sinkhorn_divergence(x[None], y[None], epsilon=epsilon, num_iterations=steps)[0]


KERNELS: dict[str, Callable[..., jax.Array]] = {
  f.__name__: f for f in (total_correlation, nt_xent, siglip, sinkhorn)
}


def main() -> None:
  """Compile, and answer."""
  problem, channel = worker.start()
  arrays = [jax.numpy.asarray(x) for x in kernel_arrays.make(problem.objective)]
  kernel = KERNELS[problem.objective]
  blocks = {"block_size": BLOCK} if problem.variant == "blocks" else {}
  both = jax.jit(jax.value_and_grad(lambda *a: kernel(*a, **blocks), tuple(range(len(arrays)))))
  before, begin = worker.peak_rss_mib(), time.perf_counter()
  value, _ = jax.block_until_ready(both(*arrays))
  channel.send(first_seconds=time.perf_counter() - begin, value=float(value), mib_before=before)

  def step() -> int:
    jax.block_until_ready(both(*arrays))
    return 1

  channel.serve(lambda seconds: worker.steps_for(seconds, step))


if __name__ == "__main__":
  main()
