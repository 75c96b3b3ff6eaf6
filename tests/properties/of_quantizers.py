"""How every function of `latentjax.quantizers` is called."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from kernel_calls import QUARTIC, Sized, call

from latentjax.quantizers import (
  RandomProjection,
  init_affine_codebook,
  init_ema_codebook,
  init_entropy_bottleneck,
)
from latentjax.quantizers import network as n

QUANTIZED = "=B D, i:B, B"
LEVELS = {"levels": (3, 4, 5, 6)}
NETWORK_WEIGHTS = call("*D E -> =D E")
ema = Sized(lambda s: init_ema_codebook(jnp.ones((s["N"] or 1, s["D"] or 1))))
affine = Sized(lambda s: init_affine_codebook(dim=s["D"] or 1))
bottleneck = Sized(lambda s: make_bottleneck(s["C"] or 1))
projection = Sized(lambda s: RandomProjection(jnp.eye(s["D"] or 1, 2), jnp.eye(9, 2)))


@functools.cache
def make_bottleneck(num_channels):
  init = functools.partial(init_entropy_bottleneck, jax.random.key(0), num_channels=num_channels)
  return jax.tree.map(lambda leaf: np.ones(leaf.shape, leaf.dtype), jax.eval_shape(init))


grid = n.affine_grid(-1.0, 1.0)

CODES = {
  "binary": call("*i<16:B -> B 4", num_bits=4),
  "binary_spherical": call("*i<16:B -> B 4", dim=4),
  "cosine": call("*i<N:B, N D -> B D"),
  "entropy_bottleneck": call("*i<9:B C -> B C", params=bottleneck),
  "finite_scalar": call("*i<360:B -> B 4", **LEVELS),
  "finite_scalar_perturbation": call("*i<360:B -> B 4", **LEVELS),
  "gaussian_grid": call("*i<2:B -> B"),
  "grouped_residual": call("*i<N:B 2 C, 2 C N D -> =B 2*D"),
  "latent": call("*i<N:B D, D N -> =B D"),
  "lookup_free": call("*i<16:B -> B 4", dim=4),
  "multi_codebook": call("*i<K:B C*M, C M K D -> B M*D"),
  "network.codebook": call("*i<K:B, K -> =B"),
  "product": call("*i<N:B M, *M N D -> =B M*D"),
  "qinco": call(
    "indices=*i<N:B C, codebooks=C N D -> =B D",
    params=Sized(lambda s: jnp.ones(max(s["C"] - 1, 0))),
    codebook_fn=lambda params, codes, partial: codes * params.astype(codes.dtype),
  ),
  "residual": call("*i<N:B C, C N D -> =B D"),
  "residual_finite_scalar": call("*i<360:B C -> B 4", **LEVELS),
  "residual_lookup_free": call("*i<16:B C -> B 4", dim=4),
  "rounding": call("*i<9:B -> B"),
  "sim": call("*i<N:B, N C, C D -> B D"),
}

size = lambda axis: Sized(lambda s: s[axis])

NETWORK = {
  "affine_grid": call("f:, f: ->"),
  "binarize": NETWORK_WEIGHTS,
  "codebook_quantize": call("*D E, K -> =D E, i:D E, D E"),
  "dequantize": call("*i<100:B D -> B D", grid=grid),
  "dyadic": call("*p:B -> i:B, i:B"),
  "dyadic_rescale": call("*i<100:B -> i:B", scale=n.dyadic(0.5)),
  "entropy_threshold": call(
    "-> ()",
    num_levels=8,
    histogram=n.MagnitudeHistogram(jnp.ones(64), jnp.float32(1)),
  ),
  "fake_quantize": call("*B D -> =B D", grid=grid),
  "fold_batch_norm": call("*B D, D, D, n:D, D, D -> B D, D"),
  "hessian_sensitivity": call("f:, D E, D E -> ()", limit=QUARTIC),
  "hessian_trace": call("params=*D E -> ()", loss_fn=lambda w: (w**2).sum(), num_samples=2),
  "init_magnitude_histogram": call("-> i:M, ()", num_bins=size("M")),
  "init_moving_range": call("-> D, D, i:()", shape=Sized(lambda s: (s["D"],))),
  "integer_matmul": call(
    "*i<9:B D, i<9:D E -> i:B E",
    through=lambda matmul: lambda x, w: matmul(x.astype(jnp.int8), w.astype(jnp.int8)),
  ),
  "init_lsq_step": call("*D E -> ()"),
  "lloyd_codebook": call("*D E -> 4", num_codes=4),
  "lsq_quantize": call("*D E, *p: -> =D E"),
  "minmax_range": call("*D E -> (), ()"),
  "mse_range": call("*D E -> (), ()"),
  "pact_quantize": call("*D E, *p: -> =D E"),
  "percentile_range": call("*D E -> (), ()"),
  "power_of_two_quantize": NETWORK_WEIGHTS,
  "quantize": call("*B D ->", grid=grid),
  "stochastic_round": NETWORK_WEIGHTS,
  "ternarize": NETWORK_WEIGHTS,
  "update_magnitude_histogram": call("*B D ->", state=n.init_magnitude_histogram(num_bins=64)),
  "update_moving_range": call("*B D -> (), (), i:()", state=n.init_moving_range()),
}

KERNELS = {
  **{f"network.{name}": how for name, how in NETWORK.items()},
  **{f"{name}.codes_from_indices": how for name, how in CODES.items()},
  "additive_uniform_noise": call("*B D -> =B D"),
  "affine_codebook": call("N D -> N D", state=affine),
  "binary_map": call("*B 4, 16 C -> =B C, i:B, B"),
  "binary_quantize": call(f"*B D -> {QUANTIZED}"),
  "binary_sample": call(f"*B D -> {QUANTIZED}"),
  "binary_spherical_entropy_loss": call("*B D -> ()"),
  "binary_spherical_quantize": call(f"*B D -> {QUANTIZED}"),
  "codes_from_indices": call("*i<N:B, N D -> =B D"),
  "cosine_quantize": call(f"*B D, N D -> {QUANTIZED}"),
  "cumulative_logits": call("*B C -> B C", params=bottleneck),
  "diveq": call("B D, B D -> =B D"),
  "diversity_loss": call("*B D, N D -> ()"),
  "entropy_bottleneck_bits": call("*B C -> B C", params=bottleneck),
  "entropy_bottleneck_quantile": call("->", params=bottleneck),
  "entropy_bottleneck_quantize": call("*B C -> =B C, i:B C, B", params=bottleneck),
  "finite_scalar_midpoint": call(f"*B D -> {QUANTIZED}", **LEVELS),
  "finite_scalar_perturb": call(f"*B D -> {QUANTIZED}", **LEVELS),
  "finite_scalar_quantize": call(f"*B D -> {QUANTIZED}", **LEVELS),
  "gaussian_bits": call("*B D, *B D, *p:B D -> B D"),
  "gaussian_grid_quantize": call("*B D -> =B D, i:B D, B"),
  "grouped_residual_quantize": call("*B 2*D, 2 C N D -> =B 2*D, i:B 2 C, B"),
  "gumbel_mode": call("*B N, N D -> =B D, i:B, B"),
  "gumbel_quantize": call("*B N, N D -> =B D, i:B, B", temperature=0.5),
  "init_affine_codebook": call("-> D, D, D, D, i:()", dim=size("D")),
  "init_ema_codebook": call("N D -> N D, N, N D"),
  "init_entropy_bottleneck": call("->", num_channels=size("C")),
  "init_latent_values": call("-> D N", dim=size("D"), num_values=size("N")),
  "init_random_projection": call(
    "-> D K, N K", dim=size("D"), num_codes=size("N"), code_dim=size("K")
  ),
  "init_sim_vq": call("-> N D, D D", num_codes=size("N"), dim=size("D")),
  "kmeans": call("*N D -> 3 D", num_codes=3),
  "latent_quantize": call("*B D, D N -> =B D, i:B D, B"),
  "logistic_cdf": call("*B D -> =B D"),
  "lookup_free_entropy_loss": call("*B D -> ()"),
  "lookup_free_quantize": call(f"*B D -> {QUANTIZED}"),
  "lower_bound": call("*B D, *f: -> =B D"),
  "multi_codebook_logits": call("*B M*D, M K D -> B M K"),
  "multi_codebook_mode": call("*B M*D, C M K D -> =B M*D, i:B C*M, B"),
  "multi_codebook_quantize": call("*B M*D, C M K D -> =B M*D, i:B C*M, B", limit=1e4),
  "multi_scale.codes_from_indices": call(
    "coarse=i<N:B 1 1, indices=i<N:B 4 4, codebook=N D -> =B 4 4 D",
    through=lambda codes: lambda coarse, indices, codebook: codes((coarse, indices), codebook),
  ),
  "multi_scale_quantize": call(
    "B 4 4 D, N D -> =B 4 4 D, i:B 1 1, i:B 2 2, i:B 4 4, B 4 4", scales=((1, 1), (2, 2), (4, 4))
  ),
  "nearest_code": call("*B D, N D -> i:B"),
  "orthogonal_loss": call("N D -> ()"),
  "product_quantize": call("*B M*D, *M N D -> =B M*D, i:B M, B"),
  "qinco_quantize": call(
    "z=*B D, codebooks=C N D -> =B D, i:B C, B",
    params=Sized(lambda s: jnp.ones(max(s["C"] - 1, 0))),
    codebook_fn=lambda params, codes, partial: codes * params.astype(codes.dtype),
  ),
  "random_projection_quantize": call("*B D -> i:B", state=projection),
  "residual_finite_scalar_quantize": call("*B D -> =B D, i:B 2, B", num_stages=2, **LEVELS),
  "residual_lookup_free_quantize": call("*B D -> =B D, i:B 2, B", num_levels=2),
  "residual_quantize": call("*B D, C N D -> =B D, i:B C, B"),
  "restart_codes": call("*B D ->", state=ema),
  "rotation_trick": call("B D, B D -> =B D"),
  "round_quantize": call("*B D -> =B D, i:B D, B"),
  "sim_vq": call("*B D, N C, C D -> =B D, i:B, B", limit=QUARTIC),
  "space_filling_point": call(f"*B D, N D -> {QUANTIZED}"),
  "space_filling_quantize": call(f"*B D, N D -> {QUANTIZED}"),
  "stochastic_mode": call(f"*B D, N D, *l:B -> {QUANTIZED}", limit=10),
  "stochastic_quantize": call(f"*B D, N D, *l:B -> {QUANTIZED}", temperature=0.5, limit=10),
  "straight_through": call("B D, B D -> =B D"),
  "synchronous": call("B D, B D -> =B D"),
  "update_affine_codebook": call("*B D, N D ->", state=affine),
  "update_ema_codebook": call("*B D, *i<N:B ->", state=ema),
  "vector_quantize": call(f"*B D, N D -> {QUANTIZED}"),
}

_HOST = "integers that a coder reads, made on the host in float64: no array is traced"

EXCEPTIONS = {
  "entropy_bottleneck_tables": _HOST,
  "gaussian_tables": _HOST,
  "integer_frequencies": _HOST,
  "network.allocate_bits": "solves an integer program on the host",
}
