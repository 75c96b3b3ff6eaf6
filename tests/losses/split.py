"""Values and gradients over devices of several losses at once, for what needs no full `check_kernel`."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from contract import AXIS, fast_jit
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P


def check_split(fn, args, oracle):
  """`fn(*args, axis_name=...)` and its slope against numpy's, in float64.

  With the rows sharded over 8 devices under `jit`, inside `pmap` over 8 and inside `shard_map` over 4.

  Args:
    fn: returns a dict of scalars, the same on every device (`collectives.device_mean` of means).
    args: float64 arrays, split along their first axis, with a multiple of 8 rows.
    oracle: the same dict from the whole arrays.
  """
  expected, slope = oracle(*args), _slope(oracle, args)
  with jax.enable_x64(True):
    for name, run in {"jit": _sharded, "pmap": _pmapped, "shard_map": _shard_mapped}.items():
      grads, values = run(fn, args)
      for key, value in expected.items():
        np.testing.assert_allclose(values[key], value, rtol=1e-9, err_msg=f"{key} in {name}")
      products = [np.sum(np.reshape(g, d.shape) * d) for g, d in zip(grads, _directions(args))]
      np.testing.assert_allclose(sum(products), slope, rtol=1e-6, err_msg=name)


def _directions(args):
  rng = np.random.default_rng(1)
  return [rng.standard_normal(array.shape) for array in args]


def _slope(oracle, args, step=1e-5):
  ends = [
    sum(oracle(*(a + sign * step * d for a, d in zip(args, _directions(args)))).values())
    for sign in (1, -1)
  ]
  return (ends[0] - ends[1]) / (2 * step)


def _grads_and_values(fn, num_devices, axis_name, *args):
  def total(*args):
    values = fn(*args, axis_name=axis_name)
    return sum(values.values()) / num_devices, values  # each device has its share of the total

  return jax.grad(total, argnums=tuple(range(len(args))), has_aux=True)(*args)


def _mesh(count):
  return Mesh(np.array(jax.devices()[:count]), (AXIS,))


def _sharded(fn, args):
  sharding = NamedSharding(_mesh(8), P(AXIS))
  run = fast_jit(partial(_grads_and_values, fn, 1, None))
  return run(*(jax.device_put(jnp.asarray(array), sharding) for array in args))


def _pmapped(fn, args):
  run = jax.pmap(partial(_grads_and_values, fn, 8, AXIS), AXIS, devices=jax.devices()[:8])
  return run(*(array.reshape(8, -1, *array.shape[1:]) for array in args))


def _shard_mapped(fn, args):
  def local(*args):
    grads, values = _grads_and_values(fn, 4, AXIS, *args)
    return grads, {name: value[None] for name, value in values.items()}

  run = jax.shard_map(local, mesh=_mesh(4), in_specs=P(AXIS), out_specs=P(AXIS), check_vma=False)
  return fast_jit(run)(*args)
