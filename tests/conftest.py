"""Every test sees eight simulated CPU devices, float32, and no data or cache of the machine it runs on."""

import functools
import gc
import os
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

# Tests, and the processes that they start, compile thousands of small programs once each; what is tested is
# the program, not LLVM's work on it. Before the first jax import: flags are fixed when the backend starts.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
os.environ["JAX_INCLUDE_FULL_TRACEBACKS_IN_LOCATIONS"] = "0"
os.environ["JAX_TRACEBACK_IN_LOCATIONS_LIMIT"] = "0"
os.environ["XLA_FLAGS"] = " ".join(
  [
    os.environ.get("XLA_FLAGS", ""),
    "--xla_force_host_platform_device_count=8",
    "--xla_cpu_parallel_codegen_split_count=1",
    # Half the time of a compilation; later releases do not know it.
    "--xla_cpu_use_fusion_emitters=false" * metadata.version("jaxlib").startswith("0.10."),
  ]
)

import jax
import pytest
from jax._src.interpreters import mlir

# Tracing makes millions of small objects, nearly none in cycles: looking for those took 5 % of the time.
gc.set_threshold(100_000, 20, 20)

REPOSITORY = Path(__file__).resolve().parent.parent


def pytest_xdist_auto_num_workers() -> int:
  """One more than there are cores: some tests wait, for processes that they start and kill."""
  return (os.process_cpu_count() if hasattr(os, "process_cpu_count") else os.cpu_count() or 1) + 1


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
  """The longest files first: they must not begin last."""
  first = ("training", "experiments", "test_public_surface.py")
  items.sort(key=lambda item: not {item.path.parent.name, item.path.name} & set(first))


def pytest_collection_finish() -> None:
  """What imports and collection made stays: the garbage collector need not look at it again."""
  gc.freeze()


@pytest.fixture(scope="module", autouse=True)
def lowering_context() -> Iterator[None]:
  """One MLIR context for the programs of a file: to make one for each is a fifth of a small one's time."""
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(mlir, "make_ir_context", functools.cache(mlir.make_ir_context))
    yield


@pytest.fixture
def key() -> jax.Array:
  return jax.random.key(0)


@pytest.fixture(scope="session")
def repository() -> Path:
  return REPOSITORY
