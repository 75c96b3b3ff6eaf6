import numpy as np
import pytest

from latentjax.data import example_indices, order, step_positions


@pytest.mark.parametrize("num_examples", [1, 2, 7, 1000])
def test_every_example_exactly_once_per_epoch(num_examples):
  epochs = 4
  indices = example_indices(np.arange(epochs * num_examples), num_examples=num_examples, seed=3)
  for epoch in indices.reshape(epochs, num_examples):
    assert np.array_equal(np.sort(epoch), np.arange(num_examples))


def test_epochs_and_seeds_have_orders_of_their_own():
  first, second = example_indices(np.arange(2000), num_examples=1000, seed=0).reshape(2, 1000)
  other = example_indices(np.arange(1000), num_examples=1000, seed=1)
  for a, b in [(first, second), (first, other), (second, other), (first, np.arange(1000))]:
    # Two unrelated permutations agree in one place on average, whatever their length.
    assert (a == b).sum() < 12
    assert abs(np.corrcoef(a, b)[0, 1]) < 5 / np.sqrt(1000)


def test_every_record_is_equally_likely_to_come_first():
  firsts = [int(example_indices(0, num_examples=5, seed=seed)) for seed in range(2000)]
  counts = np.bincount(firsts, minlength=5)
  assert ((counts - 400) ** 2 / 400).sum() < 25  # chi-square with 4 degrees of freedom, p = 5e-5


def test_is_a_pure_function_of_the_position():
  positions = np.array([[5, 999_999], [0, 123_456]])
  wanted = example_indices(positions, num_examples=97, seed=5)
  order._recent_epochs.cache_clear()
  one_by_one = [
    [example_indices(int(p), num_examples=97, seed=5) for p in row] for row in positions[::-1]
  ][::-1]
  assert wanted.shape == (2, 2)
  assert wanted.dtype == np.int32
  assert np.array_equal(wanted, one_by_one)


def philox(counter, key):
  """Philox4x64-10 of Salmon et al. 2011 on Python integers: four words."""
  mask = 2**64 - 1
  x, (k0, k1) = [counter, 0, 0, 0], key
  for _ in range(10):
    a, b = x[0] * 0xD2E7470EE14C6C93, x[2] * 0xCA5A826395121157
    x = [(b >> 64) ^ x[1] ^ k0, b & mask, (a >> 64) ^ x[3] ^ k1, a & mask]
    k0, k1 = (k0 + 0x9E3779B97F4A7C15) & mask, (k1 + 0xBB67AE8584CAA73B) & mask
  return x


def test_order_is_fixed_for_good():
  # A saved run goes on in the same order after an upgrade of numpy: sorted Philox words, from
  # counter 1 on, under the key (seed, epoch).
  assert philox(0, (0, 0))[0] == 0x16554D9ECA36314C  # the authors' known-answer test
  words = philox(1, (11, 2)) + philox(2, (11, 2)) + philox(3, (11, 2))
  wanted = sorted(range(10), key=words.__getitem__)
  assert example_indices(np.arange(20, 30), num_examples=10, seed=11).tolist() == wanted


def test_far_epochs_cost_no_more_than_near_ones(monkeypatch):
  made = []
  argsort = np.argsort
  monkeypatch.setattr(np, "argsort", lambda *a, **k: made.append(len(a[0])) or argsort(*a, **k))
  order._recent_epochs.cache_clear()
  example_indices(np.arange(10) + 10**12, num_examples=1000, seed=0)
  assert made == [1000]


def test_replicas_do_not_evict_each_other(monkeypatch):
  made = []
  argsort = np.argsort
  monkeypatch.setattr(np, "argsort", lambda *a, **k: made.append(1) or argsort(*a, **k))
  order._recent_epochs.cache_clear()
  for step in range(6):
    for seed in range(40):
      example_indices(np.arange(3) + 3 * step, num_examples=100, seed=seed)
  assert len(made) == 40
  assert all(len(order._recent_epochs(100, seed)) == 1 for seed in range(40))
  example_indices(np.arange(1000), num_examples=100, seed=0)
  assert len(order._recent_epochs(100, 0)) == 2


def test_without_shuffling_the_order_is_the_stored_one():
  indices = example_indices(np.arange(7), num_examples=3, seed=0, shuffle=False)
  assert indices.tolist() == [0, 1, 2, 0, 1, 2, 0]


def test_processes_share_the_global_batch_in_contiguous_rows():
  whole = step_positions(5, batch_size=12)
  assert whole.tolist() == list(range(60, 72))
  for count in (1, 2, 3, 4, 6, 12):
    parts = [
      step_positions(5, batch_size=12, process_index=p, process_count=count) for p in range(count)
    ]
    assert np.array_equal(np.concatenate(parts), whole)
  assert step_positions(np.arange(3), batch_size=4, process_index=1, process_count=2).tolist() == [
    [2, 3],
    [6, 7],
    [10, 11],
  ]


@pytest.mark.parametrize(
  ("arguments", "error", "message"),
  [
    ({"positions": np.zeros(2)}, TypeError, "positions must be integers, got dtype float64"),
    ({"positions": np.array([3, -1])}, ValueError, "positions must not be negative, got -1"),
    ({"num_examples": 0}, ValueError, "num_examples must be at least 1, got 0"),
    ({"seed": -1}, ValueError, r"seed must be in \[0, 2\*\*64\), got -1"),
  ],
)
def test_bad_order_arguments(arguments, error, message):
  with pytest.raises(error, match=message):
    example_indices(**{"positions": np.arange(2), "num_examples": 5, "seed": 0} | arguments)


def test_bad_step_arguments():
  with pytest.raises(
    ValueError, match="batch_size must be a positive multiple of process_count = 3"
  ):
    step_positions(0, batch_size=4, process_count=3)
  with pytest.raises(
    ValueError, match=r"process_index must be in \[0, process_count\), got 2 of 2"
  ):
    step_positions(0, batch_size=4, process_index=2, process_count=2)
