"""How every function of `latentjax.losses` is called."""

import jax
import jax.numpy as jnp
from kernel_calls import QUARTIC, Sized, call

from latentjax.densities import gaussian
from latentjax.diffusion.discrete import absorbing
from latentjax.diffusion.processes import vp_linear
from latentjax.losses.contrastive import Queue, Vocabulary, info_nce
from latentjax.losses.elbo import TotalCorrelationTerms
from latentjax.losses.information import MineState
from latentjax.losses.programmable import expectation, sample
from latentjax.losses.score import LossHistoryState, linear_interpolant
from latentjax.losses.spectral import SpectralState

PAIR = call("u:B D, u:B D -> B")
PAIR_BLOCKS = call("u:B D, u:B D -> B", block_size=4)
PAIR_SCALAR = call("B D, B D -> ()")
SCORES = call("B B -> B", limit=80)
WEIGHTS = call("K B -> B")
GAUSSIANS = "B D, l:B D"
KEY = jax.random.key(0)
half = lambda z, *_: z / 2  # any network
summed = lambda z, *_: z.sum(tuple(range(1, z.ndim)))
PROCESS = {"process": vp_linear()}
WEIGHT = call("*l:B D -> B D")


def size(axis):
  return Sized(lambda s: s[axis])


def of_time(make):
  return lambda t: [share(t) for share in make(scale=0.5)]


def expected_square(expectation):
  """Of a Gaussian, by a program of one site."""

  def program(mean):
    z = yield sample(gaussian, (mean, jnp.zeros_like(mean)), strategy="reparam")
    return jnp.sum(jnp.square(z))

  return lambda mean: expectation(program)(KEY, mean)


INTERPOLANT = call("*h:B -> B, B, B", through=of_time)
TIMES = call("-> B", batch_size=Sized(lambda s: s["B"]))
PROCESS_TIMES = call("-> B", batch_size=Sized(lambda s: s["B"]), **PROCESS)

CONTRASTIVE = {
  "alignment": call("u:B D, u:B D -> B"),
  "barlow_twins_loss": PAIR_SCALAR,
  "bow_loss": call("B F, N F, d:B N -> B"),
  "bow_target": call("B P D, N D, p: -> B N"),
  "byol_loss": call("B D, B D, B D, B D -> B"),
  "clip_loss": call("u:B D, u:B D -> B", logit_scale=100.0),
  "coding_rate": call("u:B D -> ()"),
  "coding_rate_reduction": call("u:B D, d:B K -> ()"),
  "covariance_operator": call("*E D, *B A G -> D*E D*E", apply_fn=lambda w, x: w.sum() * x),
  "cross_uniformity": call("u:B D, u:B D -> ()"),
  "dcl_loss": call("u:B D, u:B D -> B", weight_temperature=0.5),
  "dino_loss": call("C B K, A B K, K -> B", limit=QUARTIC),
  "doubly_stochastic_membership": call("u:B D -> B B"),
  "epps_pulley": call("*B D -> D"),
  "frossl_loss": call("C B D -> ()"),
  "hard_contrastive_loss": call("u:B D, u:B D -> B", num_negatives=2),
  "hyper_linear": call("B D, B G, G D D -> B D", limit=QUARTIC),
  "info_nce": PAIR_BLOCKS,
  "init_queue": call("-> N D, i:()", size=size("N"), dim=size("D")),
  "init_vocabulary": call("-> N D, i:(), ()", num_words=size("N"), dim=size("D")),
  "joint_entropy_loss": call("u:B D, u:B E -> B"),
  "koleo_loss": call("B D -> B"),
  "l2_normalize": call("*B D -> =B D"),
  "match_texts": call("B D, N D, i<2:B, i<2:N -> i:B 5"),
  "matryoshka": call(  # prefixes of embeddings that may differ in length
    "*B D, *B E -> B",
    through=lambda make: (
      lambda embeddings, positives: make(info_nce, [2, 3])(embeddings, positives)
    ),
  ),
  "matryoshka_2d": call(
    "L B D, L B D -> B",
    through=lambda make: lambda embeddings, others: make(info_nce, [2, 3])(KEY, embeddings, others),
  ),
  "mc_info_nce": call("u:B D, l:B, u:B D, l:B -> B", num_samples=2),
  "mmcr_loss": call("C B D -> ()", lambda_local=0.1),
  "moco_loss": call("u:B D, u:B D, u:N D -> B"),
  "msn_loss": call("C B K, B K -> B", limit=QUARTIC),
  "nearest_rows": call("B D, N D -> =B D"),
  "negative_shares": call("u:B D, u:B D -> B B"),
  "nnclr_loss": call("B D, B D, B D, B D, N D -> B"),
  "nt_xent": PAIR_BLOCKS,
  "predicted_update": call("P P, *P -> P"),
  "pseudo_label_batches": call("i:2*N -> i:N 2", batch_size=2),
  "sepclr_terms": call("u:B D, u:B D, B E, B E, b:B ->"),
  "sie_loss": call("B D+E, B D+E, B E -> ()", limit=QUARTIC),
  "siglip_loss": call("u:B D, u:B D -> B", logit_scale=10.0, logit_bias=-10.0),
  "sigreg_loss": call("B D -> ()", num_slices=4),
  "simple_contrastive_loss": PAIR,
  "simsiam_loss": call("B D, B D, B D, B D -> B"),
  "sinkhorn_assignments": call("*B K -> B K"),
  "spectral_contrastive_loss": PAIR,
  "sup_con": call("u:B D, i<3:B -> B", block_size=4),
  "swav_loss": call("C B K -> B", limit=QUARTIC),
  "tico_loss": call("B D, B D, c:D D -> B, D D"),
  "triplet_loss": call("B D, B D, B D -> B"),
  "uniformity": call("u:B D -> ()"),
  "update_dino_centre": call("K, A B K -> K"),
  "update_queue": call(
    "B D ->",
    queue=Sized(lambda s: Queue(jnp.ones((2 * s["B"], s["D"])), jnp.int32(0))),
  ),
  "update_vocabulary": call(
    "B P D ->",
    vocabulary=Sized(lambda s: Vocabulary(jnp.ones((9, s["D"])), jnp.int32(0), jnp.float32(1))),
  ),
  "vicreg_loss": call("B D, B D -> ()", limit=QUARTIC),
  "vicregl_loss": call("B P D, B P D, B P 2, B P 2 -> ()", num_matches=2, limit=QUARTIC),
  "von_neumann_entropy": call("B D -> ()"),
  "w_mse_loss": call("B D, B D -> B", limit=10),
  "zero_shot_logits": call("B D, *C D -> B C"),
}

ELBO = {
  "anomaly_map": call("B H W C, B H W C -> B H W"),
  "autogen_bound": call("B, B -> B"),
  "bag_of_words_loss": call("B V, n:B V -> B"),
  "capacity_loss": call("*n:B -> B", capacity=1.0),
  "conditional_covariance": call("c:D D, D C, c:C C -> D D", ridge=0.1),
  "constrained_kl_loss": call("*n:B, l: -> B", capacity=1.0),
  "dip_penalty": call("B D, m:B D -> ()", kind="ii", limit=1e2),
  "elbo": call("B, B -> B"),
  "free_bits": call("B D -> B", min_nats=0.1),
  "group_adversary_loss": call(
    "B D, B E, i<3:B -> B", informed_fn=lambda z: z[:, :3], invariant_fn=lambda z: z[:, :3]
  ),
  "infovae_bound": call("B, B, *f: -> B"),
  "least_action_loss": call("*B D, *B D, *m:B D, B -> B"),
  "linear_hvae_spectrum": call("*n:D -> D, D", encoder_scale=0.5),
  "linear_vae_spectrum": call("*n:D -> D"),
  "mixture_kl": call("B D, m:B D, B M, M, M D, m:M D -> B"),
  "mmd": call("B D, N D -> ()"),
  "permute_dims": call("B D -> =B D"),
  "self_supervision_loss": call("B D, B D -> B"),
  "sequence_log_prob": call("i<V:B T, B T V -> B"),
  "simplex_distance": call("B C, B C -> B"),
  "tc_density_ratio": call("B 2 -> B"),
  "tc_discriminator_loss": call("B 2, B 2 -> B"),
  "tcvae_kl": call(
    "B, B, B -> B",
    through=lambda kl: (
      lambda mutual_information, total_correlation, dimension_wise_kl: kl(
        TotalCorrelationTerms(mutual_information, total_correlation, dimension_wise_kl)
      )
    ),
  ),
  "total_correlation_terms": call("B D, B D, m:B D -> B, B, B", dataset_size=100),
  "w2_gaussian": call(f"{GAUSSIANS}, {GAUSSIANS} -> B"),
}

GROUPS = {
  "adaptive_shared_mask": call(f"{GAUSSIANS}, {GAUSSIANS} -> b:B D"),
  "group_average": call(f"{GAUSSIANS}, i:B -> B D, B D"),
  "group_product": call(f"{GAUSSIANS}, i:B -> B D, B D"),
  "group_sizes": call("i:B -> i:B"),
}

IMPORTANCE = {
  "chi2_divergence_bound": WEIGHTS,
  "chi2_proposal_loss": WEIGHTS,
  "ciwae_bound": call("K B -> B", beta=0.05),
  "cubo_bound": WEIGHTS,
  "effective_sample_size": WEIGHTS,
  "iwae_bound": WEIGHTS,
  "log_marginal_bound": call(
    "log_w=B -> B",
    through=lambda bound: (
      lambda log_w: bound(
        KEY,
        lambda key, num_samples: jnp.broadcast_to(log_w, (num_samples, *log_w.shape)),
        num_samples=7,
        block_size=3,
      )
    ),
  ),
  "miwae_bound": call("M K B -> B"),
  "normalized_weights": call("K B -> K B"),
  "piwae_bound": call("M K B, M K B -> B"),
  "renyi_bound": call("K B -> B", alpha=0.5),
  **{
    name: call(
      "z=K B D, q_params=*E -> B",
      log_joint_fn=lambda z: z.sum(-1),
      log_q_fn=lambda z, q: z.sum(-1) * q.sum(),
    )
    for name in ("dreg_bound", "stl_bound")
  },
}

INFORMATION = {
  "bayes_loss": call("*B, n: -> B", num_examples=100),
  "ceb_loss": call("B, B, B -> B"),
  "club_bound": SCORES,
  "cs_conditional_divergence": call("B D, B E, B E -> ()"),
  "cs_divergence": call("B D, N D -> ()"),
  "cs_information": call("B D, B E -> ()"),
  "donsker_varadhan_bound": SCORES,
  "gate_kl": call("D, l:D -> D"),
  "gate_mask": call("D, l:D -> b:D"),
  "gradient_penalty": call("*B D, *B E -> B", critic_fn=lambda x, y: summed(x) * summed(y)),
  "hsic": call("B D, B E -> ()"),
  "hsic_bottleneck_loss": call("B D, B E, B F -> ()"),
  "info_nce_bound": SCORES,
  "init_mine": call("-> (), ()", undefined="the logarithm of no mean yet"),
  "interpolated_bound": call("B B, B -> B", alpha=0.5, limit=80),
  "jensen_shannon_bound": SCORES,
  "ksg_mutual_information": call("B D, B E -> B"),
  "leave_one_out_bound": SCORES,
  "mine_bound": call("B B ->", state=MineState(jnp.float32(0), jnp.float32(0)), limit=80),
  "normalized_hsic": call("B D, B E -> ()"),
  "nwj_bound": SCORES,
  "smile_bound": SCORES,
  "tuba_bound": call("B B, B -> B", limit=40),
  "vib_gate": call("*B D, D, l:D -> B D"),
  "vib_loss": call("B, B -> B"),
  "wasserstein_dependency": SCORES,
}

MASKED = {
  "block_masks": call("-> b:B 7*8, b:B 4 7*8", batch_size=size("B"), grid=(7, 8)),
  "jepa_loss": call("B T D, B T D, where=b:B T -> B"),
  "mae_loss": call("B P D, B P D, mask=b:B P -> B"),
  "masked_positions": call("*b:B P ->", size=2),
  "patchify": call("B 4 4 C -> =B 4 4*C", patch_size=2),
  "random_masking": call("-> i:B 2, i:B 6, b:B 8", batch_size=size("B"), num_patches=8),
  "unpatchify": call("B 4 4*C -> =B 4 4 C", patch_size=2, image_size=(4, 4)),
}

SCORE = {
  "antithetic_times": TIMES,
  "cauchy_loss": call("B D, B D -> B", c=0.5),
  "cauchy_scale": call("*p:B -> B"),
  "consistency_distillation_loss": call(
    "*B D -> B", consistency_fn=half, denoise_fn=half, num_steps=10, **PROCESS
  ),
  "consistency_steps": call("*i:B -> i:B", total_steps=100),
  "consistency_times": PROCESS_TIMES,
  "consistency_training_loss": call("*B D -> B", consistency_fn=half, num_steps=10, **PROCESS),
  "cross_flow_loss": call("B D, B D, log_scale=l:B D ->", velocity_fn=half),
  "denoising_loss": call("*B D -> B", predict_fn=half, **PROCESS),
  "discrete_loss": call(
    "*i<3:B T ->",
    predict_fn=lambda x, t: jnp.zeros((*x.shape, 3)),
    process=absorbing(num_tokens=3),
  ),
  "edm_weight": WEIGHT,
  "flow_alignment_loss": call("*B D -> B", velocity_fn=half),
  "flow_matching_loss": call("B D, B D -> B", velocity_fn=half),
  "implicit_score_matching_loss": call("*B D -> B", score_fn=half),
  "init_loss_history": call("-> N L, i:N", num_intervals=size("N"), length=size("L")),
  "interpolant_drift": call("B D, B D, *h:B -> =B D", interpolant=linear_interpolant(), scale=0.5),
  "interpolant_loss": call("B D, B D -> B", predict_fn=half, interpolant=linear_interpolant()),
  "likelihood_times": PROCESS_TIMES,
  "likelihood_weight": call("*l:B D -> B D", **PROCESS),
  "linear_interpolant": INTERPOLANT,
  "log_normal_times": PROCESS_TIMES,
  "logit_normal_times": TIMES,
  "loss_weighted_times": call(
    "-> B, B",
    batch_size=Sized(lambda s: s["B"]),
    state=LossHistoryState(jnp.ones((10, 5)), jnp.zeros(10, jnp.int32)),
  ),
  "mean_flow_loss": call("*B D -> B", mean_velocity_fn=half),
  "min_snr_weight": WEIGHT,
  "multimarginal_loss": call(
    "*B K D -> B", marginals_fn=lambda x, alpha: alpha[:, :, None] * x[:, None]
  ),
  "p2_weight": WEIGHT,
  "path_velocity": call(
    "x=*B D, t=*s:B -> =B D",
    through=lambda make: (
      lambda x, t: make(
        lambda x, alpha: alpha[:, :, None] * x.reshape(len(x), 1, -1),
        lambda t: jnp.stack([1 - t, t]),
      )(x, t)
    ),
  ),
  "pseudo_huber_loss": call("B D, B D -> B"),
  "sigmoid_weight": WEIGHT,
  "simplex_interpolant": call("*d:B K, *B K D -> =B D"),
  "simplex_weights": call(
    "-> B K", batch_size=Sized(lambda s: s["B"]), num_marginals=Sized(lambda s: s["K"])
  ),
  "sliced_score_matching_loss": call("*B D -> B", score_fn=half),
  "step_variation": call("B D, *s:B, B D ->", predict_fn=half, **PROCESS),
  "subspace_denoising_loss": call("B D, o:K D 2 -> B", alpha=0.8, sigma=0.6),
  "trigonometric_interpolant": INTERPOLANT,
  "uniform_times": TIMES,
  "uniform_weight": WEIGHT,
  "update_loss_history": call(
    "s:B, n:B ->", state=LossHistoryState(jnp.ones((10, 5)), jnp.zeros(10, jnp.int32))
  ),
  "variation_penalty": call("n:B, n: ->"),
  "variational_loss": call("*B D -> B", predict_fn=half, **PROCESS),
}

WORDS = {
  "glove_loss": call("B D, B D, B, B, n:B -> B", limit=QUARTIC),
  "log_partition": call("V D, B D -> B", block_size=4),
  "ngram_embed": call("i<G:B N, G D -> B D"),
  "sgns_loss": call("B D, B D, B K D -> B"),
  "sif_pool": call("B T D, s:B T, where=b:B T -> B D"),
  "squared_norm_loss": call("l:B D, l:B D, f:, n:B -> B"),
}

OTHER = {
  "annealing.cyclical_annealing": call("*i:B -> B", num_steps=8),
  "annealing.exponential_annealing": call("*i:B -> B", rate=1e-3),
  "annealing.linear_annealing": call("*i:B -> B", num_steps=8),
  "distillation.repa_loss": call("B P D, B P D -> B"),
  "routing.scale_gradient": call("*B D, *f: -> =B D"),
  "score_function.arm_loss": call("*l:B D -> B", cost_fn=summed),
  "score_function.disarm_loss": call("*l:B D -> B", cost_fn=summed),
  "score_function.leave_one_out_loss": call("K B, K B -> K B"),
  "score_function.reinforce_loss": call("K B, K B -> K B"),
  "score_function.vimco_bound": call("K B, K B -> B"),
  "smoothness.jacobian_penalty": call("B D -> B", fn=half),
  "programmable.expectation": call("*B D -> ()", through=expected_square),
  "programmable.sample": call("*B D -> ()", through=lambda _: expected_square(expectation)),
  "spectral.init_spectral_state": call("weights=*D E -> E"),
  "spectral.spectral_normalize": call(
    "D E ->", state=Sized(lambda s: SpectralState((jnp.ones(s["E"]),)))
  ),
}

KERNELS = OTHER | {
  f"{part}.{name}": how
  for part, table in {
    "contrastive": CONTRASTIVE,
    "elbo": ELBO,
    "groups": GROUPS,
    "importance": IMPORTANCE,
    "information": INFORMATION,
    "masked": MASKED,
    "score": SCORE,
    "words": WORDS,
  }.items()
  for name, how in table.items()
}

EXCEPTIONS = {
  "elbo.balanced_kl": "hands trees of any arrays to the caller's kl_fn",
  "words.ngram_ids": "takes strings",
}
