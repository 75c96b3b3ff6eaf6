"""Group posteriors against products and averages formed group by group."""

import jax.numpy as jnp
import numpy as np
from contract import check_kernel
from scipy import stats

from latentjax.losses.groups import (
  adaptive_shared_mask,
  group_average,
  group_product,
  group_sizes,
)

B, Z = 8, 3
RNG = np.random.default_rng(0)
MEAN, LOG_SCALE = RNG.standard_normal((2, B, Z))
GROUP = np.array([2, -1, 2, 5000, -1, 2, 5000, 7])  # across devices; any labels
EXTREME = [(MEAN, np.full((B, Z), s), GROUP) for s in (-40.0, 40.0)] + [
  (MEAN, np.where(np.arange(B)[:, None] % 2 == 0, -40.0, 40.0) + 0 * MEAN, GROUP)
]
BAD = [
  ((MEAN, LOG_SCALE, GROUP[:4]), {}, ValueError, "group must have shape \\(8,\\), got \\(4,\\)"),
  ((MEAN, LOG_SCALE, GROUP * 1.0), {}, TypeError, "group must be an integer array"),
  ((MEAN, LOG_SCALE[:, :2], GROUP), {}, ValueError, "mean and log_scale must have the same shape"),
]


def product(mean, log_scale, group):
  """Moments of the members' densities, multiplied on a grid."""
  x = np.linspace(-80, 80, 40_001)
  out = np.zeros((2, B, Z))
  for b in range(B):
    for d in range(Z):
      members = np.flatnonzero(group == group[b])
      log_p = stats.norm.logpdf(x[:, None], mean[members, d], np.exp(log_scale[members, d])).sum(1)
      p = np.exp(log_p - log_p.max())
      p /= p.sum()
      centre = (p * x).sum()
      out[:, b, d] = centre, 0.5 * np.log((p * (x - centre) ** 2).sum())
  return out[0], out[1]


def average(mean, log_scale, group):
  members = [np.flatnonzero(group == g) for g in group]
  variance = np.stack([np.mean([np.exp(log_scale[i]) ** 2 for i in m], axis=0) for m in members])
  return np.stack([mean[m].mean(0) for m in members]), np.log(np.sqrt(variance))


def test_product():
  check_kernel(
    group_product,
    (MEAN, LOG_SCALE, GROUP),
    oracle=product,
    batch_coupled=True,
    extreme=EXTREME,
    bad_inputs=BAD,
    rtol=1e-4,
    atol=1e-5,
  )


def test_average():
  check_kernel(
    group_average,
    (MEAN, LOG_SCALE, GROUP),
    oracle=average,
    batch_coupled=True,
    extreme=EXTREME,
    bad_inputs=BAD[:1],
  )


def test_sizes():
  check_kernel(
    group_sizes,
    (GROUP,),
    oracle=np.array([3, 2, 3, 2, 2, 3, 2, 1]),
    batch_coupled=True,
    bad_inputs=[((GROUP[None],), {}, ValueError, "group must have 1 axes")],
  )


def test_adaptive_mask():
  """The divergences are those of scipy's densities, integrated; the last row's are all equal."""
  other = RNG.standard_normal((2, B, Z))
  args = [MEAN.copy(), LOG_SCALE.copy(), other[0], other[1]]
  for a in args:
    a[-1] = a[-1, :1]
  x = np.linspace(-60, 60, 60_001)[:, None, None]
  log_a = stats.norm.logpdf(x, args[0], np.exp(args[1]))
  log_b = stats.norm.logpdf(x, args[2], np.exp(args[3]))
  delta = (np.exp(log_a) * (log_a - log_b)).sum(0) * (x[1, 0, 0] - x[0, 0, 0])
  halfway = (delta.max(1, keepdims=True) + delta.min(1, keepdims=True)) / 2
  expected = delta < halfway
  expected[-1] = False
  assert 0 < expected.mean() < 1
  check_kernel(
    adaptive_shared_mask,
    args,
    oracle=expected,
    detached=range(4),
    differentiable=[],
    bfloat16=False,
    bad_inputs=[
      ((*args[:3], args[3][:4]), {}, ValueError, "log_scale_b \\(4, 3\\)"),
      (args, {"threshold": 1.5}, ValueError, "threshold must be in"),
    ],
  )
  everything = np.asarray(adaptive_shared_mask(*map(jnp.float32, args), threshold=1.0))
  assert (everything[:-1].sum(1) == Z - 1).all()
  assert not adaptive_shared_mask(*map(jnp.float32, args), threshold=0.0).any()
