"""The order of an epoch: every sample once, as good as shuffled, and the same whatever is asked first."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rt2data.loader.mixing import WINDOW, SourceOrder
from rt2data.loader.order import LANE_RUNS, LANES, MIN_RUNS, RUN, Order, Permutation, key
from rt2data.loader.stream import Schedule, Weighted

SIZES = (1, 2, 3, 31, 32, 33, 959, 3839, 3840, 3841, 5_000, 133_337, 262_144, 300_001)


def ranks(values: np.ndarray) -> np.ndarray:
    out = np.empty(len(values), np.float64)
    out[np.argsort(values, kind="stable")] = np.arange(len(values))
    return out


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(ranks(a), ranks(b))[0, 1])


@pytest.mark.parametrize("size", SIZES)
def test_a_permutation_hits_each_number_once_and_has_an_inverse(size: int) -> None:
    permutation = Permutation(size, key("any", size))
    numbers = np.arange(size)
    out = permutation(numbers)
    assert np.array_equal(np.sort(out), numbers)
    assert np.array_equal(permutation.inverse(out), numbers)


@pytest.mark.parametrize("size", SIZES)
def test_an_epoch_has_each_sample_once(size: int) -> None:
    order = Order(size, key("mixture", size, 0))
    positions = np.arange(size)
    out = order.samples(positions)
    assert np.array_equal(np.sort(out), positions)
    some = np.random.default_rng(0).permutation(size)[:50]
    assert np.array_equal(order.samples(some), out[some])


@settings(max_examples=40)
@given(st.integers(1, 4_000), st.integers(0, 2**64 - 1))
def test_any_size_and_any_key(size: int, one: int) -> None:
    numbers = np.arange(size)
    permutation = Permutation(size, one)
    assert np.array_equal(np.sort(permutation(numbers)), numbers)
    assert np.array_equal(permutation.inverse(permutation(numbers)), numbers)
    assert np.array_equal(np.sort(Order(size, one).samples(numbers)), numbers)


@settings(max_examples=25)
@given(st.integers(2**20, 2**40), st.integers(0, 2**64 - 1), st.integers(0, 2**40))
def test_any_part_of_a_great_order(size: int, one: int, first: int) -> None:
    """No two of some thousand positions have the same sample, and a permutation of that size comes back."""
    lanes = Order(size, one).lanes
    begin = first % size
    positions = np.unique(np.concatenate([np.arange(begin, begin + 200), begin + np.arange(64) * lanes]) % size)
    out = Order(size, one).samples(positions)
    assert len(np.unique(out)) == len(out)
    assert out.min() >= 0
    assert out.max() < size
    permutation = Permutation(size, one)
    assert np.array_equal(permutation.inverse(permutation(positions)), positions)


def edges() -> list[int]:
    """Sizes at which the number of lanes or the length of runs changes, and their neighbours."""
    least = [lanes * LANE_RUNS * RUN for lanes in LANES] + [MIN_RUNS, 2 * MIN_RUNS, LANES[-1], LANES[0]]
    return sorted(size + more for size in least for more in (-1, 0, 1))


@pytest.mark.parametrize("size", [size for size in edges() if size < 130_000])
def test_an_epoch_of_a_size_at_an_edge(size: int) -> None:
    assert (np.bincount(Order(size, 5).samples(np.arange(size)), minlength=size) == 1).all()


@pytest.mark.slow
@pytest.mark.parametrize("size", [size for size in edges() if size > 130_000])
def test_an_epoch_of_a_great_size_at_an_edge(size: int) -> None:
    order, seen = Order(size, 5), np.zeros(size, np.int64)
    for first in range(0, size, 1 << 17):
        seen[order.samples(np.arange(first, min(first + (1 << 17), size)))] += 1
    assert (seen == 1).all()


def test_the_order_is_that_of_its_key_alone() -> None:
    positions = np.arange(4096)
    first = Order(300_001, 17).samples(positions)
    assert first[:4].tolist() == Order(300_001, 17).samples(positions[:4]).tolist()
    assert (first == Order(300_001, 18).samples(positions)).mean() < 0.001
    # Other numbers here are another order of everybody's mixtures.
    assert first[:4].tolist() == FIRST


FIRST = [20_775, 201_134, 295_597, 49_035]


def test_neighbours_part() -> None:
    size = 300_001
    epochs = [Order(size, key("m", epoch)).samples(np.arange(size)) for epoch in range(3)]
    for one, other in itertools.pairwise(epochs):
        place = np.empty(size, np.int64)
        place[other] = np.arange(size)
        again = np.abs(np.diff(place[one])) == 1
        assert again.mean() < 0.0001  # two of them by chance
        assert (np.abs(np.diff(one)) == 1).mean() < 0.0001  # nor those of the shards


def test_distances_say_nothing_of_the_next_epoch() -> None:
    size, rng = 300_001, np.random.default_rng(5)
    places = []
    for epoch in range(2):
        place = np.empty(size, np.int64)
        place[Order(size, key("m", epoch)).samples(np.arange(size))] = np.arange(size)
        places.append(place)
    a, b = rng.integers(0, size, 400_000), rng.integers(0, size, 400_000)
    assert abs(correlation(np.abs(places[0][a] - places[0][b]), np.abs(places[1][a] - places[1][b]))) < 0.01
    near = np.argsort(places[0])  # samples by their position in the first epoch, pairs of it at most 1,000 apart
    first = rng.integers(0, size - 1000, 400_000)
    apart = rng.integers(1, 1000, 400_000)
    moved = np.abs(places[1][near[first]] - places[1][near[first + apart]])
    assert abs(correlation(apart, moved)) < 0.01


def test_a_thousand_positions_are_of_everywhere() -> None:
    size = 300_001
    out = Order(size, key("m", 3)).samples(np.arange(size))
    shards = out * 64 // size
    for begin in range(0, size - 1000, 1000):
        assert len(np.unique(shards[begin : begin + 1000])) == 64
    # Each sixteenth of the samples has its share of any thousand: within four standard deviations and a half, of 4,800.
    counts = np.stack([np.bincount(out[i : i + 1000] * 16 // size, minlength=16) for i in range(0, size - 1000, 1000)])
    assert np.abs(counts - 1000 / 16).max() < 4.5 * np.sqrt(1000 / 16 * 15 / 16)


@pytest.mark.parametrize("size", SIZES)
def test_pieces_are_the_samples_that_a_reader_of_lanes_reads_together(size: int) -> None:
    order = Order(size, key("pieces", size))
    samples, before, count = order.pieces(np.arange(size))
    assert (before < count).all()
    first = (samples - before) % size
    lane = np.arange(size) % order.lanes
    read = {}
    for one, begin, length, number in zip(samples.tolist(), first.tolist(), count.tolist(), lane.tolist(), strict=True):
        read.setdefault((begin, length, number), []).append(one)
    for (begin, length, _), own in read.items():
        assert sorted((one - begin) % size for one in own) == list(range(length))


def test_a_reader_of_whole_lanes_reads_whole_runs() -> None:
    size, readers = 1 << 24, 512
    assert LANES[0] % readers == 0
    mine = Order(size, 1).samples(np.arange(0, size, readers))
    offset = 1 % size
    runs = (mine - offset) % size // RUN
    whole = np.unique(runs, return_counts=True)[1] == RUN
    assert whole.mean() > 0.9  # lanes end within a run


WEIGHTS = np.array([0.5, 0.3, 0.15, 0.0499, 0.0001])


def test_sources_have_their_shares_of_each_window() -> None:
    order = SourceOrder(lambda windows: np.tile(WEIGHTS, (len(windows), 1)), 5, 3)
    windows = 100
    source, before = order.take(np.arange(windows * WINDOW))
    counts = np.stack([np.bincount(part, minlength=5) for part in source.reshape(windows, WINDOW)])
    assert (np.abs(counts - WINDOW * WEIGHTS) < 1).all()
    assert (np.abs(counts.sum(axis=0) - windows * WINDOW * WEIGHTS) < 3).all()  # and no drift
    for number in range(5):
        assert np.array_equal(np.sort(before[source == number]), np.arange((source == number).sum()))
    far = np.arange(40 * WINDOW + 100, 40 * WINDOW + 200)
    other = SourceOrder(lambda windows: np.tile(WEIGHTS, (len(windows), 1)), 5, 3).take(far)
    assert np.array_equal(other[0], source[far])
    assert np.array_equal(other[1], before[far])


def test_a_schedule_holds_or_goes_along_lines() -> None:
    points = [(0, [1.0, 3.0]), (10 * WINDOW, [1.0, 1.0]), (20 * WINDOW, [0.0, 2.0])]
    windows = np.array([0, 5, 10, 15, 20, 1000])
    steps = Schedule(points, linear=False).at(windows)[:, 0]
    assert steps.tolist() == [0.25, 0.25, 0.5, 0.5, 0, 0]
    lines = Schedule(points, linear=True).at(windows)[:, 0]
    assert lines.tolist() == [0.25, 0.375, 0.5, 0.25, 0, 0]


@pytest.mark.parametrize("scale", [5e-324, 1e-300, 1.0, 1e300, 8.9e307])
def test_weights_of_any_scale(scale: float) -> None:
    schedule = Schedule([(0, [scale, 2 * scale, scale])], linear=False)
    assert schedule.shares.tolist() == [[0.25, 0.5, 0.25]]
    source, _ = SourceOrder(schedule.at, 3, 1).take(np.arange(WINDOW))
    assert np.bincount(source).tolist() == [WINDOW // 4, WINDOW // 2, WINDOW // 4]


def test_a_source_that_rests_goes_on_where_it_was() -> None:
    points = [(0, [1.0, 1.0]), (2 * WINDOW, [1.0, 0.0]), (4 * WINDOW, [1e-9, 1.0]), (6 * WINDOW, [0.0, 1.0])]
    for linear in (False, True):
        order = SourceOrder(Schedule(points, linear=linear).at, 2, 9)
        source, before = order.take(np.arange(8 * WINDOW))
        for number in range(2):
            assert np.array_equal(np.sort(before[source == number]), np.arange((source == number).sum()))
        rests = source[3 * WINDOW : 4 * WINDOW]
        assert linear or not rests.any()
        assert source[6 * WINDOW :].all()


def test_a_weight_is_exact_at_each_window_of_a_line() -> None:
    schedule = Schedule([(0, [1.0, 0.0]), (50 * WINDOW, [0.0, 1.0])], linear=True)
    source, _ = SourceOrder(schedule.at, 2, 9).take(np.arange(60 * WINDOW))
    counts = source.reshape(60, WINDOW).sum(axis=1)
    assert (np.abs(counts - WINDOW * np.minimum(np.arange(60) / 50, 1)) < 1).all()


def test_far_into_a_stream() -> None:
    """A position is what it is from wherever it is asked for, a billion in as well."""
    schedule = Schedule([(0, [1.0, 2.0, 4.0]), (10**9, [4.0, 2.0, 1.0])], linear=True)
    far = np.arange(10**9 - 20, 10**9 + 20)
    at_once = SourceOrder(schedule.at, 3, 9).take(far)
    gone = SourceOrder(schedule.at, 3, 9)
    for begin in (5, 3 * 10**8, 10**7, 10**9 - 5000):
        gone.take(np.arange(begin, begin + 10))
    assert all(np.array_equal(a, b) for a, b in zip(at_once, gone.take(far), strict=True))


def test_a_source_shows_all_of_it_before_any_again() -> None:
    schedule = Schedule([(0, [2.0, 1.0])], linear=False)
    size = 3 * WINDOW // 2
    stream = Weighted(size, schedule, [500, 5_000], "m", 0)
    every = np.concatenate([stream.pieces(epoch, np.arange(size))[0] for epoch in range(4)])
    first = every[every < 500]
    assert abs(len(first) - 4 * size * 2 / 3) < 2
    times = np.bincount(first, minlength=500)
    assert times.max() - times.min() == 1
    again = stream.pieces(2, np.arange(100, 200))[0]
    assert np.array_equal(again, every[2 * size + 100 : 2 * size + 200])
