"""How many examples are drawn: few in the suite, the same ones every time; many with the profile "deep"."""

import gc

import jax
import pytest
from hypothesis import Phase, settings

FIXED = {"derandomize": True, "database": None, "deadline": None, "phases": [Phase.generate]}
settings.register_profile("suite", max_examples=1, **FIXED)
settings.register_profile("deep", max_examples=100, **FIXED)
settings.load_profile("suite")


@pytest.fixture(autouse=True, scope="package")
def plain_tracebacks():
  """Thousands of errors are raised on purpose; to filter their tracebacks took a quarter of the time."""
  before = jax.config.jax_traceback_filtering
  jax.config.update("jax_traceback_filtering", "off")
  yield
  jax.config.update("jax_traceback_filtering", before)


@pytest.fixture(autouse=True, scope="package")
def seldom_collected():
  """What is imported stays; a garbage collection looked at all of it, again and again."""
  before = gc.get_threshold()
  gc.freeze()
  gc.set_threshold(100_000)
  yield
  gc.set_threshold(*before)
  gc.unfreeze()
