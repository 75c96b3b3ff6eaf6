"""How every function of `latentjax.diffusion` is called."""

import jax
import jax.numpy as jnp
from kernel_calls import Sized, call

from latentjax.diffusion import averaging, latent_codes, processes, samplers
from latentjax.diffusion.discrete import absorbing, transition_log_prob
from latentjax.diffusion.processes import vp_linear

half = lambda z, *_: z / 2  # any network
logits = lambda x, t: jnp.zeros((*x.shape, 3))
PROCESS = {"process": vp_linear()}
TIMES = {"times": jnp.array([0.9, 0.5, 0.1])}
STEPS = PROCESS | TIMES
TOKENS = {"process": absorbing(num_tokens=3)}
SAMPLER = call("*B D -> =B D", denoise_fn=half, **STEPS)
KEY = jax.random.key(0)
none_of = lambda x: jnp.zeros(jnp.shape(x)[:1])
GUIDED = "x_t=*B D, t=*h: -> B D"  # a denoiser made of others
COUNTED = {"num_steps": Sized(lambda s: s["T"])}
MEASURED = {"denoise_fn": half, "measure_fn": half}


def scales(*args, **options):
  """Of the process that is made, at times inside (0, 1)."""

  def of_time(make):
    def at(t):
      process = make(*args, **options)
      return process.alpha(t), process.sigma(t), process.log_snr(t)

    return at

  return call("*h:B -> B, B, B", through=of_time)


def transitions(**options):
  """Of the discrete process that is made."""
  return call(
    "*i<2:B T, *s:B, *s:B ->",
    through=lambda make: lambda x_s, s, t: transition_log_prob(x_s, s, t, process=make(**options)),
  )


KERNELS = {
  "averaging.init_power_average": call("params=*B D ->"),
  "averaging.update_power_average": call(
    "params=*B D ->",
    through=lambda update: lambda params: update(averaging.init_power_average(params), params),
  ),
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
  "discrete.absorbing": transitions(num_tokens=3),
  "discrete.bernoulli": transitions(),
  "discrete.draw_prior": call("-> i:B T", shape=Sized(lambda s: (s["B"], s["T"])), **TOKENS),
  "discrete.mask_and_replace": transitions(num_tokens=3),
  "discrete.uniform": transitions(num_tokens=3),
  "discrete.logits_from_flips": call("B T, i<2:B T -> =B T 2"),
  "discrete.posterior_log_prob": call("*B T 3, *i<3:B T, *s:B, *s:B -> B T 4", **TOKENS),
  "discrete.prior_kl": call("*i<3:B T -> B", **TOKENS),
  "discrete.rate_loss": call("*B T 3, *i<3:B T, *i<3:B T, *s:B -> B", **TOKENS),
  "discrete.step_kl": call("*B T 3, *i<3:B T, *i<3:B T, *s:B, *s:B -> B", **TOKENS),
  "discrete.transition_log_prob": call("*i<3:B T, *s:B, *s:B -> B T 4", **TOKENS),
  "guidance.autoguidance": call(
    GUIDED, through=lambda make: lambda x_t, t: make(half, half, scale=2.0)(x_t, t)
  ),
  "guidance.cfg_zero_star": call(
    GUIDED,
    through=lambda make: lambda x_t, t: make(half, none_of(x_t), 0.0, scale=2.0, **PROCESS)(x_t, t),
  ),
  "guidance.classifier_free": call(
    GUIDED,
    through=lambda make: (
      lambda x_t, t: make(half, none_of(x_t), 0.0, scale=2.0, rescale=0.5)(x_t, t)
    ),
  ),
  "guidance.classifier_guidance": call(
    GUIDED,
    through=lambda make: (
      lambda x_t, t: make(half, lambda x, t: x.sum(range(1, x.ndim)), **PROCESS)(x_t, t)
    ),
  ),
  "guidance.vendi_guidance": call(
    "x_t=B D, t=*h:, memory=*M D -> B D",
    through=lambda make: (
      lambda x_t, t, memory: make(half, lambda x: x, memory, scale=2.0, **PROCESS)(x_t, t)
    ),
  ),
  "guidance.log_vendi_with": call("B D, *M D -> B"),
  "inverse.dps": call("x_init=*B D, measurement=B D -> =B D", **MEASURED, **STEPS),
  "inverse.hard_data_consistency": call(
    "x_init=*B D, measurement=B D -> =B D", measure_fn=half, num_steps=2
  ),
  "inverse.posterior_denoiser": call(
    "x_t=*B D, t=h:, measurement=B D -> =B D",
    through=lambda make: (
      lambda x_t, t, measurement: make(half, half, measurement, noise_scale=0.5, **PROCESS)(x_t, t)
    ),
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
  "latent_codes.dpm_decode": call(
    "*B D -> B D",
    through=lambda decode: (
      lambda x: decode(half, latent_codes.dpm_encode(KEY, half, x, **STEPS), **STEPS)
    ),
  ),
  "latent_codes.dpm_encode": call("*B D ->", denoise_fn=half, **STEPS),
  "latent_codes.latent_langevin": call(
    "*B D -> =B D", energy_fn=lambda z: z.reshape(z.shape[0], -1).sum(1), num_steps=2, step_size=0.1
  ),
  "processes.convert": call("B D, B D, *s:B -> =B D", source="eps", target="v", **PROCESS),
  "processes.drift_and_diffusion": call("*s:B -> B, B", **PROCESS),
  "processes.edm": scales(),
  "processes.from_log_snr": scales(lambda t: 4 - 8 * t),
  "processes.precondition": call(
    "*B D, *h: -> =B D", through=lambda make: lambda z_t, t: make(half, **PROCESS)(z_t, t)
  ),
  "processes.rectified_flow": scales(),
  "processes.shifted": scales(vp_linear(), factor=2.0),
  "processes.sub_vp": scales(),
  "processes.trigonometric": scales(),
  "processes.ve": scales(),
  "processes.vp_cosine": scales(),
  "processes.vp_linear": scales(),
  "processes.zero_terminal_snr": scales(vp_linear()),
  "processes.noised": call("B D, B D, *s:B -> =B D", **PROCESS),
  "processes.preconditioning": call("*s:B ->", undefined="c_noise without noise", **PROCESS),
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
  "shifted.shifted_sampler": call(
    "x_init=*B D, shift=B D -> =B D",
    through=lambda make: (
      lambda x_init, shift: make(samplers.ddim, shift)(KEY, half, x_init, **STEPS)
    ),
  ),
  "spacings.karras": call("-> T+1", process=processes.edm(), **COUNTED),
  "spacings.log_snr": call("-> T+1", **PROCESS, **COUNTED),
  "spacings.quadratic": call("-> T+1", **COUNTED),
  "spacings.uniform": call("-> T+1", **COUNTED),
}

_HOST = "numbers of a training run, computed on the host in float64: no array is traced"

EXCEPTIONS = {
  "averaging.post_hoc_average": "takes lists of trees of any arrays",
  "averaging.post_hoc_weights": _HOST,
  "averaging.power_exponent": _HOST,
  "averaging.power_width": _HOST,
  "samplers.ode_log_likelihood": "has derivatives in forward mode alone, and needs the extra `ode`",
}
