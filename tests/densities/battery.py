"""What every family of independent variables is held to, given only its elementwise log-density.

A `Family` is a row of tests/densities/test_families.py. Its oracle `log_p(x, *params)` is scipy's or a
float64 transcription, its `grid` enumerates (or integrates over) the support; normalisation, mean,
entropy and divergence all follow from these two.
"""

import inspect
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import check_kernel
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

B, D = 8, 3


class Family(NamedTuple):
  """Attributes:
  module: the family.
  x: points, shape (B, D).
  params: parameters, each (B, D, ...); those of `kl`'s second density are the rows in reverse.
  log_p: independent log-density of every element, float64.
  grid: (points, weights) that sum over the support of an element with these parameters.
  extreme: more argument lists (x, *params).
  reparameterised: whether samples carry gradients.
  encode: the number whose moments are tested and whose expectation `mean` is.
  """

  module: ModuleType
  x: np.ndarray
  params: tuple[np.ndarray, ...]
  log_p: Callable
  grid: Callable
  extreme: tuple = ()
  reparameterised: bool = False
  encode: Callable = lambda x: x

  @property
  def names(self) -> list[str]:
    return list(inspect.signature(self.module.mean).parameters)[: len(self.params)]


def jit(fn: Callable) -> Callable:
  """`jax.jit` with hyper-parameters static: one program instead of one for every operation."""
  params = inspect.signature(fn).parameters.values()
  return jax.jit(fn, static_argnames=[p.name for p in params if p.kind is p.KEYWORD_ONLY])


def check_log_prob(family: Family) -> None:
  bad = _bad_params(family, family.names, [family.x])
  check_kernel(
    jax.jit(family.module.log_prob, static_argnames="event_ndim"),
    (family.x, *family.params),
    oracle=lambda x, *params: family.log_p(x, *params).sum(1),
    detached=() if family.reparameterised or family.x.dtype.kind != "f" else (0,),
    extreme=family.extreme,
    bad_inputs=bad,
  )


def check_log_prob_alone(family: Family) -> None:
  """Value and finite gradients, for a density that is a part of another one's."""
  log_prob = family.module.log_prob
  value = jax.jit(log_prob)(family.x, *_float32(family.params))
  expected = family.log_p(family.x, *family.params).sum(1)
  np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-6)
  argnums = tuple(range(1, len(family.params) + 1))
  run = jax.jit(jax.grad(lambda x, *params: log_prob(x, *params).sum(), argnums))
  for x, *params in family.extreme:
    for slope in run(x, *_float32(params)):
      assert np.isfinite(slope).all(), f"not finite at {params}"
  for args, kwargs, error, match in _bad_params(family, family.names, [family.x]):
    with pytest.raises(error, match=match):
      log_prob(*args, **kwargs)


def check_entropy(family: Family) -> None:
  expected = _integrate(family, lambda x, element: -family.log_p(x, *element)).sum(1)
  value = jax.jit(family.module.entropy)(*_float32(family.params))
  np.testing.assert_allclose(value, expected, rtol=2e-5, atol=2e-5)
  _assert_finite(family, lambda *params: family.module.entropy(*params).sum())


def check_kl(family: Family) -> None:
  kl = family.module.kl
  reverse = tuple(param[::-1] for param in family.params)

  def relative(x, element, other):
    return family.log_p(x, *element) - family.log_p(x, *other)

  expected = _integrate(family, relative, reverse).sum(1)
  names = list(inspect.signature(kl).parameters)
  bad = _bad_params(family, names, [], count=2)
  kl = jax.jit(kl, static_argnames="event_ndim")
  check_kernel(
    kl, (*family.params, *reverse), oracle=expected, bad_inputs=bad, rtol=2e-5, atol=2e-6
  )
  same = kl(*_float32(family.params), *_float32(family.params))
  np.testing.assert_allclose(same, 0, atol=1e-5)
  _assert_finite(family, lambda *params: kl(*params, *params).sum())


def check_mean(family: Family) -> None:
  params = _float32(family.params)
  expected = _integrate(family, lambda x, element: family.encode(x))
  np.testing.assert_allclose(jax.jit(family.module.mean)(*params), expected, rtol=1e-4, atol=1e-5)
  low = [param.astype(jnp.bfloat16) for param in params]
  assert jax.eval_shape(family.module.mean, *low).dtype == jnp.bfloat16
  check_per_device(family.module.mean, *params)
  _assert_finite(family, lambda *params: family.module.mean(*params).sum())


def check_normalised(family: Family) -> None:
  one = _integrate(family, lambda x, element: np.ones(len(x)), log_p=_element_log_prob(family))
  np.testing.assert_allclose(one, 1, rtol=2e-5)


def check_sample(family: Family, num_tiles: int = 250, rows: bool = True) -> None:
  """Moments and their gradients over many equal batches, noise that is the row's own, dtypes."""
  params = tuple(jnp.tile(p, (num_tiles, *[1] * (p.ndim - 1))) for p in _float32(family.params))
  argnums = tuple(range(len(params)))

  def total(*params: jax.Array) -> tuple[jax.Array, jax.Array]:
    x = family.module.sample(jax.random.key(1), *params, num_samples=2)
    return jnp.square(x.astype(jnp.float32)).sum() / 2, x

  slopes, x = jax.jit(jax.grad(total, argnums, has_aux=True))(*params)
  tiles = family.encode(np.reshape(np.asarray(x, np.float64), (2 * num_tiles, B, D)))
  _check_moments(family, tiles)
  for i, slope in enumerate(slopes):
    assert family.reparameterised or not np.any(slope), f"parameter {i} is not detached"
  if family.reparameterised:
    _check_slopes(family, [np.reshape(slope, (num_tiles, B, D)) for slope in slopes])
  if rows:
    some = tuple(param[: 2 * B] for param in params)
    check_rows(family.module.sample, some, x[:, : 2 * B])


def check_per_device(fn: Callable, *args: jax.Array, specs: tuple = P("devices")) -> None:
  """What a device computes from its rows can be traced: loops carry what is not the same on all."""
  local = jax.shard_map(fn, mesh=_mesh(), in_specs=specs, out_specs=P("devices"))
  whole, split = (jax.eval_shape(f, *args) for f in (fn, local))
  assert whole.shape == split.shape


def check_rows(sample: Callable, params: tuple[jax.Array, ...], x: jax.Array) -> None:
  """A batch over devices gets the two samples `x` of key(1) that it gets on one; shapes, dtypes."""
  assert np.any(x[0] != x[1]) and np.any(x[:, 0] != x[:, B])
  specs = (P(), *[P("devices")] * len(params))
  local = jax.shard_map(
    partial(sample, num_samples=2, axis_name="devices"),
    mesh=_mesh(),
    in_specs=specs,
    out_specs=P(None, "devices"),
  )
  split = jax.jit(local)(jax.random.key(1), *params)
  np.testing.assert_allclose(split, x, rtol=1e-5, atol=1e-6)
  low = [param.astype(jnp.bfloat16) for param in params]
  once = jax.eval_shape(sample, jax.random.key(1), *low)
  assert once.shape == x.shape[1:]
  assert once.dtype == (jnp.bfloat16 if jnp.issubdtype(x.dtype, jnp.floating) else x.dtype)
  with pytest.raises(ValueError, match="num_samples must be a positive integer"):
    sample(jax.random.key(1), *params, num_samples=0)
  with pytest.raises(TypeError, match="must be a floating point array, got int"):
    sample(jax.random.key(1), jnp.zeros(params[0].shape, int), *params[1:])


def _mesh() -> Mesh:
  return Mesh(np.array(jax.devices()[:4]), ("devices",))


def _check_moments(family: Family, tiles: np.ndarray) -> None:
  moments = {
    n: _integrate(family, lambda x, element, n=n: family.encode(x) ** float(n)) for n in (1, 2, 4)
  }
  count = len(tiles)
  for n in (1, 2):
    spread = np.sqrt(np.maximum(moments[2 * n] - moments[n] ** 2, 0) / count)
    error = np.abs((tiles**n).mean(0) - moments[n])
    # A few events of a rare value are no evidence, whatever its standard deviation.
    assert (error < 4.5 * spread + 4 * np.abs(tiles).max() ** n / count).all(), f"moment {n}"
  centred = tiles - tiles.mean(0)
  lagged = (centred[1:] * centred[:-1]).sum(0) / np.maximum(np.square(centred).sum(0), 1e-9)
  assert np.abs(lagged).max() < 5 / count**0.5, "rows are not independent"


def _check_slopes(family: Family, slopes: list[np.ndarray]) -> None:
  """The gradient of E[x^2] by every parameter against differences of the exact expectation."""
  for i, slope in enumerate(slopes):
    ends = []
    for step in (1e-4, -1e-4):
      moved = tuple(p + step * (i == j) for j, p in enumerate(family.params))
      ends.append(_integrate(family._replace(params=moved), lambda x, element: x**2))
    error = slope.mean(0) - (ends[0] - ends[1]) / 2e-4
    standard_error = slope.std(0) / len(slope) ** 0.5
    assert np.abs(error).max() < np.max(5 * standard_error), f"gradient of parameter {i}"
    assert np.abs(error).sum() < 2 * standard_error.sum(), f"gradient of parameter {i}"


def _integrate(family: Family, fn: Callable, *others, log_p: Callable | None = None) -> np.ndarray:
  """E[fn(x, element, *other elements)] for every element of the batch, shape (B, D, ...)."""
  log_p = log_p or family.log_p
  rows = []
  for index in np.ndindex(B, D):
    element = tuple(param[index] for param in family.params)
    rest = [tuple(param[index] for param in other) for other in others]
    points, weights = family.grid(*element)
    p = weights * np.exp(np.asarray(log_p(points, *element), np.float64))
    rows.append(np.tensordot(p, fn(points, element, *rest), 1))
  return np.reshape(rows, (B, D, *np.shape(rows[0])))


def _element_log_prob(family: Family) -> Callable:
  log_prob = jax.jit(partial(family.module.log_prob, event_ndim=0))

  def run(x: np.ndarray, *element: np.ndarray) -> np.ndarray:
    x = x if x.dtype.kind == "i" else x.astype(np.float32)
    return log_prob(x, *_float32(element))

  return run


def _bad_params(family: Family, names: list[str], head: list, count: int = 1) -> list:
  params = [*family.params] * count
  integers = [np.zeros(params[0].shape, int), *params[1:]]
  short = [*params[:-1], params[-1][:, :1]]
  return [
    ((*head, *integers), {}, TypeError, f"{names[0]} must be a floating point array, got int"),
    ((*head, *short), {}, ValueError, f"{names[len(params) - 1]}.* must have equal shapes"),
    ((*head, *params), {"event_ndim": 9}, ValueError, "event_ndim must be in"),
  ]


def _assert_finite(family: Family, total: Callable) -> None:
  argnums = tuple(range(len(family.params)))
  run = jax.jit(jax.value_and_grad(total, argnums=argnums))
  for _, *params in family.extreme:
    for leaf in jax.tree.leaves(run(*_float32(params))):
      assert np.isfinite(leaf).all(), f"not finite at {params}"


def _float32(arrays) -> tuple[jax.Array, ...]:
  return tuple(jnp.asarray(array, jnp.float32) for array in arrays)
