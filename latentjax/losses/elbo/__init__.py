"""The evidence lower bound, its weighted forms and its regularisers."""

from latentjax.losses.elbo.bound import elbo

__all__ = ["elbo"]
