"""The report of all disentanglement scores: every name has its metric's value."""

import jax
import numpy as np
import pytest

from latentjax import metrics

RNG = np.random.default_rng(0)
FACTORS = np.stack([RNG.integers(size, size=64) for size in (3, 2)], axis=1)
CODES = np.float32(FACTORS @ RNG.standard_normal((2, 3)) + 0.3 * RNG.standard_normal((64, 3)))


def test_every_score_is_that_of_its_metric():
  test = {"test_codes": CODES[::2], "test_factors": FACTORS[::2]}
  key, judged = jax.random.key(0), {"num_values": (3, 2), **test}
  got = metrics.disentanglement_report(key, CODES, FACTORS, num_stages=2, **judged)
  trees = metrics.dci(CODES, FACTORS, num_stages=2, **judged)
  shared = metrics.infomec(CODES, FACTORS, num_values=(3, 2))
  expected = {
    "mig": metrics.mig(CODES, FACTORS),
    "dmig": np.mean(metrics.dmig(CODES, FACTORS)),
    "dcimig": metrics.dcimig(CODES, FACTORS),
    "sap": metrics.sap(CODES, FACTORS, **judged),
    "modularity": metrics.modularity(CODES, FACTORS),
    "explicitness": metrics.explicitness(CODES, FACTORS, **judged),
    "irs": metrics.irs(CODES, FACTORS),
    "dci_disentanglement": trees[0],
    "dci_completeness": trees[1],
    "dci_informativeness": trees[2],
    "info_modularity": shared[0],
    "info_compactness": shared[1],
    "info_explicitness": shared[2],
    "total_correlation": metrics.gaussian_total_correlation(CODES),
    "wasserstein_correlation": metrics.gaussian_wasserstein_correlation(CODES),
  }
  for name, value in expected.items():
    np.testing.assert_allclose(got.pop(name), value, rtol=1e-5, err_msg=name)
  assert set(got) == {"beta_vae_score", "factor_vae_score"}
  assert all(value.shape == () and value > 0.6 for value in got.values())


def test_bad_inputs():
  with pytest.raises(ValueError, match="codes must be finite"):
    metrics.disentanglement_report(jax.random.key(0), np.nan * CODES, FACTORS)
  with pytest.raises(TypeError, match="factors must be integers"):
    metrics.disentanglement_report(jax.random.key(0), CODES, CODES)
