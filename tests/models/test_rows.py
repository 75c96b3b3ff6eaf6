"""Every network computes a device's rows on that device: all that the devices exchange is sums."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import fast_jit
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from latentjax import models

B = 16
RNG = np.random.default_rng(0)


def normal(*shape):
  return RNG.standard_normal((B, *shape)).astype(np.float32)


T, LABELS, IMAGES = RNG.uniform(size=B).astype(np.float32), np.arange(B) % 3, normal(8, 8, 2)
PLACES = np.tile(np.arange(4), (B, 1))
DENSE = models.mlp_vae((8, 8, 2), 2, hidden=(8,))
CONV = models.conv_vae((8, 8, 2), 2, channels=(8, 16))
NETWORKS = {
  "MLP": (models.MLP(3, (5,)), normal(4)),
  "BatchNormMLP": (models.BatchNormMLP(3, (5,)), normal(4)),
  "mlp_vae, encoder": (DENSE.init_fn, DENSE.encode_fn, IMAGES),
  "mlp_vae, decoder": (DENSE.init_fn, DENSE.decode_fn, normal(2)),
  "conv_vae, encoder": (CONV.init_fn, CONV.encode_fn, IMAGES),
  "conv_vae, decoder": (CONV.init_fn, CONV.decode_fn, normal(2)),
  "GRUEncoder": (models.GRUEncoder(2, hidden=4), normal(5, 3)),
  "GRUDecoder": (models.GRUDecoder(3, hidden=4), normal(2), normal(5, 3)),
  "DenoisingMLP": (models.DenoisingMLP(8, 1, num_classes=3), normal(4), T, LABELS),
  "PatchTransformer": (models.PatchTransformer((2, 2), 8, 1, 2), normal(4, 3), PLACES),
  "PatchPredictor": (
    models.PatchPredictor((2, 2), 3, 8, 1, 2),
    normal(4, 8),
    PLACES,
    PLACES[:, 1:],
  ),
  "TokenTransformer": (models.TokenTransformer(6, 4, width=8, depth=1, heads=2), PLACES),
  "DiT": (models.DiT(width=8, depth=2, heads=2, num_classes=3), IMAGES, T, LABELS),
  "UNet": (models.UNet(channels=(4, 8), heads=2, num_classes=3), IMAGES, T, LABELS),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_devices_keep_their_rows(name):
  network, *args = NETWORKS[name]
  if callable(args[0]):
    init, apply = network, args.pop(0)
  else:
    init, apply = lambda key: network.init(key, *args), network.apply
  mesh = Mesh(np.array(jax.devices()), ("data",))
  place = lambda spec, tree: jax.tree.map(
    lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=NamedSharding(mesh, spec)), tree
  )
  params = place(P(), jax.eval_shape(init, jax.random.key(0)))

  def loss(params, *args):
    return sum(jnp.sum(jnp.sin(leaf)) for leaf in jax.tree.leaves(apply(params, *args)))

  program = fast_jit(jax.grad(loss), out_shardings=NamedSharding(mesh, P()))
  hlo = program.lower(params, *place(P("data"), args)).compile().as_text()
  assert "all-reduce" in hlo
  assert not re.findall(r"[^\n]*(?:all-gather|all-to-all|collective-permute)[^\n]*", hlo)
