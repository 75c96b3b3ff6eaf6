"""Word and sentence embeddings: what trains word vectors, builds them from letters and pools them."""

from latentjax.losses.words.counts import glove_loss, log_partition, squared_norm_loss
from latentjax.losses.words.sentences import sif_pool
from latentjax.losses.words.skip_gram import sgns_loss
from latentjax.losses.words.subwords import ngram_embed, ngram_ids

__all__ = [
  "glove_loss",
  "log_partition",
  "ngram_embed",
  "ngram_ids",
  "sgns_loss",
  "sif_pool",
  "squared_norm_loss",
]
