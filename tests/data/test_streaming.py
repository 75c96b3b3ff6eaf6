import json
import os
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest

from latentjax import data

# 23 records: a batch of 6 crosses an epoch every few steps.
ARRAYS = {
  "x": np.arange(23 * 3, dtype=np.float32).reshape(23, 3),
  "label": np.arange(23, dtype=np.int32),
}


class Broken:
  """Record 7 cannot be read."""

  def __init__(self, how="raise"):
    self.how = how
    self.num_examples = 23
    self.features = {"x": ((), np.dtype(np.int64))}

  def read(self, indices):
    if 7 in indices:
      if self.how == "kill":
        os.kill(os.getpid(), 9)
      raise StopIteration if self.how == "stop" else RuntimeError("record 7 is broken")
    return {"x": np.asarray(indices, np.int64)}


def toy(**options):
  return data.load(ARRAYS, **options)


def take(dataset, steps, **options):
  batches = data.stream(dataset, **{"batch_size": 6, "seeds": [3]} | options)
  try:
    return [next(batches) for _ in range(steps)]
  finally:
    batches.close()


def assert_same(ours, theirs):
  assert len(ours) == len(theirs) > 0
  for a, b in zip(ours, theirs):
    assert a.keys() == b.keys()
    for name in a:
      assert a[name].dtype == b[name].dtype
      assert np.array_equal(a[name], b[name])


def expected(steps, *, seeds=(3,), batch_size=6, start=0):
  """What the arrays hold at the positions of every step."""
  batches = []
  for step in range(start, start + steps):
    positions = np.arange(step * batch_size, (step + 1) * batch_size)
    rows = [data.example_indices(positions, num_examples=23, seed=seed) for seed in seeds]
    index = rows[0] if len(seeds) == 1 else np.stack(rows)
    batches.append({name: array[index] for name, array in ARRAYS.items()})
  return batches


@pytest.mark.parametrize("memory_limit", [None, 0])
def test_batches_are_the_arrays_in_the_training_order(memory_limit):
  assert_same(take(toy(memory_limit=memory_limit), 12), expected(12))


def test_replicas_have_orders_of_their_own():
  batches = take(toy(), 5, seeds=[3, 8, 3])
  assert batches[0]["x"].shape == (3, 6, 3)
  assert_same(batches, expected(5, seeds=[3, 8, 3]))
  assert not np.array_equal(batches[0]["label"][0], batches[0]["label"][1])
  assert np.array_equal(batches[0]["label"][0], batches[0]["label"][2])


def test_epochs_are_complete():
  labels = np.concatenate([batch["label"] for batch in take(toy(), 23)])
  assert np.bincount(labels).tolist() == [6] * 23


def test_without_shuffling():
  labels = np.concatenate([batch["label"] for batch in take(toy(), 5, shuffle=False)])
  assert labels.tolist() == [*range(23), *range(7)]


def test_batch_larger_than_the_data():
  (batch,) = take(toy(), 1, batch_size=50)
  assert np.bincount(batch["label"]).min() == 2


@pytest.mark.parametrize("process_count", [2, 3])
def test_processes_share_each_batch(process_count):
  parts = [
    take(toy(), 6, process_index=index, process_count=process_count)
    for index in range(process_count)
  ]
  joined = [{k: np.concatenate([b[k] for b in batches]) for k in ARRAYS} for batches in zip(*parts)]
  assert_same(joined, expected(6))


def test_each_process_reads_only_its_share():
  class Counting(Broken):
    seen: list = []  # noqa: RUF012

    def read(self, indices):
      self.seen.extend(indices.tolist())
      return {"x": np.asarray(indices, np.int64)}

  source = Counting()
  dataset = data.Dataset("toy", "1", "train", source.features, None, None, source)
  options = {"process_index": 1, "process_count": 3, "shuffle": False, "prefetch": 1}
  batches = take(dataset, 2, **options)
  assert [batch["x"].tolist() for batch in batches] == [[2, 3], [8, 9]]
  assert set(source.seen) <= {2, 3, 8, 9, 14, 15, 20, 21}


def test_resumes_in_constant_time_wherever_it_stopped():
  batches = data.stream(toy(), batch_size=6, seeds=[3])
  for _ in range(4):
    next(batches)
  state = json.loads(json.dumps(batches.get_state()))
  assert state["step"] == 4
  rest = [next(batches) for _ in range(4)]
  batches.close()
  assert_same(rest, expected(4, start=4))
  assert_same(take(toy(), 4, start_step=4), rest)

  for options in ({}, {"process_count": 1, "prefetch": 5}):
    resumed = data.stream(toy(memory_limit=0), batch_size=6, seeds=[3], **options)
    next(resumed)
    resumed.set_state(state)
    assert resumed.get_state() == state
    assert_same([next(resumed) for _ in range(4)], rest)
    resumed.close()

  far = data.stream(toy(), batch_size=6, seeds=[3], start_step=10**9)
  start = time.perf_counter()
  assert_same([next(far)], expected(1, start=10**9))
  assert time.perf_counter() - start < 2
  far.close()


def test_workers_resume_and_agree(data_dir):
  load = lambda limit: data.load("digits", data_dir=data_dir, memory_limit=limit)
  decoded, streamed = load(None), load(0)
  options = {"batch_size": 100, "seeds": [0, 1]}
  single = take(decoded, 20, **options)
  workers = data.stream(streamed, **options, num_workers=2)
  first = [next(workers) for _ in range(7)]
  state = workers.get_state()
  workers.close()
  assert_same(first, single[:7])
  for name, values in first[0].items():
    assert type(values) is np.ndarray, name  # not a view of a worker's shared memory
  half = data.stream(
    streamed, **options, num_workers=1, process_index=1, process_count=2
  )  # another number of workers and of processes
  half.set_state(state)
  second_half = [{k: v[:, 50:] for k, v in batch.items()} for batch in single[7:12]]
  assert_same([next(half) for _ in range(5)], second_half)
  half.close()


@pytest.mark.parametrize(
  ("other", "message"),
  [
    ({"seeds": [4]}, r"seeds: saved \[3\], here \[4\]"),
    ({"batch_size": 12}, "batch_size: saved 6, here 12"),
    ({"shuffle": False}, "shuffle: saved True, here False"),
  ],
)
def test_state_of_another_run_is_refused(other, message):
  state = data.stream(toy(), batch_size=6, seeds=[3]).get_state()
  mine = data.stream(toy(), **{"batch_size": 6, "seeds": [3]} | other)
  with pytest.raises(ValueError, match=f"does not belong to this data stream: {message}"):
    mine.set_state(state)


def test_state_of_other_data_is_refused():
  state = data.stream(toy(), batch_size=6, seeds=[3]).get_state()
  mine = data.stream(toy(split="train[:22]"), batch_size=6, seeds=[3])
  with pytest.raises(ValueError, match="fingerprint: saved "):
    mine.set_state(state)
  for broken in ({}, state | {"step": -1}, state | {"step": "7"}):
    with pytest.raises(ValueError, match="does not belong to this data stream: "):
      data.stream(toy(), batch_size=6, seeds=[3]).set_state(broken)


@pytest.mark.parametrize(
  ("num_workers", "how", "message"),
  [
    (0, "raise", "record 7 is broken"),
    (1, "raise", "record 7 is broken"),
    (0, "stop", "reading of step 1 stopped"),
    (1, "kill", "terminated unexpectedly"),
  ],
)
def test_errors_surface_and_lose_no_batch(num_workers, how, message):
  source = Broken(how)
  dataset = data.Dataset("toy", "1", "train", source.features, None, None, source)
  options = {"batch_size": 6, "seeds": [0], "shuffle": False, "num_workers": num_workers}
  batches = data.stream(dataset, **options)
  start = time.perf_counter()
  with pytest.raises(RuntimeError, match=message):
    for _ in range(5):
      next(batches)
  assert time.perf_counter() - start < 20
  if how != "kill":  # a dead worker may take batches with it that were ready
    assert batches.get_state()["step"] == 1
  if num_workers == 0:
    with pytest.raises(RuntimeError, match=message):
      next(batches)
  batches.close()


def test_no_noise_at_exit(tmp_path, repository):
  script = tmp_path / "script.py"
  script.write_text(
    textwrap.dedent("""
    import numpy as np
    from latentjax import data
    if __name__ == "__main__":
      batches = data.stream(
        data.load({"x": np.zeros((50, 1000))}), batch_size=5, seeds=[0], num_workers=1
      )
      kept = [next(batches) for _ in range(3)]
    """)
  )
  environment = {**os.environ, "PYTHONPATH": str(repository)}
  command = [sys.executable, str(script)]
  done = subprocess.run(command, env=environment, capture_output=True, text=True)
  assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"seeds": []}, "seeds must hold at least one seed"),
    ({"start_step": -1}, "start_step=-1"),
    ({"num_workers": -1}, "num_workers=-1"),
    ({"prefetch": 0}, "prefetch=0"),
    ({"batch_size": 5, "process_count": 2}, "multiple of process_count = 2, got 5"),
    ({"process_index": 1}, "process_index must be in"),
  ],
)
def test_bad_arguments(options, message):
  with pytest.raises(ValueError, match=message):
    data.stream(toy(), **{"batch_size": 6, "seeds": [0]} | options)
