"""Training objectives, made from networks given as functions: no network library, no trainer."""

from latentjax.objectives.adversarial import (
  aae,
  factor_vae,
)
from latentjax.objectives.autoencoder import (
  Autoencoder,
  rae,
)
from latentjax.objectives.disentangling import (
  capacity_vae,
  dip_vae,
  tc_vae,
)
from latentjax.objectives.gradient_origin import (
  GradientOrigin,
  gradient_origin,
)
from latentjax.objectives.hierarchical import (
  hierarchical_iwae,
)
from latentjax.objectives.iwae import (
  iwae,
)
from latentjax.objectives.latent_model import (
  BoundTerms,
  LatentModel,
  Prior,
)
from latentjax.objectives.manifold_vae import (
  ManifoldModel,
  hyperspherical_vae,
  manifold_vae,
)
from latentjax.objectives.matching import (
  info_vae,
  wae_mmd,
)
from latentjax.objectives.priors import (
  mixture_prior,
  vamp_prior,
)
from latentjax.objectives.sigma_vae import (
  sigma_vae,
)
from latentjax.objectives.vae import (
  vae,
)
from latentjax.objectives.vis import (
  vis,
)
from latentjax.objectives.wake_sleep import (
  wake_sleep,
)

__all__ = [
  "Autoencoder",
  "BoundTerms",
  "GradientOrigin",
  "LatentModel",
  "ManifoldModel",
  "Prior",
  "aae",
  "capacity_vae",
  "dip_vae",
  "factor_vae",
  "gradient_origin",
  "hierarchical_iwae",
  "hyperspherical_vae",
  "info_vae",
  "iwae",
  "manifold_vae",
  "mixture_prior",
  "rae",
  "sigma_vae",
  "tc_vae",
  "vae",
  "vamp_prior",
  "vis",
  "wae_mmd",
  "wake_sleep",
]
