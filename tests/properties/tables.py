"""All tables, by package."""

import of_augment
import of_densities
import of_diffusion
import of_losses
import of_metrics
import of_quantizers
import of_transport

TABLES = {
  "augment": of_augment,
  "densities": of_densities,
  "diffusion": of_diffusion,
  "losses": of_losses,
  "metrics": of_metrics,
  "quantizers": of_quantizers,
  "transport": of_transport,
}
KERNELS = {package: table.KERNELS for package, table in TABLES.items()}
EXCEPTIONS = {package: table.EXCEPTIONS for package, table in TABLES.items()}
