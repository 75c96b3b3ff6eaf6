"""Pure JAX functions for latent-variable models and representation learning.

`import latentjax` loads nothing; a subpackage is imported when it is first used, so one function
never costs the imports of the others.

Kernels check their arguments while they are traced: a wrong shape or dtype, or an array without elements
where one is needed, is a ValueError or TypeError that names the argument.
"""

import importlib
from types import ModuleType

__all__ = [
  "augment",
  "data",
  "densities",
  "diffusion",
  "losses",
  "metrics",
  "models",
  "objectives",
  "quantizers",
  "sequence",
  "training",
  "transport",
]

__version__ = "0.1.0"


def __getattr__(name: str) -> ModuleType:
  if name in __all__:
    return importlib.import_module(f"latentjax.{name}")
  raise AttributeError(f"module 'latentjax' has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
  return [*globals(), *__all__]
