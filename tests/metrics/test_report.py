"""The report of all disentanglement scores: every name has its metric's value, of the arrays it should have.

The metrics have tests of their own and are replaced, since compiling all of them takes long.
"""

import jax
import numpy as np
import pytest

from latentjax import metrics
from latentjax.metrics import DCI, InfoMEC, disentanglement_report, report

FACTORS = np.random.default_rng(0).integers(3, size=(12, 2))
CODES = np.float32(FACTORS @ np.random.default_rng(1).standard_normal((2, 3)))
SCALARS = ["mig", "dcimig", "sap", "modularity", "explicitness", "irs"]
DRAWN = ["beta_vae_score", "factor_vae_score"]
OF_CODES = ["gaussian_total_correlation", "gaussian_wasserstein_correlation"]
JUDGED = ["sap", "explicitness", "dci"]


def test_every_score_is_that_of_its_metric(monkeypatch):
  answers = {name: float(i) for i, name in enumerate(SCALARS + DRAWN + OF_CODES)}
  answers |= {"dmig": np.array([0.0, 1.0]), "dci": DCI(*"dcitr"), "infomec": InfoMEC(*"mcena")}
  calls = {}

  def stub(name):
    return lambda *args, **kwargs: calls.update({name: (args, kwargs)}) or answers[name]

  for name in answers:
    assert getattr(report, name) is getattr(metrics, name)
    monkeypatch.setattr(report, name, stub(name))
  test = {"test_codes": CODES[::2], "test_factors": FACTORS[::2]}
  got = disentanglement_report(
    jax.random.key(0), CODES, FACTORS, num_stages=7, num_values=4, **test
  )

  assert got == {name: answers[name] for name in SCALARS + DRAWN} | {
    "dmig": 0.5,
    "dci_disentanglement": "d",
    "dci_completeness": "c",
    "dci_informativeness": "i",
    "info_modularity": "m",
    "info_compactness": "c",
    "info_explicitness": "e",
    "total_correlation": answers[OF_CODES[0]],
    "wasserstein_correlation": answers[OF_CODES[1]],
  }
  for name, (args, kwargs) in calls.items():
    arrays = (CODES,) if name in OF_CODES else (CODES, FACTORS)
    assert len(args) == len(arrays) + (name in DRAWN)
    assert all(a is b for a, b in zip(args[-len(arrays) :], arrays))
    assert ("test_codes" in kwargs and "test_factors" in kwargs) == (name in JUDGED)
    assert kwargs.get("num_values", 4) == 4
  assert calls["dci"][1]["num_stages"] == 7
  assert calls[DRAWN[0]][0][0] != calls[DRAWN[1]][0][0]  # keys of their own


def test_bad_inputs():
  with pytest.raises(ValueError, match="codes must be finite"):
    disentanglement_report(jax.random.key(0), np.nan * CODES, FACTORS)
  with pytest.raises(TypeError, match="factors must be integers"):
    disentanglement_report(jax.random.key(0), CODES, CODES)
