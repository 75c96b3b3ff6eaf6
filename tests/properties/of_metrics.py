"""How every function of `latentjax.metrics` is called."""

from kernel_calls import QUARTIC, call

from latentjax.quantizers import round_quantize

half = lambda z: z / 2
CODES = "N D, i<3:N C"
VALUES = {"num_values": 3, "num_bins": 2}
SCORE = call(f"{CODES} -> 0..1:()", **VALUES)
DRAWN = call(f"{CODES} -> 0..1:()", num_train=8, num_eval=8, batch_size=4, num_values=3)
PAIRED = call("N D, N E -> 0..1:()")
SAMPLES = call("N D, M D ->")
NEIGHBOURS = call("N D, M D ->", num_neighbours=2)
CCA = call("N D, N E ->")
POINTS = call("N D -> ()")

KERNELS = {
  "active_units": call("N D ->"),
  "adaptive_retrieval": call(
    "K 4, N 4 -> i:K 2", short_dim=(2,), num_candidates=(5,), num_neighbours=2
  ),
  "beta_vae_score": DRAWN,
  "bits_per_dimension": call("*B -> B", num_dims=8),
  "boosted_trees": call("N D, i<3:N 2, M D ->", num_values=(3, 3), num_stages=2, num_bins=4),
  "c2st": SAMPLES,
  "cca": CCA,
  "code_perplexity": call("*i<5:B -> 1..5:()", num_codes=5),
  "code_usage": call("*i<5:B -> 0..1:()", num_codes=5),
  "column_entropies": call("i<3:N C -> 0..:C", num_values=3),
  "dci": call(CODES + " ->", num_values=3, num_stages=2, num_bins=4),
  "dci_scores": call("n:D F -> 0..1:(), 0..1:()"),
  "dcimig": SCORE,
  "density_coverage": NEIGHBOURS,
  "discretize": call("N D -> i:N D", num_bins=3),
  "depth_rank_sum": call("N D, M D -> 0..1:(), (), 0..1:()"),
  "disentanglement_report": call(CODES + " ->", sizes={"N": 24}, num_values=3, num_stages=1),
  "dmig": call(f"{CODES} -> C", **VALUES),
  "effective_rank": call("N D -> 1..D:()"),
  "equivariance_defect": call(
    "*N F -> 0..:()", encode_fn=half, factor_action_fn=lambda y: -y, code_action_fn=lambda z: -z
  ),
  "expected_calibration_error": call("d:B C, i<C:B -> 0..1:()"),
  "explicitness": call(CODES + " -> ()", num_values=3),
  "factor_association": call("F P D, F P D, where=b:F P -> 0..1:D F"),
  "factor_vae_score": DRAWN,
  "frechet_distance": call("N D, M D -> 0..:()"),
  "frechet_distance_of_moments": call("D, c:D D, D, c:D D -> 0..:()"),
  "gaussian_total_correlation": POINTS,
  "gaussian_wasserstein_correlation": call("N D -> 0..:()"),
  "generative_quality": call("N D, M D ->", num_neighbours=2, limit=1e4),
  "hubness": call("N D ->", num_neighbours=3),
  "identifiability_r2": call("N C, N D -> 0..1:()"),
  "infomec": call(CODES + " ->", num_values=3, num_neighbours=2, num_steps=3),
  "interpolation_deviation": call("B D, B D -> 0..:B", decode_fn=half),
  "irs": call(f"{CODES} -> ..1:()", num_bins=3),
  "iso_score": call("N D -> 0..1:()"),
  "kernel_cka": PAIRED,
  "kernel_distance": call("N D, M D -> ()", limit=1e2),
  "kernel_distance_of_subsets": call("N D, M D ->", num_subsets=2, subset_size=4, limit=1e2),
  "kernel_vendi_score": call("c:B B -> ()"),
  "knn_predict": call("K D, N D, i<3:N -> i:K", num_classes=3, num_neighbours=3),
  "label_information": call("i<3:N, i<3:N -> ()"),
  "label_number_information": call("i<3:N, N -> ()", num_neighbours=2),
  "lasso_probe": call("N D, N E -> D E, E", max_sweeps=3),
  "latent_slopes": call("N, N, N ->"),
  "linear_cka": PAIRED,
  "lipschitz_tail_bound": call("*n:B -> 0..1:B"),
  "logistic_probe": call(
    "N D, i<3:N -> D 3, 3", num_classes=3, max_steps=3, undefined="a class without examples"
  ),
  "maximum_mean_discrepancy": call("N D, M D ->", bandwidths=(1.0,), num_permutations=4),
  "mean_correlation_coefficient": call("N C, N D -> ()"),
  "mean_sampled_correlations": call("N D, l:N D, where=b:D ->", limit=1e2),
  "mean_sampled_information": call("N D, l:N D, where=b:D ->", num_bins=3),
  "mig": SCORE,
  "mle_intrinsic_dimension": call("N D -> ()", num_neighbours=3, undefined="copies of every point"),
  "modality_gap": call("N D, N D ->"),
  "modularity": SCORE,
  "modularity_defect": call("*3 4 2 -> 0..1:2"),
  "monomorphism_defect": call("N D -> 0..1:()"),
  "mutual_information_matrix": call(
    "i<3:N A, i<3:N C -> 0..:A C", num_values=3, num_other_values=3
  ),
  "neural_collapse": call("N D, i<C:N, D C, C ->", undefined="a class without examples"),
  "omes": call("s:D F, where=b:D ->"),
  "orthogonal_alignment": call("N D, N E -> D E"),
  "partition_isotropy": call("N D -> 0..1:()"),
  "precision_recall": NEIGHBOURS,
  "prediction_retrieval": call("B D, B D ->", k=(1, 2)),
  "predictive_information": call("i<3:N C, N D -> C", num_values=3, num_steps=3),
  "procrustes_distance": call("N D, N E -> 0..2:()"),
  "product_morphism_defect": call("N F -> 0..:F", encode_fn=half),
  "pwcca": CCA,
  "relation_defect": call("*b:3 2 3 2 -> 0..1:()"),
  "relative_scale": call("N D -> 0..1:()"),
  "ridge_probe": call("N D, N E -> D E, E"),
  "rsa": call("N D, N E -> -1..1:()"),
  "sap": call(f"{CODES} -> 0..1:()", num_values=3),
  "slerp": call("*B D, B D, s: -> B D"),
  "slot_probe": call("N 3 D, N 2 E ->", num_rounds=2),
  "sparse_logistic_probe": call(
    "N D, i<3:N -> D 3, 3", num_classes=3, max_steps=3, undefined="a class without examples"
  ),
  "split_half_slopes": call(
    "N, N K ->", estimate_fn=lambda items: items.mean(1), num_partitions=2, limit=QUARTIC
  ),
  "sqnr": call("*B D, B D -> ()", undefined="no noise, or no signal"),
  "stochastic_defect": call("*d:3 2 ->"),
  "structured_dci": call("n:A D C E ->"),
  "subspace_affinity": call("*o:B D 2, *o:B D 3 -> 0..1:B"),
  "svcca": CCA,
  "tail_index": call("*N -> ()", num_tail=3, undefined="equal largest numbers, or zeros"),
  "token_change_rate": call("*B D ->", quantize_fn=round_quantize, snr_db=10.0),
  "tolerance": call("B D, i<3:B -> -1..1:()", num_classes=3),
  "tte_depth": call("B D, N D -> 0..2:B"),
  "two_nn": call("N D -> ()", undefined="few different distances"),
  "udr": call("A N D, kl=n:A D ->"),
  "variable_types": call("l:N D ->"),
  "vendi_score": call("N D -> 1..D:()"),
}

EXCEPTIONS = {"retrieval_cost": "counts multiplications of stated sizes, in plain integers"}
