"""Values and gradients on four devices in one program, for what needs no full `check_kernel`."""

import jax
import numpy as np
from contract import AXIS
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P


def check_split(fn, args, oracle):
  """`fn(*args, axis_name=...)` in float64 inside shard_map, and its slope, against numpy's.

  Args:
    fn: returns a dict of scalars, the same on every device.
    args: float64 arrays, split along their first axis.
    oracle: the same dict from the whole arrays.
  """

  def local(*args):
    def total(*args):
      values = fn(*args, axis_name=AXIS)
      return sum(values.values()) / 4, values  # each device has its share of the total

    grads, values = jax.grad(total, argnums=tuple(range(len(args))), has_aux=True)(*args)
    return grads, {name: value[None] for name, value in values.items()}

  mesh = Mesh(np.array(jax.devices()[:4]), (AXIS,))
  mapped = jax.shard_map(local, mesh=mesh, in_specs=P(AXIS), out_specs=P(AXIS), check_vma=False)
  with jax.enable_x64(True):
    grads, values = jax.jit(mapped)(*args)
  for name, value in oracle(*args).items():
    np.testing.assert_allclose(values[name], np.full(4, value), rtol=1e-9, err_msg=name)
  rng, step = np.random.default_rng(1), 1e-5
  directions = [rng.standard_normal(array.shape) for array in args]
  ends = [
    sum(oracle(*(a + sign * step * d for a, d in zip(args, directions))).values())
    for sign in (1, -1)
  ]
  slope = sum((np.asarray(grad) * d).sum() for grad, d in zip(grads, directions))
  np.testing.assert_allclose(slope, (ends[0] - ends[1]) / (2 * step), rtol=1e-6)
