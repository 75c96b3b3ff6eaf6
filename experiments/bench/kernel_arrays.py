"""The arrays of `kernel_speed`, the same on both sides; NumPy alone, so that any environment runs it."""

import numpy as np

TEMPERATURE = 0.5
LOGIT_SCALE, LOGIT_BIAS = 10.0, -10.0
EPSILON, ITERATIONS = 1.0, 20
DATASET_SIZE = 60_000


def make(kernel: str) -> tuple[np.ndarray, ...]:
  """What the kernel's gradient is taken to, float32."""
  rng = np.random.default_rng(0)
  if kernel == "total_correlation":  # z, mean, log variance
    mean = rng.normal(size=(1024, 32))
    log_variance = 0.3 * rng.normal(size=(1024, 32)) - 1
    z = mean + np.exp(0.5 * log_variance) * rng.normal(size=mean.shape)
    arrays = (z, mean, log_variance)
  elif kernel == "sinkhorn":
    arrays = (rng.normal(size=(1024, 16)), 0.5 + rng.normal(size=(1024, 16)))
  else:
    x = rng.normal(size=(4096, 128))
    y = x + rng.normal(size=x.shape)
    arrays = tuple(v / np.linalg.norm(v, axis=1, keepdims=True) for v in (x, y))
  return tuple(np.asarray(v, np.float32) for v in arrays)
