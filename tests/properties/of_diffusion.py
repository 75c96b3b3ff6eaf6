"""How every function of `latentjax.diffusion` is called."""

import jax.numpy as jnp
from kernel_calls import call

from latentjax.diffusion.discrete import absorbing
from latentjax.diffusion.processes import vp_linear

half = lambda z, *_: z / 2  # any network
logits = lambda x, t: jnp.zeros((*x.shape, 3))
PROCESS = {"process": vp_linear()}
TIMES = {"times": jnp.array([0.9, 0.5, 0.1])}
STEPS = PROCESS | TIMES
TOKENS = {"process": absorbing(num_tokens=3)}
SAMPLER = call("*B D -> =B D", denoise_fn=half, **STEPS)
MEASURED = {"denoise_fn": half, "measure_fn": half}

KERNELS = {
  "bridges.bridge_step": call("B D, B D, h: -> =B D", s=0.03),
  "bridges.bridged": call("B D, B D, B D, *s:B -> =B D"),
  "bridges.consecutive_bridge": call("y=B D, z=B D -> =B D, =B D", predict_fn=half, **TIMES),
  "bridges.consecutive_bridge_loss": call("x=B D, y=B D, z=B D -> B", predict_fn=half),
  "classification.class_errors": call("*B D -> B 3", predict_fn=half, num_classes=3, **STEPS),
  "classification.eliminate_classes": call(
    "*B D -> i:B 1, B 1",
    predict_fn=half,
    num_classes=3,
    stages=((jnp.array([0.3, 0.6]), 1),),
    **PROCESS,
  ),
  "discrete.ancestral": call("*i<3:B T -> i:B T", predict_fn=logits, **TOKENS, **TIMES),
  "discrete.corrupt": call("*i<3:B T, *s:B -> i:B T", **TOKENS),
  "discrete.logits_from_flips": call("B T, i<2:B T -> =B T 2"),
  "discrete.posterior_log_prob": call("*B T 3, *i<3:B T, *s:B, *s:B -> B T 4", **TOKENS),
  "discrete.prior_kl": call("*i<3:B T -> B", **TOKENS),
  "discrete.rate_loss": call("*B T 3, *i<3:B T, *i<3:B T, *s:B -> B", **TOKENS),
  "discrete.step_kl": call("*B T 3, *i<3:B T, *i<3:B T, *s:B, *s:B -> B", **TOKENS),
  "discrete.transition_log_prob": call("*i<3:B T, *s:B, *s:B -> B T 4", **TOKENS),
  "guidance.log_vendi_with": call("B D, *M D -> B"),
  "inverse.dps": call("x_init=*B D, measurement=B D -> =B D", **MEASURED, **STEPS),
  "inverse.hard_data_consistency": call(
    "x_init=*B D, measurement=B D -> =B D", measure_fn=half, num_steps=2
  ),
  "inverse.red_diff": call("x_init=*B D, measurement=B D -> =B D", **MEASURED, **STEPS),
  "inverse.red_diff_loss": call("mu=*B D, measurement=B D, t=s: -> B", **MEASURED, **PROCESS),
  "inverse.resample": call("*B D -> =B D", denoise_fn=half, consistent_fn=half, **STEPS),
  "inverse.stochastic_resample": call("B D, B D, s: -> =B D", scale=0.5, **PROCESS),
  "inversion.ddim_invert": SAMPLER,
  "inversion.dire": SAMPLER,
  "latent_codes.cycle_diffusion": call(
    "*B D -> =B D", source_denoise_fn=half, target_denoise_fn=half, **STEPS
  ),
  "latent_codes.dpm_encode": call("*B D ->", denoise_fn=half, **STEPS),
  "latent_codes.latent_langevin": call(
    "*B D -> =B D", energy_fn=lambda z: z.reshape(z.shape[0], -1).sum(1), num_steps=2, step_size=0.1
  ),
  "processes.convert": call("B D, B D, *s:B -> =B D", source="eps", target="v", **PROCESS),
  "processes.drift_and_diffusion": call("*s:B -> B, B", **PROCESS),
  "processes.noised": call("B D, B D, *s:B -> =B D", **PROCESS),
  "processes.preconditioning": call("*s:B ->", **PROCESS),
  "processes.time_at_log_snr": call("*l:B -> B", **PROCESS),
  "samplers.consistency": call("*B D -> =B D", consistency_fn=half, **STEPS),
  **{
    f"samplers.{name}": SAMPLER
    for name in (
      "ddim",
      "ddpm",
      "dpmpp_2m",
      "euler",
      "euler_maruyama",
      "heun",
      "predictor_corrector",
      "unipc",
    )
  },
  "samplers.velocity_flow": call("*B D -> =B D", velocity_fn=half, **TIMES),
  "shifted.shifted_noised": call("B D, B D, B D, *s:B -> =B D", **PROCESS),
  "shifted.shifted_posterior": call("B D, B D, B D, *h:B ->", s=0.03, **PROCESS),
}

_MAKES = "makes a function of functions"
_PROCESS = "makes a process"
_TREE = "takes a tree of any arrays"

EXCEPTIONS = {
  "averaging.init_power_average": _TREE,
  "averaging.post_hoc_average": _TREE,
  "averaging.post_hoc_weights": "solves on the host",
  "averaging.power_exponent": "solves on the host",
  "averaging.power_width": "solves on the host",
  "averaging.update_power_average": _TREE,
  "discrete.absorbing": _PROCESS,
  "discrete.bernoulli": _PROCESS,
  "discrete.draw_prior": "takes no array",
  "discrete.mask_and_replace": _PROCESS,
  "discrete.uniform": _PROCESS,
  "guidance.autoguidance": _MAKES,
  "guidance.cfg_zero_star": _MAKES,
  "guidance.classifier_free": _MAKES,
  "guidance.classifier_guidance": _MAKES,
  "guidance.vendi_guidance": _MAKES,
  "inverse.posterior_denoiser": _MAKES,
  "latent_codes.dpm_decode": "takes what dpm_encode returns",
  "processes.edm": _PROCESS,
  "processes.from_log_snr": _PROCESS,
  "processes.precondition": _MAKES,
  "processes.rectified_flow": _PROCESS,
  "processes.shifted": _PROCESS,
  "processes.sub_vp": _PROCESS,
  "processes.trigonometric": _PROCESS,
  "processes.ve": _PROCESS,
  "processes.vp_cosine": _PROCESS,
  "processes.vp_linear": _PROCESS,
  "processes.zero_terminal_snr": _PROCESS,
  "samplers.ode_log_likelihood": "needs the extra `ode`",
  "shifted.shifted_sampler": _MAKES,
  "spacings.karras": "takes no array",
  "spacings.log_snr": "takes no array",
  "spacings.quadratic": "takes no array",
  "spacings.uniform": "takes no array",
}
