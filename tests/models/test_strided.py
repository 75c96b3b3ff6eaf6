"""The two forms of a strided convolution, and of its transpose, are the same function."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from latentjax.models import strided

PAIRS = {
  "halve": (strided.halve, strided.halve_by_patches),
  "double": (strided.double, strided.double_by_patches),
  "commuting": (strided.double, strided.double_commuting),
}


@pytest.mark.parametrize(
  "name, shape, channels",
  [
    ("halve", (2, 6, 4, 3), 5),
    ("halve", (2, 5, 7, 1), 2),  # odd sides are padded more at their end
    ("double", (2, 3, 4, 6), 4),  # gathered before the product
    ("double", (2, 3, 1, 9), 2),  # added after it
    ("commuting", (2, 3, 4, 6), 4),
    ("commuting", (2, 5, 1, 2), 3),  # sides of one have negative padding
  ],
)
def test_both_forms_agree(name, shape, channels):
  rng = np.random.default_rng(0)
  x = rng.normal(size=shape)
  kernel = rng.normal(size=(4, 4, shape[-1], channels))

  with jax.enable_x64(True):
    outputs = []
    for form in PAIRS[name]:
      value, pull = jax.jit(lambda x, kernel, form=form: _with_pull(form, x, kernel))(x, kernel)
      outputs.append((value, *pull))
  for ours, wanted in zip(*outputs, strict=True):
    np.testing.assert_allclose(ours, wanted, rtol=0, atol=1e-12)


def test_the_commuting_form_has_the_same_tangent_and_maps_and_differentiates_twice():
  rng = np.random.default_rng(2)
  x, kernel = rng.normal(size=(2, 1, 2, 4, 3)), rng.normal(size=(2, 4, 4, 3, 2))
  along = rng.normal(size=x.shape), rng.normal(size=kernel.shape)

  def pushed(fn, dtype):
    primals, tangents = jax.tree.map(lambda a: a.astype(dtype), ((x, kernel), along))
    return jax.jit(lambda *given: jax.jvp(fn, *given))(primals, tangents)

  def outputs(form, dtype):
    gradient = jax.vmap(jax.grad(lambda *given: jnp.sum(form(*given) ** 3), (0, 1)))
    return jax.tree.leaves((pushed(jax.vmap(form), dtype), pushed(gradient, dtype)))

  with jax.enable_x64(True):
    for dtype, rtol in ((np.float64, 1e-12), (np.float32, 1e-4)):
      xla, commuting = (outputs(form, dtype) for form in PAIRS["commuting"])
      for ours, wanted in zip(commuting, xla, strict=True):
        assert ours.dtype == dtype
        np.testing.assert_allclose(ours, wanted, rtol=0, atol=rtol * np.max(np.abs(wanted)))


def test_the_commuting_forms_gradient_exchanges_the_operands():
  """No map is spread out under a kernel of its own size, which is what takes XLA's CPUs long."""
  x, kernel = jnp.zeros((8, 7, 7, 4)), jnp.zeros((4, 4, 4, 3))
  sizes = {}
  for name, form in zip(("xla", "commuting"), PAIRS["commuting"]):
    jaxpr = jax.make_jaxpr(jax.grad(lambda k, form=form: jnp.sum(form(x, k) ** 2)))(kernel)
    last = [e for e in jaxpr.eqns if e.primitive.name == "conv_general_dilated"][-1]
    sizes[name] = last.params["lhs_dilation"], last.params["rhs_dilation"]
  assert sizes == {"xla": ((2, 2), (1, 1)), "commuting": ((1, 1), (2, 2))}


def _with_pull(form, x, kernel):
  value, pull = jax.vjp(form, x, kernel)
  return value, pull(jnp.cos(jnp.arange(value.size, dtype=value.dtype)).reshape(value.shape))


def test_transpose_is_the_transpose():
  """Not only of XLA: <halve(x), y> = <x, double(y)> with the taps of one the taps of the other."""
  rng = np.random.default_rng(1)
  x, y = rng.normal(size=(1, 6, 8, 2)), rng.normal(size=(1, 3, 4, 3))
  kernel = rng.normal(size=(4, 4, 2, 3))
  back = kernel[::-1, ::-1].transpose(0, 1, 3, 2)
  with jax.enable_x64(True):
    forward = float(jnp.vdot(strided.halve_by_patches(jnp.asarray(x), jnp.asarray(kernel)), y))
    backward = float(jnp.vdot(x, strided.double_by_patches(jnp.asarray(y), jnp.asarray(back))))
  assert forward == pytest.approx(backward, rel=1e-12)


def test_platform_is_the_one_compiled_for():
  """A program for a TPU holds the convolution although it is made on a CPU, and the CPU's holds none."""
  module = strided.HalvingConv(2)
  x = jnp.zeros((1, 4, 4, 1))
  params = module.init(jax.random.key(0), x)
  traced = jax.jit(lambda x: module.apply(params, x)).trace(x)
  on = lambda platform: traced.lower(lowering_platforms=(platform,)).as_text()
  assert "stablehlo.convolution" not in on("cpu")
  assert "stablehlo.convolution" in on("tpu")
