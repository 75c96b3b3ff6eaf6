"""Runge-Kutta against the matrix exponential, its order, and its gradient."""

import jax
import jax.numpy as jnp
import numpy as np
from contract import check_kernel
from scipy.linalg import expm

from latentjax.sequence import rk4

RNG = np.random.default_rng(0)
MATRIX = RNG.standard_normal((3, 3))
START, TIMES = RNG.standard_normal((8, 3)), np.linspace(0.0, 0.5, 6)


def linear(y, t):
  return y @ jnp.asarray(MATRIX.T, y.dtype)


def test_rk4():
  exact = lambda y, t: np.stack([y @ expm(MATRIX * s).T for s in t])
  check_kernel(
    lambda y, times, **kwargs: rk4(y, times, linear, **kwargs),
    (START, TIMES),
    oracle=lambda y, t, **_: exact(y, t),
    kwargs={"num_substeps": 2},
    batch_axes=(0, None),
    out_axes=1,
    bfloat16=False,
    rtol=2e-4,
    atol=1e-5,
    bad_inputs=[
      ((START.astype(int), TIMES), {}, TypeError, "y must be a floating point"),
      ((START, TIMES[None]), {}, ValueError, "times must have 1 axes"),
      ((START, TIMES), {"num_substeps": 0}, ValueError, "num_substeps must be a positive"),
    ],
  )


def test_the_error_is_of_fourth_order_in_time_dependent_systems():
  """y' = -2 t y, y = exp(-t^2): halving the step divides the error by 16."""
  with jax.enable_x64(True):
    times = jnp.linspace(0.0, 1.0, 6)
    errors = [
      abs(rk4(jnp.ones(()), times, lambda y, t: -2 * t * y, num_substeps=n)[-1] - np.exp(-1))
      for n in (1, 2)
    ]
  assert 13 < errors[0] / errors[1] < 19
