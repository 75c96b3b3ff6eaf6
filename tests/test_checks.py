"""Every static check: what passes, and the message of what does not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from latentjax import checks


def test_float():
  checks.check_float(a=1.0, b=np.zeros(2), c=jnp.zeros((), jnp.bfloat16))
  with pytest.raises(TypeError, match="labels must be a floating point array, got int32"):
    checks.check_float(x=1.0, labels=jnp.zeros(3, jnp.int32))
  with pytest.raises(TypeError, match="mask must be a floating point array, got bool"):
    checks.check_float(mask=jnp.zeros(3, bool))


def test_rank():
  checks.check_rank(2, x=jnp.zeros((3, 4)))
  with pytest.raises(ValueError, match=r"x must have 2 axes, got shape \(3,\)"):
    checks.check_rank(2, x=jnp.zeros(3))
  with pytest.raises(ValueError, match=r"y must not be empty, got shape \(0, 4\)"):
    checks.check_rank(2, x=jnp.zeros((3, 4)), y=jnp.zeros((0, 4)))


def test_batch():
  checks.check_batch(x=jnp.zeros((3, 4)))
  with pytest.raises(TypeError, match="x must be a floating point array"):
    checks.check_batch(x=jnp.zeros(3, int))
  with pytest.raises(ValueError, match="x must have a batch axis, got a scalar"):
    checks.check_batch(x=1.0)
  with pytest.raises(ValueError, match=r"x must not be empty, got shape \(3, 0\)"):
    checks.check_batch(x=jnp.zeros((3, 0)))


def test_same_shape():
  checks.check_same_shape(a=jnp.zeros((3, 1)), b=np.zeros((3, 1)))
  with pytest.raises(
    ValueError, match=r"a and b must have the same shape, got a \(3, 1\), b \(3,\)"
  ):
    checks.check_same_shape(a=jnp.zeros((3, 1)), b=jnp.zeros(3))


def test_range():
  checks.check_range(0, 1, a=0, b=1.0, c=np.float32(0.5))
  with pytest.raises(ValueError, match=r"rate must be in \[0, 1\], got 1.5"):
    checks.check_range(0, 1, rate=1.5)
  with pytest.raises(ValueError, match=r"tau must be in \(0, inf\), got 0.0"):
    checks.check_range(low=0, strict=True, tau=0.0)
  with pytest.raises(ValueError, match="rate must be in"):
    checks.check_range(rate=float("nan"))


def test_range_lets_traced_values_pass():
  def checked(beta):
    checks.check_range(low=0, beta=beta)
    return beta

  assert jax.jit(checked)(-1.0) == -1


def test_positive_int():
  checks.check_positive_int(n=1, k=np.int64(3))
  with pytest.raises(ValueError, match="n must be a positive integer, got 0"):
    checks.check_positive_int(n=0)
  for value in (True, 2.0, "2", None):
    with pytest.raises(TypeError, match="n must be a positive integer, got"):
      checks.check_positive_int(n=value)


def test_choice():
  checks.check_choice(("a", "b"), kind="b")
  with pytest.raises(ValueError, match="kind must be one of 'a', 'b', got 'c'"):
    checks.check_choice(("a", "b"), kind="c")


def test_wide_dtype():
  assert checks.wide_dtype(jnp.zeros(1, jnp.bfloat16), jnp.zeros(1, jnp.float16)) == jnp.float32
  assert checks.wide_dtype(jnp.zeros(1, jnp.bfloat16)) == jnp.float32
  assert checks.wide_dtype(1.0) == jnp.float32
  with jax.enable_x64(True):
    assert checks.wide_dtype(jnp.zeros(1, jnp.float32), jnp.zeros(1, jnp.float64)) == jnp.float64


def test_check_alike():
  checks.check_alike(2, a=jnp.zeros((3, 1)), b=np.zeros((3, 1)))
  with pytest.raises(TypeError, match="b must be a floating point array, got int32"):
    checks.check_alike(1, a=jnp.zeros(3), b=jnp.zeros(3, jnp.int32))
  with pytest.raises(ValueError, match=r"a must have 2 axes, got shape \(3,\)"):
    checks.check_alike(2, a=jnp.zeros(3), b=jnp.zeros(3))
  with pytest.raises(ValueError, match=r"a and b must have the same shape"):
    checks.check_alike(2, a=jnp.zeros((3, 1)), b=jnp.zeros(3))
