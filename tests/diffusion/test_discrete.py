"""Discrete diffusion against matrices of all states, Bayes' rule and enumeration of tiny spaces."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import AXIS, check_kernel, fast_jit
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from latentjax.diffusion import discrete
from latentjax.losses import score
from latentjax.sequence import mask_ratio

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
K = 3
PROCESSES = {
  "absorbing": discrete.absorbing(num_tokens=K, schedule=lambda t: mask_ratio(1 - t)),
  "uniform": discrete.uniform(num_tokens=K),
  "mask_and_replace": discrete.mask_and_replace(num_tokens=K, mask_share=0.6),
  "bernoulli": discrete.bernoulli(schedule=jnp.square),
}
# Probabilities that a token is kept and masked, as the papers write them.
FORMS = {
  "absorbing": (lambda t: 1 - np.sin(np.pi / 2 * t), lambda t: np.sin(np.pi / 2 * t)),
  "uniform": (lambda t: 1 - t, lambda t: 0 * t),
  "mask_and_replace": (lambda t: 1 - t, lambda t: 0.6 * t),
  "bernoulli": (lambda t: 1 - t**2, lambda t: 0 * t),
}


def cumulative(name, t):
  """The matrix of q(x_t | x_0) over all states, rows x_0; [MASK] stays."""
  keep, mask = (form(t) for form in FORMS[name])
  k = PROCESSES[name].num_tokens
  q = np.eye(k + 1) * keep
  q[:, :k] += (1 - keep - mask) / k
  q[:, k] = mask
  q[k] = np.eye(k + 1)[k]
  return q[:k, :k] if PROCESSES[name].num_states == k else q


def step(name, s, t):
  """The matrix of q(x_t | x_s), from the cumulative ones."""
  return np.linalg.solve(cumulative(name, s), cumulative(name, t))


def posterior(name, p, x_t, s, t):
  """p(x_s | x_t) for p(x_0 | x_t) by Bayes' rule, state by state."""
  joint = cumulative(name, s)[: len(p)] * step(name, s, t)[:, x_t]  # of x_s and x_t given x_0
  return p @ (joint / np.maximum(joint.sum(1, keepdims=True), 1e-300))


def to_p(log_p):
  return np.exp(np.asarray(log_p, np.float64))


@pytest.mark.parametrize("name", PROCESSES)
def test_transitions_and_posteriors_of_all_states(name):
  process = PROCESSES[name]
  k, states = process.num_tokens, np.arange(process.num_states)
  pairs = [(0.0, 0.4), (0.3, 0.55), (0.55, 0.95)]
  p = RNG.dirichlet(np.ones(k), size=len(states))

  def everything(log_p, s, t):
    given = {"process": process}
    q = discrete.transition_log_prob(states, s, t, **given)
    return q, discrete.posterior_log_prob(log_p, states, s, t, **given)

  run = fast_jit(everything)
  seen = fast_jit(partial(discrete.corrupt, process=process))
  for s, t in pairs:
    # A token that is seen is the only possible x_0 where nothing is replaced.
    possible = cumulative(name, t)[:k].T > 1e-12
    left = p * possible / (p * possible).sum(1, keepdims=True)
    log_q, log_post = run(np.log(p).astype(np.float32), s, t)
    np.testing.assert_allclose(to_p(log_q), step(name, s, t), atol=2e-6)
    expected = [posterior(name, left[x], x, s, t) for x in states]
    np.testing.assert_allclose(to_p(log_post), expected, atol=5e-6)
  # What is drawn has these frequencies.
  x = np.repeat(np.arange(k), 4000).reshape(-1, 8)
  drawn = np.asarray(seen(KEY, x, 0.4)).reshape(k, 4000)
  found = (drawn[..., None] == states).mean(1)
  np.testing.assert_allclose(found, cumulative(name, 0.4)[:k], atol=4 * 0.5 / np.sqrt(4000))


@pytest.mark.parametrize("name", ["absorbing", "mask_and_replace", "bernoulli"])
def test_bound_and_samples_of_one_place_are_exact(name):
  """With the true p(x_0 | x_t) a single place has no gap, whatever the steps; a wrong one has."""
  process = PROCESSES[name]
  k, num_states = process.num_tokens, process.num_states
  p = np.array([0.5, 0.1, 0.4, 0.0][:k]) / np.sum([0.5, 0.1, 0.4][:k])
  times = np.array([1.0, 0.6, 0.25, 0.0])
  states, x = np.arange(num_states), np.arange(k)

  def denoise(t, tempered=1.0):
    joint = cumulative(name, t)[:k] * p[:, None] ** tempered
    return (joint / np.maximum(joint.sum(0), 1e-300)).T

  def terms(logits, s, t):
    log_post = discrete.posterior_log_prob(logits, states, s, t, process=process)
    grid = [jnp.asarray(v).reshape(-1, 1) for v in np.meshgrid(x, states, indexing="ij")]
    each = jnp.broadcast_to(logits, (k, *logits.shape)).reshape(-1, 1, k)
    kl = discrete.step_kl(each, *grid, s, t, process=process)
    return log_post, kl.reshape(k, num_states)

  run = fast_jit(terms)
  for tempered in (1.0, 0.5):
    bound, chain = np.zeros(k), cumulative(name, 1.0)[0]
    for t, s in itertools.pairwise(times):
      with np.errstate(divide="ignore"):
        logits = np.maximum(np.log(denoise(t, tempered)), -1e4).astype(np.float32)
      log_post, kl = run(logits, s, t)
      q = cumulative(name, t)[:k]
      bound += np.sum(np.where(q > 0, q * kl, 0), axis=1)
      chain = chain @ np.where(cumulative(name, t).any(0)[:, None], to_p(log_post), 0)
    if tempered == 1.0:
      np.testing.assert_allclose(bound, -np.log(p), atol=1e-5)
      np.testing.assert_allclose(chain[:k], p, atol=1e-6)
    else:
      gap = p @ (bound + np.log(p))
      assert gap > 0.01 and np.abs(chain[:k] - p).max() > 0.01


PAIR = (
  np.eye(K) / 6 + RNG.dirichlet(np.ones(K * K)).reshape(K, K) / 2
)  # two places that depend on each other


def pair_denoiser(process):
  """Logits of p(x_0 | x_t) of each of two places, which see both."""

  def predict(x_t, t):
    tokens = jnp.broadcast_to(jnp.arange(K), (len(x_t), K))
    table = discrete.transition_log_prob(tokens, 0.0, t, process=process)
    first, second = (
      jnp.take_along_axis(table, x_t[:, i, None, None], axis=-1)[..., 0] for i in (0, 1)
    )
    joint = jnp.log(PAIR) + first[:, :, None] + second[:, None]
    return jnp.stack([jax.nn.logsumexp(joint, axis) for axis in (2, 1)], axis=1)

  return predict


def test_bounds_and_samples_of_two_places_approach_the_truth():
  """Each place is drawn by itself: the gap closes with the steps, and has closed in continuous time."""
  name, n = "mask_and_replace", 2000
  process = PROCESSES[name]
  drawn = np.random.default_rng(1).choice(K * K, n, p=PAIR.ravel())
  x = np.stack(np.divmod(drawn, K), axis=1)
  entropy, marginals = -np.sum(PAIR * np.log(PAIR)), PAIR.sum(1)[:, None] * PAIR.sum(0)
  # All x_0, all x_t and all steps of chains of 1, 4 and 16, and how likely each of them is.
  every = np.array(list(itertools.product(range(K), range(K), range(K + 1), range(K + 1))))
  steps = [(i / n, (i + 1) / n) for n in (1, 4, 16) for i in range(n)]
  grid = [np.tile(every[:, :2], (21, 1)), np.tile(every[:, 2:], (21, 1))]
  s, t = np.repeat(np.float32(steps), len(every), axis=0).T
  tables = [cumulative(name, late) for _, late in steps]
  weight = np.concatenate(
    [
      PAIR[tuple(every[:, :2].T)] * q[every[:, 0], every[:, 2]] * q[every[:, 1], every[:, 3]]
      for q in tables
    ]
  )

  def everything(x):
    predict = pair_denoiser(process)
    kl = discrete.step_kl(predict(grid[1], t), *grid, s, t, process=process)
    losses = [
      score.discrete_loss(KEY, predict, x, process=process, num_steps=n).bound for n in (4, None)
    ]
    start = discrete.draw_prior(jax.random.key(1), shape=x.shape, process=process)
    draw = lambda n: discrete.ancestral(
      KEY, predict, start, process=process, times=jnp.linspace(1.0, 0.0, n + 1)
    )
    return kl, losses, [draw(1), draw(20)]

  kl, losses, samples = fast_jit(everything)(x)
  of_step = (weight * np.float64(kl)).reshape(21, -1).sum(1)
  one, four, many = of_step[0], of_step[1:5].sum(), of_step[5:].sum()
  # One step from nothing knows the marginals alone; then the gap falls with the length of the steps.
  assert one == pytest.approx(-np.sum(PAIR * np.log(marginals)), abs=1e-5)
  assert 3 < (four - entropy) / (many - entropy) < 5 and one > four > many > entropy
  for loss, expected in zip(losses, (four, entropy)):
    loss = np.float64(loss)
    noise = loss + np.log(PAIR.ravel())[drawn] + entropy  # what x itself has of it is known
    assert abs(noise.mean() - expected) < 4 * noise.std() / np.sqrt(n)
  for found, expected in zip(samples, (marginals, PAIR)):
    counts = np.bincount(np.asarray(found) @ [K, 1], minlength=K * K).reshape(K, K) / n
    np.testing.assert_allclose(counts, expected, atol=0.045)
  assert np.abs(marginals - PAIR).max() > 0.1  # the two can be told apart


def test_rate_is_the_limit_of_steps_and_weighted_cross_entropy():
  x, x_t = RNG.integers(0, K, (2, 8, 2))
  t = np.linspace(0.1, 0.9, 8)
  logits = RNG.standard_normal((8, 2, K))
  run = fast_jit(
    lambda x_t, process: (
      discrete.rate_loss(logits, x, x_t, t, process=process),
      discrete.step_kl(logits, x, x_t, t - 1e-6, t, process=process) / 1e-6,
    ),
    static_argnums=1,
  )
  with jax.enable_x64(True):
    for name in ("mask_and_replace", "absorbing"):
      masked = x_t == 0 if PROCESSES[name].has_mask else np.zeros_like(x_t, bool)
      states = np.where(masked, K, x if name == "absorbing" else x_t)
      rate, limit = run(states, PROCESSES[name])
      np.testing.assert_allclose(rate, limit, rtol=1e-4, atol=1e-8)
  log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
  nats = -np.take_along_axis(log_p, x[..., None], -1)[..., 0]
  slope = np.pi / 2 / np.tan(np.pi / 2 * t)  # of log sin(pi t / 2), the share that is masked
  np.testing.assert_allclose(rate, slope * np.sum(nats * masked, axis=1), rtol=1e-6)
  # Where nothing is left of the data there is nothing to lose, and single precision makes no noise.
  end = fast_jit(partial(discrete.rate_loss, process=PROCESSES["uniform"]))
  assert np.abs(end(np.float32(4 * logits), x, x_t, 1 - 6e-8)).max() < 1e-5


def dense_kl(logits, x, x_t, s, t):
  """By matrices of states."""
  p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
  total = np.zeros(len(x))
  for b, i in np.ndindex(x.shape):
    given = "mask_and_replace", x_t[b, i], s[b], t[b]
    q, found = (posterior(given[0], row, *given[1:]) for row in (np.eye(K)[x[b, i]], p[b, i]))
    total[b] += np.sum(
      np.where(q > 0, q * np.log(np.where(q > 0, q, 1) / np.where(q > 0, found, 1)), 0)
    )
  return total


def test_step_kl():
  x, x_t = RNG.integers(0, K, (8, 2)), RNG.integers(0, K + 1, (8, 2))
  s = np.linspace(0.1, 0.7, 8).astype(np.float32)
  logits = RNG.standard_normal((8, 2, K)).astype(np.float32)

  def kl(logits, x, x_t, s):
    return discrete.step_kl(logits, x, x_t, s, s + 0.2, process=PROCESSES["mask_and_replace"])

  check_kernel(
    partial(kl, s=s),
    [logits, x, x_t],
    oracle=lambda *args: dense_kl(*args, s, s + 0.2),
    extreme=[[1e4 * logits, x, x_t]],
    rtol=1e-4,
    atol=1e-5,
    bad_inputs=[
      ([logits[:, :1], x, x_t], {}, ValueError, r"logits must have shape \(8, 2, 3\)"),
      ([logits, logits, x_t], {}, TypeError, "x must be integers"),
      ([logits, x, logits], {}, TypeError, "x_t must be integers"),
      ([x, x, x_t], {}, TypeError, "logits must be a floating"),
    ],
  )


def test_rows_on_several_devices_and_memory():
  process, times = PROCESSES["mask_and_replace"], np.linspace(1.0, 0.0, 4)
  x = RNG.integers(0, K, (8, 2)).astype(np.int32)
  predict = lambda x_t, t: jnp.sin(x_t[..., None] + jnp.arange(3.0)) + jnp.max(t)

  def run(x, axis_name=None):
    given = {"process": process, "axis_name": axis_name}
    start = discrete.draw_prior(KEY, shape=x.shape, **given)
    loss = score.discrete_loss(KEY, predict, x, num_steps=7, **given)
    return *loss, discrete.ancestral(KEY, predict, start, times=times, **given)

  mesh = Mesh(np.array(jax.devices()[:4]), (AXIS,))
  mapped = jax.shard_map(
    partial(run, axis_name=AXIS), mesh=mesh, in_specs=P(AXIS), out_specs=P(AXIS)
  )
  for one, many in zip(fast_jit(run)(x), fast_jit(mapped)(x)):
    np.testing.assert_allclose(many, one, rtol=1e-4)

  times, wide = np.linspace(1.0, 0.0, 1001), jnp.zeros((8, 256), jnp.int32)
  draw = partial(discrete.ancestral, KEY, predict, process=process, times=times)
  program = jax.make_jaxpr(draw)(wide)
  largest = max(var.aval.size for step in program.eqns for var in step.outvars)
  assert "scan" in {step.primitive.name for step in program.eqns}
  assert largest < 10_000  # 1,000 states would be 2 million numbers


def test_flips_and_bad_input():
  x_t, flips = jnp.array([[0, 1]]), jnp.array([[0.5, -2.0]])
  p = fast_jit(lambda f: jax.nn.softmax(discrete.logits_from_flips(f, x_t), axis=-1))(flips)
  np.testing.assert_allclose([p[0, 0, 1], p[0, 1, 0]], 1 / (1 + np.exp(-flips[0])), rtol=1e-6)
  assert discrete.mask_and_replace(num_tokens=2, mask_share=1.0).replaced(0.5) == 0
  kept = discrete.uniform(num_tokens=3, schedule=lambda t: 0.5 * t)  # 2/3 of it is what it was
  expected = 2 * (2 / 3 * np.log(2) + 1 / 3 * np.log(0.5))
  assert float(discrete.prior_kl(x_t, process=kept)[0]) == pytest.approx(expected, rel=1e-6)
  process = PROCESSES["absorbing"]
  predict = lambda x_t, t: jnp.zeros((*x_t.shape, K))
  sample = partial(discrete.ancestral, KEY, process=process)
  falling = np.array([1.0, 0.0])
  for call, error, message in [
    (lambda: sample(predict, x_t, times=falling[::-1]), ValueError, "times must fall"),
    (lambda: sample(predict, x_t * 1.0, times=falling), TypeError, "x_init must be integers"),
    (lambda: sample(predict, x_t, times=falling, temperature=0.0), ValueError, "temperature must"),
    (lambda: discrete.uniform(num_tokens=0) and x_t, ValueError, "num_tokens must be a positive"),
    (lambda: discrete.mask_and_replace(num_tokens=2, mask_share=2.0), ValueError, "mask_share"),
    (lambda: discrete.logits_from_flips(flips[0], x_t), ValueError, "flips and x_t must have"),
    (
      lambda: score.discrete_loss(KEY, predict, x_t, process=process, num_steps=0),
      ValueError,
      "num_steps must be a positive",
    ),
    (
      lambda: score.discrete_loss(KEY, lambda x, t: jnp.zeros((1, 2, 4)), x_t, process=process),
      ValueError,
      r"logits must have shape \(1, 2, 3\)",
    ),
  ]:
    with pytest.raises(error, match=message):
      jax.eval_shape(call)
