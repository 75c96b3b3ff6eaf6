"""What a trained model is measured by."""

from latentjax.losses.importance import log_marginal_bound
from latentjax.metrics.adaptive_retrieval import adaptive_retrieval, retrieval_cost
from latentjax.metrics.attenuation import LatentSlopes, latent_slopes, split_half_slopes
from latentjax.metrics.boosting import BoostedTrees, boosted_trees
from latentjax.metrics.calibration import expected_calibration_error
from latentjax.metrics.canonical_correlation import CanonicalCorrelations, cca, pwcca, svcca
from latentjax.metrics.cka import kernel_cka, linear_cka
from latentjax.metrics.classifier_test import ClassifierTest, c2st
from latentjax.metrics.codes import code_perplexity, code_usage
from latentjax.metrics.dci import DCI, dci, dci_scores
from latentjax.metrics.depth import DepthRankSum, depth_rank_sum, tte_depth
from latentjax.metrics.discrete_information import (
  column_entropies,
  discretize,
  mutual_information_matrix,
)
from latentjax.metrics.diversity import kernel_vendi_score, vendi_score
from latentjax.metrics.embeddings import effective_rank, knn_predict, relative_scale, tolerance
from latentjax.metrics.explicitness import explicitness
from latentjax.metrics.fixed_factor_scores import beta_vae_score, factor_vae_score
from latentjax.metrics.frechet import frechet_distance, frechet_distance_of_moments
from latentjax.metrics.generative import GenerativeQuality, generative_quality
from latentjax.metrics.hubness import Hubness, hubness
from latentjax.metrics.identifiability import identifiability_r2, mean_correlation_coefficient
from latentjax.metrics.infomec import InfoMEC, infomec
from latentjax.metrics.information_gaps import dcimig, dmig, mig, modularity
from latentjax.metrics.interpolation import interpolation_deviation, slerp
from latentjax.metrics.intrinsic_dimension import mle_intrinsic_dimension, two_nn
from latentjax.metrics.irs import irs
from latentjax.metrics.isotropy import iso_score, partition_isotropy
from latentjax.metrics.kernel_distance import (
  KernelDistance,
  kernel_distance,
  kernel_distance_of_subsets,
)
from latentjax.metrics.latent_correlation import (
  gaussian_total_correlation,
  gaussian_wasserstein_correlation,
)
from latentjax.metrics.likelihood import bits_per_dimension
from latentjax.metrics.modalities import ModalityGap, modality_gap
from latentjax.metrics.mutual_information import label_information, label_number_information
from latentjax.metrics.neural_collapse import NeuralCollapse, neural_collapse
from latentjax.metrics.omes import OMES, factor_association, omes
from latentjax.metrics.posterior import ActiveUnits, active_units
from latentjax.metrics.precision_recall import (
  DensityCoverage,
  PrecisionRecall,
  density_coverage,
  precision_recall,
)
from latentjax.metrics.predictive_information import predictive_information
from latentjax.metrics.probes import LinearProbe, logistic_probe, ridge_probe
from latentjax.metrics.procrustes import orthogonal_alignment, procrustes_distance
from latentjax.metrics.product_relations import StochasticDefect, relation_defect, stochastic_defect
from latentjax.metrics.products import (
  equivariance_defect,
  modularity_defect,
  monomorphism_defect,
  product_morphism_defect,
)
from latentjax.metrics.quantization import sqnr
from latentjax.metrics.report import disentanglement_report
from latentjax.metrics.representations import (
  MutualInformations,
  TotalCorrelations,
  VariableTypes,
  mean_sampled_correlations,
  mean_sampled_information,
  variable_types,
)
from latentjax.metrics.retrieval import Retrieval, prediction_retrieval
from latentjax.metrics.rsa import rsa
from latentjax.metrics.sap import sap
from latentjax.metrics.sparse_probes import lasso_probe, sparse_logistic_probe
from latentjax.metrics.structured import SlotProbe, StructuredDCI, slot_probe, structured_dci
from latentjax.metrics.subspaces import subspace_affinity
from latentjax.metrics.tails import lipschitz_tail_bound, tail_index
from latentjax.metrics.token_change import TokenChange, token_change_rate
from latentjax.metrics.two_sample import PermutationTest, maximum_mean_discrepancy
from latentjax.metrics.udr import UDR, udr
from latentjax.transport import sliced_wasserstein_distance

__all__ = [
  "DCI",
  "OMES",
  "UDR",
  "ActiveUnits",
  "BoostedTrees",
  "CanonicalCorrelations",
  "ClassifierTest",
  "DensityCoverage",
  "DepthRankSum",
  "GenerativeQuality",
  "Hubness",
  "InfoMEC",
  "KernelDistance",
  "LatentSlopes",
  "LinearProbe",
  "ModalityGap",
  "MutualInformations",
  "NeuralCollapse",
  "PermutationTest",
  "PrecisionRecall",
  "Retrieval",
  "SlotProbe",
  "StochasticDefect",
  "StructuredDCI",
  "TokenChange",
  "TotalCorrelations",
  "VariableTypes",
  "active_units",
  "adaptive_retrieval",
  "beta_vae_score",
  "bits_per_dimension",
  "boosted_trees",
  "c2st",
  "cca",
  "code_perplexity",
  "code_usage",
  "column_entropies",
  "dci",
  "dci_scores",
  "dcimig",
  "density_coverage",
  "depth_rank_sum",
  "discretize",
  "disentanglement_report",
  "dmig",
  "effective_rank",
  "equivariance_defect",
  "expected_calibration_error",
  "explicitness",
  "factor_association",
  "factor_vae_score",
  "frechet_distance",
  "frechet_distance_of_moments",
  "gaussian_total_correlation",
  "gaussian_wasserstein_correlation",
  "generative_quality",
  "hubness",
  "identifiability_r2",
  "infomec",
  "interpolation_deviation",
  "irs",
  "iso_score",
  "kernel_cka",
  "kernel_distance",
  "kernel_distance_of_subsets",
  "kernel_vendi_score",
  "knn_predict",
  "label_information",
  "label_number_information",
  "lasso_probe",
  "latent_slopes",
  "linear_cka",
  "lipschitz_tail_bound",
  "log_marginal_bound",
  "logistic_probe",
  "maximum_mean_discrepancy",
  "mean_correlation_coefficient",
  "mean_sampled_correlations",
  "mean_sampled_information",
  "mig",
  "mle_intrinsic_dimension",
  "modality_gap",
  "modularity",
  "modularity_defect",
  "monomorphism_defect",
  "mutual_information_matrix",
  "neural_collapse",
  "omes",
  "orthogonal_alignment",
  "partition_isotropy",
  "precision_recall",
  "prediction_retrieval",
  "predictive_information",
  "procrustes_distance",
  "product_morphism_defect",
  "pwcca",
  "relation_defect",
  "relative_scale",
  "retrieval_cost",
  "ridge_probe",
  "rsa",
  "sap",
  "slerp",
  "sliced_wasserstein_distance",
  "slot_probe",
  "sparse_logistic_probe",
  "split_half_slopes",
  "sqnr",
  "stochastic_defect",
  "structured_dci",
  "subspace_affinity",
  "svcca",
  "tail_index",
  "token_change_rate",
  "tolerance",
  "tte_depth",
  "two_nn",
  "udr",
  "variable_types",
  "vendi_score",
]
