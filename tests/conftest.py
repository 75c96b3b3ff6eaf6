"""Every test sees eight simulated CPU devices, float32, and no data or cache of the machine it runs on."""

import os
from pathlib import Path

# Before the first jax import: the number of devices is fixed when the backend starts.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["XLA_FLAGS"] = (
  os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
)

import jax
import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture
def key() -> jax.Array:
  return jax.random.key(0)


@pytest.fixture(scope="session")
def repository() -> Path:
  return REPOSITORY
