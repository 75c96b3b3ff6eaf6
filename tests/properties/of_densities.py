"""How every function of `latentjax.densities` is called."""

import jax
from kernel_calls import QUARTIC, Sized, call

from latentjax.densities import brownian, manifolds

KEY = jax.random.key(0)
SPHERE = {"manifold": manifolds.sphere(dim=2)}
LOGITS = {
  "entropy": call("*B D -> B"),
  "kl": call("*B D, *B D -> B"),
  "log_prob": call("*s:B D, *B D -> B"),
  "mean": call("*B D -> =B D"),
  "sample": call("*B D -> =B D"),
}
MEAN_SCALE = {
  "entropy": call("*B D, *l:B D -> B"),
  "kl": call("*B D, *m:B D, *B D, *m:B D -> B"),
  "log_prob": call("*B D, *B D, *l:B D -> B", limit=10),
  "mean": call("*B D, *l:B D -> =B D"),
  "sample": call("*B D, *l:B D -> =B D"),
}
DIRECTIONS = {
  "entropy": call("*u:B D, *l:B -> B"),
  "kl_uniform": call("*u:B D, *l:B -> B"),
  "log_prob": call("*u:B D, *u:B D, *l:B -> B"),
  "mean": call("*u:B D, *l:B -> =B D"),
  "sample": call("*u:B D, *l:B -> =B D"),
}
SUBSPACES = {"alpha": 0.8, "sigma": 0.6}
LOW_RANK = "B D, K, K D, K D 2"
NORMAL_WISHART = "*B D, *p:B, *c:B D D, *w:B"
COUNTS = "*l:B D, *l:B D"


def walk(ambient_dim, **dim):
  """A Brownian sample on the manifold that is made."""
  return call(
    f"*u:B {ambient_dim}, *l:B -> =B {ambient_dim}",
    through=lambda make: (
      lambda mean, log_time: brownian.sample(KEY, mean, log_time, manifold=make(**dim))
    ),
  )


FAMILIES = {
  "bernoulli": LOGITS,
  "brownian": {
    "kl_uniform": call("*l:B -> B", **SPHERE),
    "sample": call("*u:B 3, *l:B -> =B 3", **SPHERE),
    "sample_uniform": call("-> B 3", num_samples=Sized(lambda s: s["B"]), **SPHERE),
  },
  "categorical": {
    "entropy": call("*B D C -> B"),
    "kl": call("*B D C, *B D C -> B"),
    "kl_uniform": call("*B D C -> B"),
    "log_prob": call("*i<C:B D, *B D C -> B"),
    "mean": call("*B D C -> =B D C"),
    "sample": call("*B D C -> i:B D"),
  },
  "continuous_bernoulli": LOGITS,
  "discretized_logistic": {
    "log_prob": call("*s:B D, *B D, *l:B D -> B"),
    "mean": call("*B D, *l:B D -> =B D", num_values=4),
    "sample": call("*B D, *l:B D -> =B D"),
  },
  "discretized_logistic_mixture": {
    "log_prob": call("*s:B 3, *B M, *B M 3, *l:B M 3, *B M 3 -> B"),
    "sample": call("*B M, *B M 3, *l:B M 3, *B M 3 -> =B 3"),
  },
  "factor_analysis": {
    "factor_analysis_em": call("N D ->", latent_dim=2, num_steps=3),
    "log_prob": call("*B D, D, D C, l:D -> B", limit=10),
    "posterior": call("*B D, D, D C, l:D -> B C, C C", limit=10),
  },
  "gaussian": MEAN_SCALE
  | {
    "kl_standard": call("*B D, *l:B D -> B"),
    "standard_log_prob": call("*B D -> B"),
  },
  "gaussian_full": {
    "entropy": call("*B D, *t:B D D -> B"),
    "kl": call("*B D, *t:B D D, *B D, *t:B D D -> B", limit=1e2),
    "log_prob": call("*B D, *B D, *t:B D D -> B", limit=1e2),
    "mean": call("*B D, *t:B D D -> =B D"),
    "sample": call("*B D, *t:B D D -> =B D"),
    "scale_tril_from": call("*l:B D D -> =B D D"),
  },
  "gaussian_optimal": {
    "log_prob": call("*B D, *B D -> B"),
    "mean": call("*B D -> =B D"),
    "optimal_log_scale": call("*B D, *B D -> B"),
  },
  "gumbel_softmax": {
    "log_prob": call("*d:B C, *B C -> B", temperature=0.5),
    "log_prob_of_log": call("*B C, *B C -> B", temperature=0.5),
    "log_sample": call("*B C -> =B C", temperature=0.5),
    "mean": call("*B C -> =B C"),
    "sample": call("*B C -> =B C", temperature=0.5),
  },
  "laplace": MEAN_SCALE,
  "low_rank_mixture": {
    "denoise": call(f"{LOW_RANK} -> =B D", limit=1e2, **SUBSPACES),
    "log_prob": call(f"{LOW_RANK} -> B", limit=1e2, **SUBSPACES),
    "responsibilities": call(f"{LOW_RANK} -> B K", limit=1e2, **SUBSPACES),
    "sample": call("K, K D, K D 2 -> =5 D", num_samples=5),
  },
  "manifolds": {
    "projective_space": walk(9, dim=2),
    "rotations": walk(9),
    "sphere": walk(3, dim=2),
    "torus": walk(4, dim=2),
  },
  "mixture": {
    "log_prob": call("*B D, *B M, *B M D, *l:B M D -> B", limit=10),
    "mean": call("*B M, *B M D, *l:B M D -> =B D"),
    "responsibilities": call("*B D, *B M, *B M D, *l:B M D -> B M", limit=10),
    "sample": call("*B M, *B M D, *l:B M D -> =B D"),
  },
  "mixture_em": {
    "gmm_em": call("N D ->", num_components=2, num_steps=3),
    "update_gmm": call("N D, M, M D, l:M D -> M, M D, M D", limit=10),
  },
  "negative_binomial": {
    "log_prob": call(f"*k:B D, {COUNTS} -> B"),
    "mean": call(f"{COUNTS} -> =B D"),
    "sample": call(f"{COUNTS} -> =B D"),
  },
  "normal_inverse_wishart": {
    "log_prob": call(f"*B D, *c:B D D, {NORMAL_WISHART} -> B", limit=1e2),
    "mean": call(f"{NORMAL_WISHART} -> B D, B D D"),
    "posterior": call("N D, s:N, D, p:, c:D D, w: -> D, (), D D, ()"),
    "sample": call(f"{NORMAL_WISHART} -> =B D, =B D D"),
  },
  "poisson": {
    "kl": call(f"{COUNTS} -> B"),
    "log_prob": call("*k:B D, *l:B D -> B"),
    "mean": call("*l:B D -> =B D"),
    "sample": call("*l:B D -> =B D"),
  },
  "power_spherical": DIRECTIONS,
  "product_of_experts": {"combine": call("E B D, l:E B D, b:E B -> B D, B D")},
  "student_t": {
    "entropy": call("*B D, *l:B D, *l:B D -> B"),
    "log_prob": call("*B D, *B D, *l:B D, *l:B D -> B", limit=QUARTIC),
    "mean": call("*B D, *l:B D, *l:B D -> =B D"),
    "sample": call("*B D, *l:B D, *h:B D -> =B D"),
  },
  "von_mises_fisher": DIRECTIONS | {"kl": call("*u:B D, *l:B, *u:B D, *l:B -> B")},
  "zero_inflated_negative_binomial": {
    "log_prob": call(f"*k:B D, {COUNTS}, *B D -> B"),
    "mean": call(f"{COUNTS}, *B D -> =B D"),
    "sample": call(f"{COUNTS}, *B D -> =B D"),
  },
}

KERNELS = {
  f"{family}.{name}": how for family, table in FAMILIES.items() for name, how in table.items()
}

EXCEPTIONS: dict[str, str] = {}
