"""Pure JAX functions for latent-variable models and representation learning.

`import latentjax` loads nothing; a subpackage is imported when it is first used, so one function
never costs the imports of the others.
"""

from types import ModuleType

__all__ = [
  "data",
  "densities",
  "losses",
  "metrics",
  "models",
  "objectives",
  "sequence",
  "training",
  "transport",
]
