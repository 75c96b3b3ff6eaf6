"""How every function of `latentjax.transport` is called."""

from kernel_calls import call

SETS = call("B E D, B F D -> B", limit=1e2)

KERNELS = {
  "entropic_partners": call("B D, B D -> =B D", epsilon=0.5, num_iterations=5),
  "frechet_distance": SETS,
  "generalized_energy_distance": call("s:B E D, s:B F D -> B"),
  "hausdorff_divergence": call("B E D, B F D -> B", num_iterations=5, limit=1e2),
  "optimal_assignment": call("N N -> i:N"),
  "optimal_partners": call("B D, B D -> =B D"),
  "sinkhorn_divergence": call("B E D, B F D -> B", num_iterations=5, limit=1e2),
  "sliced_wasserstein_distance": call("N D, M D -> ()"),
}

EXCEPTIONS: dict[str, str] = {}
