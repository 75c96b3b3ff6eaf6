"""What may go wrong with a run ends in a clear error or goes on, and nothing on disk is lost."""

import json
import logging
import os
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import problem
import pytest

from latentjax import training
from latentjax.training import checkpoint, workdir


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
  """A finished run of 40 steps, checkpoints at 20, 30 and 40: copy it before you break it."""
  folder = tmp_path_factory.mktemp("faults") / "run"
  result = problem.run(folder)
  return folder, np.asarray(checkpoint.fingerprints(result.state))


def copy(finished, tmp_path):
  folder = tmp_path / "run"
  shutil.copytree(finished[0], folder)
  return folder


def files(folder):
  return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def data_files(step_folder):
  """Files that hold arrays (of some, newer files of the same checkpoint hold the content again)."""
  return [p for p in step_folder.rglob("*") if p.is_file() and p.parent.name == "d"]


def flip_bits(step_folder):
  for path in data_files(step_folder):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 16
    path.write_bytes(content)


def truncate(step_folder):
  for path in data_files(step_folder):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def lose_the_arrays(step_folder):
  shutil.rmtree(step_folder / "state")


def spoil_the_json(step_folder):
  (step_folder / "meta" / "metadata").write_text('{"structure": ')


def empty_it(step_folder):
  for path in step_folder.rglob("*"):
    if path.is_file():
      path.write_bytes(b"")


def take_the_arrays_of_another(step_folder):
  """Whole, by every checksum that the file format has: only the fingerprints tell."""
  shutil.rmtree(step_folder / "state")
  shutil.copytree(step_folder.with_name("30") / "state", step_folder / "state")


DAMAGES = [
  flip_bits,
  truncate,
  lose_the_arrays,
  take_the_arrays_of_another,
  spoil_the_json,
  empty_it,
]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda f: f.__name__)
def test_damaged_newest_checkpoint_is_reported_and_the_one_before_used(
  damage, finished, tmp_path, caplog
):
  folder = copy(finished, tmp_path)
  damage(folder / "checkpoints" / "40")
  with caplog.at_level(logging.WARNING):
    result = problem.run(folder)
  assert "damaged checkpoint" in caplog.text and "/40" in caplog.text
  assert result.steps_run == 10, "did not go on from step 30"
  np.testing.assert_array_equal(checkpoint.fingerprints(result.state), finished[1])
  assert (folder / "metrics.jsonl").read_bytes() == (finished[0] / "metrics.jsonl").read_bytes()
  assert list((folder / "checkpoints").glob("damaged-40-*")), "the damaged one was not kept"


def test_no_whole_checkpoint_is_an_error_and_changes_nothing(finished, tmp_path):
  folder = copy(finished, tmp_path)
  for step in (20, 30, 40):
    truncate(folder / "checkpoints" / str(step))
  before = files(folder)
  with pytest.raises(training.CheckpointError, match=r"steps \[40, 30, 20\].*Nothing was changed"):
    problem.run(folder)
  assert files(folder) == before


def test_half_written_checkpoint_is_reported_and_ignored(finished, tmp_path, caplog):
  folder = copy(finished, tmp_path)
  newest = folder / "checkpoints" / "40"
  newest.rename(newest.with_name("40.orbax-checkpoint-tmp"))
  with caplog.at_level(logging.WARNING):
    result = problem.run(folder)
  assert "half-written checkpoint" in caplog.text
  assert result.steps_run == 10
  np.testing.assert_array_equal(checkpoint.fingerprints(result.state), finished[1])


def test_other_config_is_refused_with_the_difference(finished, tmp_path):
  folder = copy(finished, tmp_path)
  before = files(folder)
  with pytest.raises(training.WorkdirError) as error:
    problem.run(folder, batch_size=16, seed=3)
  assert "batch_size: 8 there, 16 asked for" in str(error.value)
  assert "seed: 0 there, 3 asked for" in str(error.value)
  assert "steps" not in str(error.value)
  assert files(folder) == before


def test_flags_that_do_not_change_the_run_may_change(finished, tmp_path):
  result = problem.run(copy(finished, tmp_path), parallel="pmap", keep_checkpoints=1, fused_steps=3)
  assert result.steps_run == 0


def test_other_code_is_refused_with_the_difference(finished, tmp_path):
  folder = copy(finished, tmp_path)
  before = files(folder)
  with pytest.raises(
    training.CheckpointMismatch, match=r"params/w: float32\[5\] there, float32\[6\] now"
  ):
    problem.run(folder, init=lambda key: ({"w": jnp.zeros(6), "b": jnp.zeros(())}, ()))
  assert files(folder) == before


def test_other_data_is_refused(finished, tmp_path):
  with pytest.raises(ValueError, match="data: the checkpoint was made with"):
    problem.run(copy(finished, tmp_path), rows=problem.dataset(48))


def test_unreadable_config_is_refused(finished, tmp_path):
  folder = copy(finished, tmp_path)
  (folder / "config.json").write_text("{")
  with pytest.raises(training.WorkdirError, match=r"config\.json cannot be read"):
    problem.run(folder)
  (folder / "config.json").unlink()
  with pytest.raises(training.WorkdirError, match=r"checkpoints but no config\.json"):
    problem.run(folder)


@pytest.mark.parametrize("text", ['{"config": [1]}', '{"config": null}', "[" * 100_000])
def test_config_of_another_kind_is_refused(text, tmp_path):
  (tmp_path / "config.json").write_text(text)
  with pytest.raises(training.WorkdirError, match=r"config\.json cannot be read"):
    workdir.claim(tmp_path, {"steps": 1}, {})


@pytest.mark.parametrize("name", ["config.json", "metrics.jsonl", ".lock"])
@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo], ids=["directory", "pipe"])
def test_what_stands_in_the_way_of_a_file_is_named(name, make, tmp_path):
  make(tmp_path / name)
  with pytest.raises(training.WorkdirError, match=rf"{name} is in the way.*no regular file"):
    problem.run(tmp_path)


def test_what_stands_in_the_way_of_the_checkpoints_is_named(tmp_path):
  (tmp_path / "checkpoints").write_text("")
  with pytest.raises(training.CheckpointError, match=r"checkpoints cannot be made \(File exists"):
    problem.run(tmp_path)


@pytest.mark.parametrize("name", ["lr[1e-3]", "a*", "a?", "back\\slash"])
def test_a_folder_that_orbax_could_not_read_again_is_refused(name, tmp_path):
  """It writes there, and finds nothing when it reads: its search takes the path for a pattern."""
  with pytest.raises(training.CheckpointError, match="could not be read again because of"):
    problem.run(tmp_path / name)
  assert not list(tmp_path.iterdir())


def test_a_folder_with_blanks_and_letters_of_the_world_goes_on(tmp_path):
  folder = tmp_path / "a b%20 #1 {ü} 日本\n'\""
  first = problem.run(folder, steps=20)
  again = problem.run(folder, steps=20)
  assert again.steps_run == 0
  np.testing.assert_array_equal(*map(checkpoint.fingerprints, (first.state, again.state)))


def test_workdir_in_use_is_refused(tmp_path):
  with (
    workdir.lock(tmp_path),
    pytest.raises(training.WorkdirError, match="another run is using it"),
  ):
    problem.run(tmp_path)
  assert not (tmp_path / "config.json").exists()


@pytest.mark.parametrize("fused_steps", [1, 5])
def test_non_finite_stops_with_step_metric_and_last_good_checkpoint(fused_steps, tmp_path):
  init = lambda key: (problem.init(key)[0], jnp.int32(0))
  with pytest.raises(training.NonFiniteError) as error:
    problem.run(tmp_path, objective=problem.failing_at(27), init=init, fused_steps=fused_steps)
  message = str(error.value)
  assert "step 27: " in message and "loss = " in message and "checkpoints/20" in message
  assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == ["10", "20"]
  steps = [
    json.loads(line)["step"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()
  ]
  assert max(steps) < 27


def test_non_finite_gradient_at_a_checkpoint_is_not_saved(tmp_path):
  """The loss of step 20 is still finite: its update is what spoils the parameters."""

  def objective(params, count, key, batch):
    loss, (_, metrics) = problem.objective(params, (), key, batch)
    scale = jnp.where(count == 19, jnp.inf, 1.0)
    spoiled = (
      loss + 0.0 * jnp.sum(jax.lax.stop_gradient(params["w"])) + _gradient_only(params["b"], scale)
    )
    return spoiled, (count + 1, metrics)

  init = lambda key: (problem.init(key)[0], jnp.int32(0))
  with pytest.raises(
    training.NonFiniteError, match=r"step 20: after its update .*params/b.* not finite"
  ):
    problem.run(tmp_path, objective=objective, init=init)
  assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["10"]


@jax.custom_vjp
def _gradient_only(x, scale):
  """Zero, with gradient `scale`."""
  return jnp.zeros_like(x)


_gradient_only.defvjp(
  lambda x, scale: (jnp.zeros_like(x), scale), lambda scale, g: (g * scale, None)
)


@pytest.mark.parametrize(
  ("fields", "message"),
  [
    ({"steps": 0}, "steps: got 0"),
    ({"batch_size": 12}, "batch_size: got 12, wanted a positive multiple of 8"),
    ({"batch_size": 16, "accumulate": 3}, "wanted a positive multiple of 24"),
    ({"fused_steps": 0}, "fused_steps: got 0"),
    ({"ema_decay": 1.5}, r"ema_decay: got 1\.5"),
    ({"steps": float("nan")}, "steps: got nan, wanted a whole number"),
    ({"steps": True}, "steps: got True, wanted a whole number"),
    ({"checkpoint_every": 2.5}, r"checkpoint_every: got 2\.5, wanted a whole number"),
    ({"fused_steps": "5"}, "fused_steps: got '5', wanted a whole number"),
    ({"parallel": "xla"}, "parallel: got 'xla', wanted one of jit, pmap"),
    ({"ema_decay": "0.9"}, "ema_decay: got '0.9', wanted a number"),
    ({"grad_norm": 1}, "grad_norm: got 1, wanted True or False"),
    ({"resident": "no"}, "resident: got 'no', wanted True or False"),
    ({"seed": 2**32 - 1, "seeds": 2}, "seed: got 4294967295, wanted all seeds"),
    ({"num_workers": -1}, "num_workers: got -1, wanted at least 0"),
    (
      {"parallel": "pmap", "sharding": "fsdp"},
      "sharding: got 'fsdp' and tensor=1 with parallel='pmap'",
    ),
  ],
)
def test_bad_config_names_the_field(fields, message, tmp_path):
  with pytest.raises(ValueError, match=message):
    problem.run(tmp_path / "run", **fields)
  assert not (tmp_path / "run").exists()


def test_numpy_scalars_in_a_config_count_as_python_numbers():
  config = training.TrainConfig(steps=np.int64(5), ema_decay=np.float64(0.5), seed=np.uint8(3))
  assert config == training.TrainConfig(steps=5, ema_decay=0.5, seed=3)
  assert json.loads(json.dumps(config.identity()))["steps"] == 5


def test_saved_state_may_be_donated_at_once(tmp_path):
  """Steps go on in the same memory while Orbax still writes: the checkpoint must hold the old values."""
  manager = checkpoint.open_checkpoints(tmp_path, keep=5)
  advance = jax.jit(lambda s: jax.tree.map(lambda x: x + 1, s), donate_argnums=0)
  state = {"a": jnp.zeros((512, 512)), "b": jnp.arange(7)}
  for step in range(4):
    checkpoint.save(manager, step, state, {"step": step})
    for _ in range(20):
      state = advance(state)
  manager.wait_until_finished()
  abstract = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state
  )
  for step in range(4):
    restored = checkpoint._restore(manager, step, abstract)
    assert float(restored.state["a"][0, 0]) == 20 * step
    assert restored.meta == {"step": step}
  manager.close()


def test_optimizer_of_other_kind_is_refused(finished, tmp_path):
  with pytest.raises(training.CheckpointMismatch, match="opt_state"):
    problem.run(copy(finished, tmp_path), optimizer=optax.sgd(1e-2, momentum=0.9))


def test_a_checkpoint_comes_after_its_lines_are_safe_on_disk(tmp_path, monkeypatch):
  """As a power cut takes what is with the operating system alone."""
  safe, seen = {}, []
  sync, save = os.fsync, checkpoint.save

  def fsync(handle):
    sync(handle)
    safe[os.fstat(handle).st_ino] = os.fstat(handle).st_size

  def checked(manager, step, state, meta):
    log = (tmp_path / "metrics.jsonl").stat()
    seen.append((step, safe.get(log.st_ino) == log.st_size > 0))
    save(manager, step, state, meta)

  monkeypatch.setattr(os, "fsync", fsync)
  monkeypatch.setattr(checkpoint, "save", checked)
  problem.run(tmp_path)
  assert seen == [(step, True) for step in (10, 20, 30, 40)]
