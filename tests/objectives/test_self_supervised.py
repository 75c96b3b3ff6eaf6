"""Objectives on views: what learns and what does not, state over steps, and one answer on 8 devices."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import AXIS
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from latentjax.losses.contrastive import (
  alignment,
  byol_loss,
  info_nce,
  l2_normalize,
  swav_loss,
  vicreg_loss,
)
from latentjax.models import BatchNormMLP
from latentjax.objectives import (
  byol,
  cosine_momentum,
  dino,
  init_teacher,
  lejepa,
  moco,
  multi_view,
  nnclr,
  simsiam,
  two_view,
  update_teacher,
)

B, IN, D = 16, 5, 3
compiled = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
RNG = np.random.default_rng(0)
VIEWS = {f"view_{i}": RNG.standard_normal((B, IN)).astype(np.float32) for i in (1, 2, 3)}
MOMENTUM = 0.75


def objectives(axis_name=None):
  run = {"axis_name": axis_name}
  network = BatchNormMLP(D, (4,), **run)
  apply = lambda name: lambda params, x: network.apply({"params": params[name]}, x)
  embed, predict = apply("encoder"), apply("predictor")
  crops = {"features": tuple(VIEWS)}
  kept = {"dim": D, "queue_size": B + 2, **run}
  return {
    "vicreg": two_view(embed, lambda z_1, z_2: vicreg_loss(z_1, z_2, **run)),
    "simsiam": simsiam(embed, predict),
    "byol": byol(embed, predict, momentum=MOMENTUM),
    "moco": moco(embed, momentum=MOMENTUM, **kept),
    "nnclr": nnclr(embed, predict, **kept),
    "swav": multi_view(embed, lambda scores: swav_loss(scores, epsilon=1.0, **run), **crops),
    "lejepa": lejepa(embed, num_slices=8, **run, **crops),
    "dino": dino(embed, num_prototypes=D, momentum=MOMENTUM, **run, **crops),
  }


def init(key):
  keys = jax.random.split(key)
  make = lambda key, width: BatchNormMLP(D, (4,)).init(key, jnp.zeros((1, width)))["params"]
  return {"encoder": make(keys[0], IN), "predictor": make(keys[1], D)}


COUPLED = ("byol", "moco", "nnclr", "lejepa", "dino")  # what the kernels' own tests leave open


def two_steps(axis_name=None, names=None):
  """Loss, gradients and state of every objective after a second step, with moved parameters."""

  def run(key, params, batch):
    out = {}
    found = objectives(axis_name)
    for name in names or found:

      def step(state, shift, ssl=found[name]):
        moved = jax.tree.map(lambda p: p + shift * jnp.sign(p), params)
        grad_fn = jax.value_and_grad(ssl.objective, has_aux=True)
        (loss, (state, metrics)), grads = grad_fn(moved, state, key, batch)
        assert metrics == {}
        return state, (loss, grads)

      start = found[name].init_state(params)
      state, both = jax.lax.scan(step, start, jnp.array([0.0, 0.1]))
      out[name] = *jax.tree.map(lambda x: x[1], both), state
    return out if axis_name is None else jax.lax.pmean(out, axis_name)

  return run


@pytest.fixture(scope="module")
def answers():
  key = jax.random.key(3)
  params = jax.jit(init)(key)
  return key, params, compiled(two_steps())(key, params, VIEWS)


def test_same_on_eight_devices(answers):
  key, params, expected = answers
  mesh = Mesh(np.array(jax.devices()), (AXIS,))
  specs = {"in_specs": (P(), P(), P(AXIS)), "out_specs": P()}
  split = jax.shard_map(two_steps(AXIS, COUPLED), mesh=mesh, check_vma=False, **specs)
  got = compiled(split)(key, params, VIEWS)
  for name in COUPLED:
    for leaf, reference in zip(jax.tree.leaves(got[name]), jax.tree.leaves(expected[name])):
      np.testing.assert_allclose(leaf, reference, rtol=1e-3, atol=1e-5, err_msg=name)


def test_what_learns(answers):
  _, _, expected = answers
  for name, (_, grads, _) in expected.items():
    learns = {part: any(np.any(g) for g in jax.tree.leaves(grads[part])) for part in grads}
    assert learns == {"encoder": True, "predictor": name in ("simsiam", "byol", "nnclr")}, name


def test_teacher_is_the_moving_average(answers):
  _, params, expected = answers
  for name in ("byol", "moco", "dino"):
    state = expected[name][2]
    teacher = getattr(state, "teacher", state)
    assert teacher.step == 2
    for p, average in zip(jax.tree.leaves(params), jax.tree.leaves(teacher.params)):
      moved = p + np.float32(0.1) * np.sign(p)
      np.testing.assert_allclose(average, MOMENTUM * p + (1 - MOMENTUM) * moved, rtol=1e-6)


def test_teacher_of_a_student_in_bfloat16_that_keeps_still():
  student = jnp.asarray(np.arange(128) / 128 + 1, jnp.bfloat16)
  step = lambda teacher, _: (update_teacher(teacher, student, momentum=0.998), None)
  teacher, _ = jax.lax.scan(step, init_teacher(student), None, length=100)
  assert teacher.params.dtype == jnp.bfloat16
  np.testing.assert_array_equal(teacher.params, student)


def test_nothing_reaches_the_teacher(answers):
  key, params, _ = answers

  def loss(teachers):
    total = 0.0
    for name, teacher in teachers.items():
      ssl = objectives()[name]
      state = ssl.init_state(params)
      state = teacher if name == "byol" else state._replace(teacher=teacher)
      total += ssl.objective(params, state, key, VIEWS)[0]
    return total

  teachers = {name: init_teacher(params) for name in ("byol", "moco", "dino")}
  grads = compiled(jax.grad(loss, allow_int=True))(teachers)
  for teacher in grads.values():
    assert not any(np.any(g) for g in jax.tree.leaves(teacher.params))


def test_losses_are_those_of_the_kernels():
  """On an encoder that multiplies: BYOL with a teacher that keeps still, and a pair of kernels."""
  embed = lambda params, x: params["w"] * x
  predict = lambda params, z: params["v"] * z + 1
  params, old = {"w": 2.0, "v": 3.0}, {"w": 0.5, "v": 0.0}
  x_1, x_2 = VIEWS["view_1"], VIEWS["view_2"]
  key = jax.random.key(0)

  @compiled
  def run():
    ssl = byol(embed, predict, momentum=1.0)
    pair = two_view(
      embed, lambda a, b: alignment(a, b) + info_nce(l2_normalize(a), l2_normalize(b))
    )
    return (
      ssl.objective(params, init_teacher(old), key, VIEWS)[0],
      jnp.mean(byol_loss(6 * x_1 + 1, 6 * x_2 + 1, 0.5 * x_1, 0.5 * x_2)),
      pair.objective(params, (), key, VIEWS)[0],
      jnp.mean(4 * alignment(x_1, x_2) + info_nce(l2_normalize(x_1), l2_normalize(x_2))),
    )

  got, expected, pair, kernels = map(float, run())
  assert got == pytest.approx(expected, rel=1e-5)
  assert pair == pytest.approx(kernels, rel=1e-5)


def test_refused():
  embed = lambda params, x: x
  ssl = two_view(embed, alignment)
  with pytest.raises(KeyError, match="view_2"):
    ssl.objective((), (), None, {"view_1": np.ones((2, 3))})
  with pytest.raises(ValueError, match="must have the same shape"):
    ssl.objective((), (), None, {"view_1": np.ones((2, 3)), "view_2": np.ones((2, 4))})
  for make in (two_view, byol, simsiam, nnclr):
    with pytest.raises(ValueError, match="features must name two views"):
      make(embed, alignment, features=("a",), **({"dim": 2} if make is nnclr else {}))
  with pytest.raises(ValueError, match=r"momentum must be in \[0.0, 1.0\]"):
    byol(embed, embed, momentum=1.5)
  with pytest.raises(ValueError, match="num_global must be at most the 2 views, got 3"):
    dino(embed, num_prototypes=2, num_global=3)
  with pytest.raises(ValueError, match=r"base must be in \[0.0, 1.0\]"):
    cosine_momentum(2.0, 10)
  with pytest.raises(ValueError, match=r"momentum must be in \[0.0, 1.0\]"):
    update_teacher(init_teacher(()), (), momentum=-0.1)
