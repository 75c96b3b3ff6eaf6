r"""Modified Bessel functions of the first kind for any order and argument, in one formula.

With I_v(x) x^-v = e^x f_v(x), f is smooth at x = 0 and its logarithm is never large. Debye's uniform
expansion gives it for orders from 9 up, for x from 0 to infinity; the stable downward recurrence of
the ratios I_{v+1} / I_v takes it to a lower order.
"""

import math
from fractions import Fraction

import jax
import jax.numpy as jnp

_LEAST_ORDER = 9
_NUM_TERMS = 7


def _debye_polynomials(count: int) -> list[list[float]]:
  """Coefficients of u_k(t) / t^k in powers of t^2 (Abramowitz & Stegun, 1964, on Debye's expansions)."""
  powers, out = {0: Fraction(1)}, []
  for k in range(1, count + 1):
    # u_k = (1/2) t^2 (1 - t^2) u' + (1/8) integral of (1 - 5 s^2) u, for the u before it.
    following: dict[int, Fraction] = {}
    for n, c in powers.items():
      low = c * (Fraction(n, 2) + Fraction(1, 8 * (n + 1)))
      high = c * (Fraction(-n, 2) - Fraction(5, 8 * (n + 3)))
      following[n + 1] = following.get(n + 1, Fraction(0)) + low
      following[n + 3] = following.get(n + 3, Fraction(0)) + high
    powers = following
    out.append([float(powers[n]) for n in range(k, 3 * k + 1, 2)])
  return out


_DEBYE = _debye_polynomials(_NUM_TERMS)


def log_bessel(order: float, x: jax.Array) -> tuple[jax.Array, jax.Array]:
  """log(I_v(x) x^-v e^-x) and I_{v+1}(x) / (x I_v(x)), for a static order v >= 0 and x >= 0.

  Both are differentiable in x, and accurate to a few units of rounding of their own size times
  log(v + x).
  """
  steps = max(0, math.ceil(_LEAST_ORDER - order))
  top = order + steps
  orders = jnp.array([top, top + 1], x.dtype)
  log_top, log_next = jnp.moveaxis(_debye_part(orders, x[..., None]), -1, 0)
  root, root_next = jnp.hypot(top, x), jnp.hypot(top + 1, x)
  rise = (2 * top + 1) / (root_next + root)  # root_next - root
  # log of the product of u^-u e^root for the two orders, their difference without cancellation.
  log_ratio = rise - jnp.log(top + 1 + root_next) - top * jnp.log1p((1 + rise) / (top + root))
  ratio = jnp.exp(log_ratio + log_next - log_top)
  total = top + root
  log_value = top * top / (root + x) - order * jnp.log(total) + log_top
  product = jnp.ones_like(x)
  for step in reversed(range(steps)):
    ratio = 1 / (2 * (order + step + 1) + x * x * ratio)
    product *= ratio * total  # about one
  return log_value - jnp.log(product) - 0.5 * math.log(2 * math.pi), ratio


def _debye_part(order: jax.Array, x: jax.Array) -> jax.Array:
  """log of (order^2 + x^2)^(-1/4) times the series of u_k(t) / order^k."""
  inverse = 1 / jnp.hypot(order, x)
  t_square = jnp.square(order * inverse)
  series = jnp.zeros_like(inverse)
  for coefficients in reversed(_DEBYE):
    polynomial = jnp.zeros_like(inverse)
    for coefficient in reversed(coefficients):
      polynomial = polynomial * t_square + coefficient
    series = (series + polynomial) * inverse  # t^k / order^k = inverse^k
  return 0.5 * jnp.log(inverse) + jnp.log1p(series)
