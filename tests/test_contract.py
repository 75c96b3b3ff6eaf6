"""The kernel contract catches every defect it is there for, and passes a kernel without one."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import check_kernel
from scipy.special import logsumexp

from latentjax.checks import check_float, check_same_shape, wide_dtype
from latentjax.collectives import all_gather_rows, draw_rows, row_offset

B, D = 8, 3
RNG = np.random.default_rng(0)
A, P = (RNG.standard_normal((B, D)).astype(np.float32) for _ in range(2))
BAD = [((A, P[:4]), {}, ValueError, "positives"), ((A.astype(int), P), {}, TypeError, "anchors")]


def info_nce(anchors, positives, *, temperature=0.5, axis_name=None, gather=all_gather_rows):
  """A small batch-coupled kernel, (B,): every positive is a negative of the other anchors."""
  check_float(anchors=anchors, positives=positives)
  check_same_shape(anchors=anchors, positives=positives)
  logits = (anchors @ gather(positives, axis_name).T / temperature).astype(wide_dtype(anchors))
  own = row_offset(anchors.shape[0], axis_name) + jnp.arange(anchors.shape[0])
  return jax.nn.logsumexp(logits, axis=1) - jnp.take_along_axis(logits, own[:, None], 1)[:, 0]


def info_nce_oracle(anchors, positives):
  return [logsumexp(2 * positives @ a) - 2 * positives[i] @ a for i, a in enumerate(anchors)]


def oracle(anchors, positives):
  return np.array(info_nce_oracle(anchors, positives))


def covariance_penalty(x, *, axis_name=None, mean=jnp.mean):
  """A small batch statistic, a scalar that all devices agree on."""
  check_float(x=x)
  x = all_gather_rows(x, axis_name)
  centred = (x - mean(x, axis=0)).astype(wide_dtype(x))
  covariance = centred.T @ centred / x.shape[0]
  return jnp.sum(jnp.square(covariance)) - jnp.sum(jnp.square(jnp.diagonal(covariance)))


def local_gradient_gather(x, axis_name):
  """The well-known defect: the rows of other devices are constants."""
  if axis_name is None:
    return x
  gathered = jax.lax.stop_gradient(jax.lax.all_gather(x, axis_name, axis=0, tiled=True))
  return jax.lax.dynamic_update_slice_in_dim(gathered, x, row_offset(x.shape[0], axis_name), 0)


def scaled_gradient_gather(x, axis_name):
  """The right value with a gradient averaged over devices where it must be summed."""
  if axis_name is None:
    return x
  gathered = all_gather_rows(x, axis_name)
  share = gathered / jax.lax.axis_size(axis_name)
  return share + jax.lax.stop_gradient(gathered - share)


check_info_nce = partial(
  check_kernel, args=(A, P), oracle=oracle, batch_coupled=True, bad_inputs=BAD
)


def test_a_batch_coupled_kernel_passes():
  check_info_nce(info_nce, extreme=[(A * 1e4, P * 1e4), (0 * A, 0 * P)])


def test_a_batch_statistic_passes():
  def off_diagonal(x):
    covariance = np.cov(x.T, bias=True)
    return sum(covariance[i, j] ** 2 for i in range(D) for j in range(D) if i != j)

  bad = [((A.astype(int),), {}, TypeError, "x must")]
  check_kernel(covariance_penalty, (A,), oracle=off_diagonal, batch_coupled=True, bad_inputs=bad)


def test_a_random_kernel_passes_and_one_with_the_same_noise_on_every_device_does_not():
  def noisy(key, x, *, axis_name=None, own_rows=True):
    check_float(x=x)
    eps = draw_rows(key, jax.random.normal, x.shape, axis_name=axis_name if own_rows else None)
    return x * eps

  check = partial(
    check_kernel,
    args=(A,),
    key=jax.random.key(0),
    batch_coupled=True,
    bad_inputs=[((A.astype(int),), {}, TypeError, "x must")],
  )
  check(noisy)
  with pytest.raises(AssertionError, match="pmap"):
    check(noisy, kwargs={"own_rows": False})


def test_stop_gradient_inside_an_argument_passes_with_a_surrogate():
  def straight_through(x):
    check_float(x=x)
    return x + jax.lax.stop_gradient(jnp.round(x) - x)

  check = partial(
    check_kernel,
    straight_through,
    (A,),
    oracle=np.round,
    bad_inputs=[((B,), {}, TypeError, "x must")],
  )
  check(surrogate=lambda x: x)
  with pytest.raises(AssertionError, match="finite differences"):
    check()


DEFECTS = {
  "wrong value": (lambda a, p, **kw: info_nce(a, p, **kw) + 1e-3, "oracle"),
  "wrong shape": (lambda a, p, **kw: info_nce(a, p, **kw)[:, None], "shape"),
  "undeclared stop_gradient": (
    lambda a, p, **kw: info_nce(a, jax.lax.stop_gradient(p), **kw),
    "argument 1 is declared differentiable",
  ),
  "gradient of another function": (
    lambda a, p, **kw: (
      info_nce(a, p + jax.lax.stop_gradient(0 * p), **kw) + (p - jax.lax.stop_gradient(p)).sum(1)
    ),
    "finite differences",
  ),
  "infinite gradient": (
    lambda a, p, **kw: info_nce(a, p, **kw) + 0 * jnp.sqrt(jnp.sum(jnp.square(a - a), axis=1)),
    "gradient of argument 0 is not finite",
  ),
  "no axis_name": (lambda a, p, axis_name=None: info_nce(a, p), "value under pmap"),
  "local gradient": (partial(info_nce, gather=local_gradient_gather), "gradient under pmap"),
  "scaled gradient": (partial(info_nce, gather=scaled_gradient_gather), "gradient under pmap"),
  "another value when traced": (
    lambda a, p, **kw: info_nce(a, p, **kw) + 1e-3 * isinstance(a, jax.core.Tracer),
    "value against the oracle",
  ),
  "float32 inside": (
    lambda a, p, **kw: info_nce(a.astype(jnp.float32), p.astype(jnp.float32), **kw),
    "finite differences",
  ),
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_defect_is_caught(defect):
  fn, message = DEFECTS[defect]
  with pytest.raises(AssertionError, match=message):
    check_info_nce(fn)


def test_gradient_where_none_is_declared_is_caught():
  with pytest.raises(AssertionError, match="argument 1 is declared detached"):
    check_info_nce(info_nce, detached=(1,))


def test_overflow_at_extremes_is_caught():
  def naive(a, p, **kwargs):
    logits = a @ p.T / 0.5
    return info_nce(a, p, **kwargs) + 0 * jnp.log(jnp.sum(jnp.exp(logits), axis=1))

  with pytest.raises(AssertionError, match="not finite at extreme"):
    check_info_nce(naive, extreme=[(A * 1e4, P * 1e4)])


def test_missing_error_is_caught():
  with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
    check_info_nce(
      info_nce, bad_inputs=[((A, P), {"temperature": -1.0}, ValueError, "temperature")]
    )


def test_an_incomplete_declaration_is_refused():
  with pytest.raises(ValueError, match="differentiable and detached"):
    check_info_nce(info_nce, differentiable=(0,))
  with pytest.raises(ValueError, match="oracle"):
    check_info_nce(info_nce, oracle=None)
  with pytest.raises(ValueError, match="bad_inputs"):
    check_info_nce(info_nce, bad_inputs=[])
