"""Imports point one way: densities <- kernels <- objectives <- training <- experiments, and stay light."""

import ast
import os
import subprocess
import sys

import pytest

ROOTS = {"checks", "collectives"}
UPPER = {"objectives", "models", "training", "data", "experiments"}
HEAVY = {"flax", "optax", "orbax", "grain", "tensorflow_datasets", "sklearn", "matplotlib"}
LIGHT = {"jax", "numpy", "chex"}

# What each layer may import of latentjax besides itself and the roots; "kernels" is every package
# that is named nowhere else.
MAY_IMPORT = {
  "checks": set(),
  "collectives": set(),
  "densities": set(),
  "kernels": {"densities", "kernels"},
  "objectives": {"densities", "kernels"},
  "models": {"densities", "kernels"},
  "data": set(),
  "training": {"objectives", "data"},
}


def layer_of(package):
  return package if package in MAY_IMPORT or package in UPPER else "kernels"


def imported(tree):
  """(module, at top level) for every import of a file."""
  top = set(ast.iter_child_nodes(tree))
  for node in ast.walk(tree):
    if isinstance(node, ast.Import):
      yield from ((alias.name, node in top) for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
      assert node.level == 0, "relative imports hide the layer"
      if node.module == "latentjax":
        yield from ((f"latentjax.{alias.name}", node in top) for alias in node.names)
      else:
        yield node.module, node in top


def complaints(package, source):
  """Imports in a file of latentjax/<package> that its layer does not allow."""
  layer = layer_of(package)
  for module, at_top in imported(ast.parse(source)):
    name, _, rest = module.partition(".")
    if name == "experiments":
      yield f"{package} imports experiments"
    elif name == "latentjax":
      target = rest.partition(".")[0]
      shared = ROOTS | {package, "", "__version__"}
      if target not in shared and layer_of(target) not in MAY_IMPORT[layer]:
        yield f"{package} imports {module}"
    elif layer == "data" and name in {"flax", "optax", "orbax"}:
      yield f"{package} imports {name}"
    elif at_top and layer not in {"data", "training"}:
      allowed = LIGHT | {"flax"} if layer == "models" else LIGHT
      if name not in allowed and name not in sys.stdlib_module_names:
        yield f"{package} imports {name} at the top"


def test_imports_of_every_file(repository):
  found = []
  for path in sorted((repository / "latentjax").glob("**/*.py")):
    parts = path.relative_to(repository / "latentjax").parts
    package = parts[0].removesuffix(".py")
    if package == "__init__":
      continue  # lazy: it names the packages and imports none
    found += [f"{path}: {line}" for line in complaints(package, path.read_text())]
  assert not found, "\n".join(found)


@pytest.mark.parametrize(
  ("package", "source"),
  [
    ("densities", "from latentjax.losses import elbo"),
    ("losses", "from latentjax import objectives"),
    ("losses", "def f():\n  import latentjax.training.step"),
    ("losses", "import flax.linen as nn"),
    ("quantizers", "from sklearn.cluster import KMeans"),
    ("objectives", "from latentjax.models import mlp_vae"),
    ("objectives", "import optax"),
    ("models", "from latentjax.training import TrainState"),
    ("data", "def f():\n  import flax"),
    ("training", "from latentjax.models import mlp_vae"),
    ("training", "from experiments.harness import cli"),
    ("collectives", "from latentjax.densities import gaussian"),
  ],
)
def test_an_arrow_the_wrong_way_is_found(package, source):
  assert list(complaints(package, source))


@pytest.mark.parametrize(
  ("package", "source"),
  [
    ("losses", "from latentjax.densities import gaussian\nfrom latentjax.quantizers import vq"),
    ("losses", "def f():\n  import sklearn"),
    ("objectives", "from latentjax.losses.elbo import elbo\nimport jax, math"),
    ("models", "import flax.linen as nn\nfrom latentjax.checks import check_rank"),
    ("training", "import optax\nimport orbax.checkpoint"),
  ],
)
def test_an_arrow_the_right_way_passes(package, source):
  assert not list(complaints(package, source))


def in_fresh_process(repository, code, **environment):
  run = subprocess.run(
    [sys.executable, "-c", code],
    cwd=repository,
    env={**os.environ, **environment},
    capture_output=True,
    text=True,
    check=True,
  )
  return run.stdout.split()


def light_packages(repository):
  folders = sorted((repository / "latentjax").glob("*/__init__.py"))
  names = [folder.parent.name for folder in folders]
  return [name for name in names if name not in {"models", "training"}]


LOADED = (
  f"import sys; print(*sorted({HEAVY!r} & {{name.partition('.')[0] for name in sys.modules}}))"
)


def test_light_packages_load_nothing_heavy(repository):
  names = light_packages(repository)
  assert {"data", "densities", "losses", "objectives"} <= set(names)
  lines = ["import latentjax, latentjax.checks, latentjax.collectives"]
  lines += [f"import latentjax.{name}" for name in names]
  assert in_fresh_process(repository, "; ".join([*lines, LOADED])) == []
  assert "flax" in in_fresh_process(repository, f"import latentjax.models; {LOADED}")


def test_imports_are_fast(repository, tmp_path):
  """What `import latentjax` and all light packages cost beyond `import jax`, best of two.

  In CPU seconds: other tests run at the same time. The second finds the bytecode that the first has left.
  """
  bytecode = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(tmp_path)}
  packages = ", ".join(f"latentjax.{name}" for name in light_packages(repository))
  code = (
    "import jax, time; start = time.process_time(); import latentjax; "
    "middle = time.process_time(); "
    f"import {packages}; print(middle - start, time.process_time() - start)"
  )
  runs = [tuple(map(float, in_fresh_process(repository, code, **bytecode))) for _ in range(2)]
  alone, everything = (min(times) for times in zip(*runs))
  assert alone < 0.1 and everything < 0.5


def test_subpackages_are_attributes(repository):
  code = "import latentjax; print(latentjax.losses.elbo.elbo.__name__, 'data' in dir(latentjax))"
  assert in_fresh_process(repository, code) == ["elbo", "True"]
  with pytest.raises(AttributeError, match="module 'latentjax' has no attribute 'loss'"):
    getattr(__import__("latentjax"), "loss")  # noqa: B009


def test_version_is_the_package_metadata(repository):
  import tomllib

  import latentjax

  project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
  assert latentjax.__version__ == project["version"]


def test_every_subpackage_is_listed(repository):
  import latentjax

  folders = {path.parent.name for path in (repository / "latentjax").glob("*/__init__.py")}
  assert set(latentjax.__all__) == folders
