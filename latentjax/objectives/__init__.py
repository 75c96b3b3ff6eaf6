"""Training objectives, made from networks given as functions: no network library, no trainer."""

from latentjax.objectives.adversarial import aae, factor_vae
from latentjax.objectives.aligned_vae import AlignedModel, cada_vae
from latentjax.objectives.autoencoder import Autoencoder, rae
from latentjax.objectives.autogen import autogen
from latentjax.objectives.capacitron import capacitron, hierarchical_capacitron
from latentjax.objectives.categorical_vae import categorical_vae
from latentjax.objectives.compression import (
  CompressionModel,
  RateDistortion,
  factorized_compression,
  hyperprior_compression,
)
from latentjax.objectives.conditional import ConditionedModel, conditional
from latentjax.objectives.conditional_vae import ConditionalModel, conditional_vae
from latentjax.objectives.consistency import ConsistencyModel, ConsistencyState, consistency_model
from latentjax.objectives.context_encoding import context_encoding_vae
from latentjax.objectives.cpl_mix_vae import cpl_mix_vae
from latentjax.objectives.cross_flow import CrossFlowModel, cross_flow
from latentjax.objectives.cvib import cvib
from latentjax.objectives.diffuse_vae import diffuse_vae
from latentjax.objectives.diffusion import DiffusionModel, diffusion, drop_condition
from latentjax.objectives.diffusion_autoencoder import (
  diffusion_autoencoder,
  info_diffusion,
  swycc,
)
from latentjax.objectives.discrete_diffusion import discrete_diffusion
from latentjax.objectives.disentangling import capacity_vae, dip_vae, tc_vae
from latentjax.objectives.dts import dts
from latentjax.objectives.edit_vae import EditModel, edit_vae
from latentjax.objectives.ex_post import (
  FullGaussianMixture,
  ex_post_sampler,
  fit_gaussian_mixture,
  two_stage_vae,
)
from latentjax.objectives.flow_prior import flow_prior_autoencoder
from latentjax.objectives.gmvae import gmvae
from latentjax.objectives.gradient_origin import GradientOrigin, gradient_origin
from latentjax.objectives.group_vae import ada_gvae, group_vae
from latentjax.objectives.hierarchical import hierarchical_iwae
from latentjax.objectives.identifiable_vae import idvae, ivae
from latentjax.objectives.interpolants import interpolant_flow, multimarginal_flow
from latentjax.objectives.interpolation import FrameInterpolation, frame_interpolation
from latentjax.objectives.iwae import iwae
from latentjax.objectives.joint_vae import joint_vae
from latentjax.objectives.latent_model import BoundTerms, LatentModel, Prior
from latentjax.objectives.lq_vae import AdversarialFilter, lq_vae
from latentjax.objectives.m2_vae import m2_vae
from latentjax.objectives.manifold_vae import ManifoldModel, hyperspherical_vae, manifold_vae
from latentjax.objectives.masked import i_jepa, mae
from latentjax.objectives.masked_tokens import masked_tokens
from latentjax.objectives.matching import info_vae, wae_mmd
from latentjax.objectives.multi_crop import DinoState, dino, lejepa, multi_view
from latentjax.objectives.multimodal import (
  Modality,
  MultimodalModel,
  Posterior,
  jmvae,
  mmvae,
  mopoe,
  mvae,
  mvtcae,
)
from latentjax.objectives.obow import BowState, obow
from latentjax.objectives.physics_vae import physics_vae
from latentjax.objectives.priors import mixture_prior, vamp_prior
from latentjax.objectives.pulaski import SegmentationModel, pulaski
from latentjax.objectives.quantized import QuantizedAutoencoder, ema_quantize, quantized_autoencoder
from latentjax.objectives.queued import MocoState, moco, nnclr
from latentjax.objectives.repa import repa
from latentjax.objectives.sie import sie
from latentjax.objectives.sigma_vae import sigma_vae
from latentjax.objectives.smooth_diffusion import smooth_diffusion
from latentjax.objectives.teacher import (
  Teacher,
  byol,
  cosine_momentum,
  init_teacher,
  update_teacher,
)
from latentjax.objectives.two_view import SelfSupervised, simsiam, two_view
from latentjax.objectives.vae import vae
from latentjax.objectives.vis import vis
from latentjax.objectives.wake_sleep import wake_sleep

__all__ = [
  "AdversarialFilter",
  "AlignedModel",
  "Autoencoder",
  "BoundTerms",
  "BowState",
  "CompressionModel",
  "ConditionalModel",
  "ConditionedModel",
  "ConsistencyModel",
  "ConsistencyState",
  "CrossFlowModel",
  "DiffusionModel",
  "DinoState",
  "EditModel",
  "FrameInterpolation",
  "FullGaussianMixture",
  "GradientOrigin",
  "LatentModel",
  "ManifoldModel",
  "MocoState",
  "Modality",
  "MultimodalModel",
  "Posterior",
  "Prior",
  "QuantizedAutoencoder",
  "RateDistortion",
  "SegmentationModel",
  "SelfSupervised",
  "Teacher",
  "aae",
  "ada_gvae",
  "autogen",
  "byol",
  "cada_vae",
  "capacitron",
  "capacity_vae",
  "categorical_vae",
  "conditional",
  "conditional_vae",
  "consistency_model",
  "context_encoding_vae",
  "cosine_momentum",
  "cpl_mix_vae",
  "cross_flow",
  "cvib",
  "diffuse_vae",
  "diffusion",
  "diffusion_autoencoder",
  "dino",
  "dip_vae",
  "discrete_diffusion",
  "drop_condition",
  "dts",
  "edit_vae",
  "ema_quantize",
  "ex_post_sampler",
  "factor_vae",
  "factorized_compression",
  "fit_gaussian_mixture",
  "flow_prior_autoencoder",
  "frame_interpolation",
  "gmvae",
  "gradient_origin",
  "group_vae",
  "hierarchical_capacitron",
  "hierarchical_iwae",
  "hyperprior_compression",
  "hyperspherical_vae",
  "i_jepa",
  "idvae",
  "info_diffusion",
  "info_vae",
  "init_teacher",
  "interpolant_flow",
  "ivae",
  "iwae",
  "jmvae",
  "joint_vae",
  "lejepa",
  "lq_vae",
  "m2_vae",
  "mae",
  "manifold_vae",
  "masked_tokens",
  "mixture_prior",
  "mmvae",
  "moco",
  "mopoe",
  "multi_view",
  "multimarginal_flow",
  "mvae",
  "mvtcae",
  "nnclr",
  "obow",
  "physics_vae",
  "pulaski",
  "quantized_autoencoder",
  "rae",
  "repa",
  "sie",
  "sigma_vae",
  "simsiam",
  "smooth_diffusion",
  "swycc",
  "tc_vae",
  "two_stage_vae",
  "two_view",
  "update_teacher",
  "vae",
  "vamp_prior",
  "vis",
  "wae_mmd",
  "wake_sleep",
]
