"""The divergence from a mixture whose component is latent."""

import jax
import jax.numpy as jnp
import numpy as np

from latentjax.densities import gaussian, mixture
from latentjax.losses.elbo import mixture_kl
from tests.contract import check_kernel

B, M, Z = 8, 3, 2
RNG = np.random.default_rng(0)
draw = lambda *shape: RNG.standard_normal(shape).astype(np.float32)
ARGS = (draw(B, Z), 0.3 * draw(B, Z), draw(B, M), draw(M), draw(M, Z), 0.3 * draw(M, Z))


def oracle(mean, log_scale, y_logits, prior_logits, prior_mean, prior_log_scale):
  """One row and one component after the other, from variances."""
  out = np.zeros(len(mean))
  pi = np.exp(prior_logits) / np.exp(prior_logits).sum()
  for b, m in np.ndindex(len(mean), len(pi)):
    q = np.exp(y_logits[b, m]) / np.exp(y_logits[b]).sum()
    v, w = np.exp(2 * log_scale[b]), np.exp(2 * prior_log_scale[m])
    kl = 0.5 * ((v + (mean[b] - prior_mean[m]) ** 2) / w - 1 + np.log(w / v)).sum()
    out[b] += q * (kl + np.log(q / pi[m]))
  return out


def test_contract():
  extreme = (ARGS[0], 0 * ARGS[1] - 40, 1e4 * ARGS[2], 1e4 * ARGS[3], ARGS[4], 0 * ARGS[5])
  # Ruled out, and so narrow that its divergence is infinite.
  first = np.arange(M) == 0
  known = (
    *ARGS[:2],
    np.where(first, 0 * ARGS[2], -1e4),
    *ARGS[3:5],
    -60 * ~first[:, None] + 0 * ARGS[5],
  )
  check_kernel(
    mixture_kl,
    ARGS,
    oracle=oracle,
    batch_axes=(0, 0, 0, None, None, None),
    extreme=[extreme, known],
    bad_inputs=[
      ((*ARGS[:3], ARGS[3][:2], *ARGS[4:]), {}, ValueError, "prior_logits, prior_mean and"),
      ((*ARGS[:2], ARGS[2][:, :2], *ARGS[3:]), {}, ValueError, "mean, log_scale and y_logits"),
      ((ARGS[0].astype(int), *ARGS[1:]), {}, TypeError, "mean must be a floating"),
    ],
  )


def test_best_component_posterior_gives_the_closed_form_and_bounds_the_mixture(key):
  @jax.jit
  def run(mean, log_scale, y_logits, *prior):
    each = jnp.broadcast_arrays(mean[:, None], log_scale[:, None], *prior[1:])
    best = jax.nn.log_softmax(prior[0]) - gaussian.kl(*each)
    z = gaussian.sample(key, mean, log_scale, num_samples=20_000)
    sampled = gaussian.log_prob(z, mean, log_scale) - mixture.log_prob(z, *prior)
    values = [mixture_kl(mean, log_scale, logits, *prior) for logits in (best, y_logits)]
    return -jax.nn.logsumexp(best, axis=1), *values, jnp.mean(sampled, axis=0)

  closed_form, best, other, to_mixture = run(*ARGS)
  np.testing.assert_allclose(best, closed_form, rtol=1e-4)
  assert (other >= best).all() and (best > to_mixture - 0.03).all()
