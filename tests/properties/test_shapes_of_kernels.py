"""Every public kernel, traced over shapes and dtypes: the stated result, or an error that names the argument.

Nothing is compiled. In the suite the results are those of bfloat16 arguments and, for every other kernel, of
float16 ones of all sizes 1, and an axis that does not fit has size 1. More changes of every argument, and a
hundred sizes and dtypes for each kernel: `python -m pytest tests/properties --hypothesis-profile=deep`.
"""

import contextlib
import importlib
import inspect
import pkgutil
import re

import jax
import jax.numpy as jnp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_calls import abstract, dtype_of, expected, resolve
from tables import EXCEPTIONS, KERNELS

DEEP = settings.default.max_examples > 10
LONG = [("metrics", "disentanglement_report")]  # made of others
NAMES = [
  (package, name)
  for package in KERNELS
  for name in KERNELS[package]
  if DEEP or (package, name) not in LONG
]


def public(package):
  """Functions of a package, each with the shortest name under which it is public."""
  root = importlib.import_module(f"latentjax.{package}")
  found = {}
  for info in [None, *pkgutil.walk_packages(root.__path__, f"{root.__name__}.")]:
    module = root if info is None else importlib.import_module(info.name)
    for name in getattr(module, "__all__", ()):
      thing = getattr(module, name)
      if inspect.isfunction(thing) and thing.__module__.startswith(root.__name__):
        found.setdefault(thing, f"{module.__name__}.{name}".removeprefix(f"{root.__name__}."))
  return set(found.values())


@pytest.mark.parametrize("package", sorted(KERNELS))
def test_every_public_function_is_in_the_table_or_excepted(package):
  listed = set(KERNELS[package]) | set(EXCEPTIONS[package])
  assert public(package) == listed
  assert not set(KERNELS[package]) & set(EXCEPTIONS[package])


def trace(package, name, sizes, dtype, changed=None):
  """Results of the kernel, of arguments of these sizes except where `changed` says otherwise."""
  call = KERNELS[package][name]
  kernel = resolve(package, name, call)
  arguments = abstract(call.named(kernel), sizes, dtype) | (changed or {})
  return jax.tree.leaves(jax.eval_shape(call.bind(kernel, sizes), arguments))


def check_results(package, name, sizes, dtype):
  found = trace(package, name, sizes, dtype)
  stated = KERNELS[package][name].results
  if stated:
    got = [(leaf.shape, leaf.dtype) for leaf in found]
    assert got == [expected(result, sizes, dtype) for result in stated]


def is_named(error, names):
  return any(re.search(rf"\b{re.escape(name)}\b", str(error)) for name in names)


def mismatches(arrays, sizes):
  """(argument, its shape with one axis or the rank changed, names of which one must be in the error)."""
  for name, array in arrays.items():
    shape = array.shape(sizes)
    others = [other for key, other in arrays.items() if key != name]
    shared = [axis for axis in array.axes if any(axis in other.axes for other in others)]
    for i, axis in enumerate(array.axes):
      repeated = axis in shared or array.axes.count(axis) > 1
      if repeated and not axis.isdigit():
        named = [key for key, other in arrays.items() if axis in other.axes]
        may_broadcast = array.free and (i < len(shape) - 1 or i == 0)
        sizes_to_try = {shape[i] + 1} if may_broadcast else {1, shape[i] + 1} if DEEP else {1}
        for size in sizes_to_try - {shape[i]}:
          yield name, (*shape[:i], size, *shape[i + 1 :]), named
    if not array.free:
      named = [key for key, other in arrays.items() if set(array.axes) & set(other.axes)]
      yield name, (*shape, 1), [name, *named]
      if shape and DEEP:
        yield name, shape[1:], [name, *named]


def each_of(entries):
  return pytest.mark.parametrize(
    ("package", "name"), entries, ids=[".".join(entry) for entry in entries]
  )


@each_of(NAMES)
def test_stated_results_and_no_silent_broadcast(package, name):
  call = KERNELS[package][name]
  kernel = resolve(package, name, call)
  check_results(package, name, call.sizes, jnp.bfloat16)
  arrays = call.named(kernel)
  functions = [key for key, value in call.rest.items() if callable(value)]
  for argument, shape, named in mismatches(arrays, call.sizes):
    changed = {argument: jax.ShapeDtypeStruct(shape, dtype_of(arrays[argument], jnp.float32))}
    with pytest.raises((ValueError, TypeError)) as error:
      trace(package, name, call.sizes, jnp.float32, changed)
      pytest.fail(f"{argument} of shape {shape} was taken")
    assert is_named(error.value, [*named, *functions]), (argument, shape, error.value)


@each_of(NAMES if DEEP else NAMES[::2])
def test_any_size_and_dtype_is_defined_or_refused_by_name(package, name):
  call = KERNELS[package][name]
  kernel = resolve(package, name, call)
  arrays = call.named(kernel)
  axes = " ".join([*call.results, *(axis for array in arrays.values() for axis in array.axes)])
  sizes = {
    letter: st.sampled_from([1, 0, 2, 7]) for letter in sorted(set(re.findall("[A-Z]", axes)))
  }

  @given(st.fixed_dictionaries(sizes), st.sampled_from([jnp.float16, jnp.int32, jnp.float32]))
  def check(drawn, dtype):
    with named_at_most(kernel, (drawn, dtype)):
      if dtype == jnp.int32:
        trace(package, name, call.sizes | drawn, dtype)
      else:
        check_results(package, name, call.sizes | drawn, dtype)

  check()
  for argument, array in arrays.items():
    if array.free and array.axes:
      scalar = jax.ShapeDtypeStruct((), dtype_of(array, jnp.float32))
      with named_at_most(kernel, argument):
        trace(package, name, call.sizes, jnp.float32, {argument: scalar})


@contextlib.contextmanager
def named_at_most(kernel, where):
  """Lets errors pass that name a parameter of the kernel."""
  try:
    yield
  except (ValueError, TypeError) as error:
    assert is_named(error, inspect.signature(kernel).parameters), (where, error)
