from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollguard.exporters.measures.windows import RollingSums

WINDOW = 600.0
BUCKET = WINDOW / 60


def window(cells: int = 2, layout: str = "a") -> RollingSums:
    return RollingSums(WINDOW, cells, layout)


def test_amounts_land_in_their_cells() -> None:
    sums = window()
    sums.add(np.array([1000.0, 1001.0, 1002.0]), np.array([0, 1, 1]), np.array([2.0, 3.0, 4.5]))
    assert sums.sums(1002).tolist() == [2.0, 7.5]


def test_without_amounts_each_counts_one() -> None:
    sums = window()
    sums.add(np.array([1000.0, 1001.0, 1002.0]), np.array([0, 1, 1]))
    assert sums.sums(1002).tolist() == [1.0, 2.0]


@given(st.lists(st.floats(0, 5000), min_size=1, max_size=50), st.floats(0, 6000))
def test_a_window_is_never_short_and_at_most_a_bucket_long(times: list[float], end: float) -> None:
    sums = window(1)
    for time in times:
        sums.add(np.array([time]), np.array([0]))
    within = sum(end - WINDOW <= time <= end for time in times)
    around = sum(end - WINDOW - BUCKET <= time <= end + BUCKET for time in times)
    assert within <= sums.sums(end)[0] <= around


def test_the_order_of_coming_does_not_matter() -> None:
    times, cells = np.array([1000.0, 1300.0, 1590.0, 900.0]), np.array([0, 1, 0, 1])
    one, other = window(), window()
    one.add(times, cells)
    for index in (3, 1, 0, 2):
        other.add(times[index : index + 1], cells[index : index + 1])
    assert one.sums(1600).tolist() == other.sums(1600).tolist() == [2.0, 1.0]


def test_an_event_a_little_ahead_counts_when_its_time_comes() -> None:
    sums = window(1)
    sums.add(np.array([1050.0]), np.array([0]))
    assert sums.sums(1000).tolist() == [0.0]
    assert sums.sums(1050).tolist() == [1.0]


def test_memory_is_bounded_however_long_it_runs() -> None:
    sums = window(1)
    for time in range(0, 100_000, 5):
        sums.add(np.array([float(time)]), np.array([0]))
        sums.forget(time)
    assert len(sums.state().buckets) <= (WINDOW + 60) / BUCKET + 2


def test_nothing_to_add_adds_nothing() -> None:
    sums = window()
    sums.add(np.array([]), np.array([], dtype=np.int64), np.array([]))
    assert sums.state().buckets == {}


def test_a_state_goes_on_where_it_was() -> None:
    before, after = window(), window()
    before.add(np.array([1000.0, 1200.0]), np.array([0, 1]), np.array([0.1, 1e300]))
    assert after.restore(before.state())
    after.add(np.array([1000.0]), np.array([0]), np.array([0.2]))
    assert after.sums(1200).tolist() == [0.1 + 0.2, 1e300]


@pytest.mark.parametrize(
    "other", [RollingSums(WINDOW * 2, 2, "a"), RollingSums(WINDOW, 3, "a"), RollingSums(WINDOW, 2, "b")]
)
def test_a_state_of_another_window_is_refused(other: RollingSums) -> None:
    other.add(np.array([1000.0]), np.array([0]))
    sums = window()
    sums.add(np.array([1000.0]), np.array([1]))
    assert not sums.restore(other.state())
    assert sums.sums(1000).tolist() == [0.0, 1.0]
