"""A cache of its own for every test, and the digits prepared once for all of them."""

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def cache_dir(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
  directory = tmp_path_factory.mktemp("cache")
  monkeypatch.setenv("LATENTJAX_CACHE", str(directory))
  return directory


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
  return tmp_path_factory.mktemp("tfds")


@pytest.fixture
def mnist_dir(repository: Path) -> Path:
  directory = repository.parent / "shared" / "tfds"
  if not (directory / "mnist").is_dir():
    pytest.skip(f"needs the TFDS data set mnist prepared in {directory}")
  return directory
