"""How many steps are fused, and that a convolution is noticed."""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from latentjax.training.call import default_fusion, make_call
from latentjax.training.convolutions import has_convolution
from latentjax.training.loop import _calls, _due
from latentjax.training.mesh import make_mesh


def test_convolution_is_found_inside_loops_and_maps():
  kernel = jnp.ones((3, 3, 1, 2))

  def convolve(x):
    return jax.lax.conv_general_dilated(
      x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )

  nested = lambda x: jax.lax.scan(lambda c, _: (c, jax.jit(convolve)(c)), x, None, length=2)
  images = jnp.ones((2, 4, 4, 1))
  assert has_convolution(nested, images)
  assert has_convolution(lambda x: jax.lax.pmean(convolve(x), "data"), images)
  assert not has_convolution(lambda x: jnp.einsum("bhwc,cd->bhwd", x, jnp.ones((1, 3))), images)
  other = lambda x: x + jnp.zeros(2)
  choose = jax.lax.platform_dependent
  assert has_convolution(lambda x: choose(x, tpu=other, default=convolve), images)
  assert not has_convolution(lambda x: choose(x, tpu=convolve, default=other), images)


def test_default_fusion():
  assert default_fusion("cpu", convolution=True, resident=True) == (1, True)
  assert default_fusion("cpu", convolution=False, resident=True)[0] > 1
  assert default_fusion("gpu", convolution=True, resident=True)[0] > 1


def test_bounds_of_calls_do_not_depend_on_where_a_run_resumed():
  whole = list(_calls(0, 23, 5))
  assert whole == [(0, 5), (5, 5), (10, 5), (15, 5), (20, 3)]
  assert list(_calls(10, 23, 5)) == whole[2:]
  assert list(_calls(7, 12, 5)) == [(7, 3), (10, 2)]
  assert list(_calls(23, 23, 5)) == []


def test_due():
  assert _due(10, 5, 10, 100) and _due(10, 8, 12, 100) and not _due(10, 10, 15, 100)
  assert _due(None, 90, 100, 100) and not _due(None, 80, 90, 100)


@pytest.mark.parametrize(
  ("steps", "unroll", "loops"), [(1, True, False), (3, True, False), (3, False, True)]
)
def test_written_out_steps_are_no_loop(steps, unroll, loops):
  mesh = make_mesh()
  call = make_call(
    lambda state, key, batch: (state + batch.sum(), {"loss": state}),
    lambda resident, x: x,
    mesh,
    NamedSharding(mesh, P()),
    stacked=False,
    per_device=False,
    unroll=unroll,
  )
  lowered = call.lower(jnp.float32(0), jax.random.key(0), (), jnp.ones((steps, 8)))
  assert ("while" in lowered.as_text()) == loops
  state, metrics = lowered.compile()(jnp.float32(0), jax.random.key(0), (), jnp.ones((steps, 8)))
  assert float(state) == 8 * steps and metrics["loss"].tolist() == [8.0 * i for i in range(steps)]
