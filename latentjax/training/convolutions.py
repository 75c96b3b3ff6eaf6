"""Whether a program convolves, which XLA for CPUs does several times slower in a loop than outside one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from jax.extend.core import jaxprs_in_params

from latentjax.training.mesh import DATA_AXIS


def has_convolution(fn: Callable[..., Any], *args: Any, axis_name: str = DATA_AXIS) -> bool:
  """Whether a function of these arguments (arrays or shapes) convolves on JAX's default backend."""
  traced = jax.make_jaxpr(fn, axis_env=[(axis_name, 1)])(*args)
  return _convolves(traced.jaxpr, jax.default_backend())


def _convolves(jaxpr: Any, backend: str) -> bool:
  """Whether there is a convolution in it, or in what it calls; of a choice by platform, in the backend's."""
  for equation in jaxpr.eqns:
    if equation.primitive.name == "conv_general_dilated":
      return True
    called = list(jaxprs_in_params(equation.params))
    if platforms := equation.params.get("branches_platforms"):
      called = [next(b for p, b in zip(platforms, called) if p is None or backend in p)]
    if any(_convolves(inner, backend) for inner in called):
      return True
  return False
