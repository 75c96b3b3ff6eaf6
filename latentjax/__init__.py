"""Pure JAX functions for latent-variable models and representation learning."""
