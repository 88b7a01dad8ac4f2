from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollguard.exporters.measures.windowed import AGGREGATES, Aggregate, Sample, Summary, Window
from rollguard.metric import Metric

GAUGE = Metric("size", "gauge", "Size.", ("symbol",))
values = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60)
positive = st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=200)


def window(aggregate: str = "last", seconds: float = 60.0, **options: Any) -> Window:
    return Window(GAUGE, AGGREGATES[aggregate], seconds, **options)


def filled(aggregate: Aggregate, numbers: list[float], *, sketch: bool = False) -> float | None:
    found = Window(GAUGE, aggregate, 3600.0, sketch=sketch)
    for number, value in enumerate(numbers):
        found.observe("A", ts=1000.0 + 10 * number, value=value)
    return value_of(found, 1000.0 + 10 * len(numbers))


def value_of(found: Window, end: float, label: str = "A") -> float | None:
    value = found.family(end).samples.get((label,))
    assert value is None or isinstance(value, float)
    return value


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("last", lambda numbers: numbers[-1]),
        ("mean", np.mean),
        ("deviation", np.std),
        ("sum", np.sum),
        ("max", np.max),
        ("min", np.min),
    ],
)
@given(values)
def test_an_aggregate_is_numpys(
    name: str, known: Callable[[list[float]], float], numbers: list[float]
) -> None:
    assert filled(AGGREGATES[name], numbers) == pytest.approx(known(numbers), rel=1e-9, abs=1e-6)


@given(positive, st.sampled_from([0.05, 0.5, 0.95, 0.99]))
def test_a_quantile_is_within_one_per_cent_of_the_value_of_its_rank(
    numbers: list[float], share: float
) -> None:
    found = filled(lambda summary: summary.quantile(share), numbers, sketch=True)
    assert found == pytest.approx(np.quantile(numbers, share, method="lower"), rel=0.0101)


@given(values)
def test_a_quantile_keeps_sign_and_order(numbers: list[float]) -> None:
    lowest = filled(lambda summary: summary.quantile(0.0), numbers, sketch=True)
    assert lowest == pytest.approx(min(numbers), rel=0.0101, abs=1e-12)


def test_a_ratio_is_of_the_sums() -> None:
    found = window("ratio")
    found.observe("A", ts=100.0, value=1.0, of=2.0)
    found.observe("A", ts=101.0, value=1.0, of=6.0)
    assert value_of(found, 102.0) == 0.25


def test_a_ratio_of_nothing_is_not_shown() -> None:
    found = window("ratio")
    found.observe("A", ts=100.0, value=1.0, of=0.0)
    assert value_of(found, 102.0) is None


def test_the_last_value_is_that_of_the_newest_time_not_of_the_last_line() -> None:
    found = window("last")
    found.observe("A", ts=110.0, value=2.0)
    found.observe("A", ts=100.0, value=1.0)
    assert value_of(found, 111.0) == 2.0


def test_a_window_ends_where_it_is_asked_to() -> None:
    found = window("sum")
    for ts in (0.0, 30.0, 59.0, 90.0):
        found.observe("A", ts=1000.0 + ts, value=1.0)
    assert value_of(found, 1060.0) == 3.0
    assert value_of(found, 1095.0) == 2.0
    assert value_of(found, 1200.0) is None


def test_a_value_that_no_window_can_hold_is_left_out() -> None:
    found = window("sum")
    found.observe("A", ts=10_000.0, value=1.0)
    found.observe("A", ts=9000.0, value=5.0)
    assert value_of(found, 10_000.0) == 1.0
    assert value_of(found, 9000.0) is None


def test_a_label_that_is_gone_for_a_window_takes_no_memory() -> None:
    found = window("sum")
    for symbol in range(50):
        found.observe(f"S{symbol}", ts=1000.0, value=1.0)
    found.observe("A", ts=2000.0, value=1.0)
    assert len(msgspec.json.encode(found.state())) < 400


def test_below_the_minimal_sample_nothing_is_shown() -> None:
    found = window("mean", min_sample=2)
    found.observe("A", ts=100.0, value=1.0)
    assert value_of(found, 101.0) is None
    found.observe("A", ts=100.5, value=2.0)
    assert value_of(found, 101.0) == 1.5


def test_a_sample_counts_what_is_in_the_window_also_below_the_minimum() -> None:
    found = window("mean", min_sample=2)
    sample = Sample(Metric("m_samples", "gauge", "Values.", ("symbol",)), found)
    assert sample.family(101.0).samples == {}
    found.observe("A", ts=100.0, value=1.0)
    assert sample.family(101.0).samples == {("A",): 1.0}


def test_labels_beyond_the_cap_are_left_out_and_counted() -> None:
    found = window("sum", max_labels=2)
    for symbol in range(1000):
        found.observe(f"S{symbol}", ts=100.0, value=1.0)
    assert dict(found.family(101.0).samples) == {("S0",): 1.0, ("S1",): 1.0}
    assert found.family(101.0).overflow == 998


def test_a_window_of_another_length_starts_empty() -> None:
    found, other = window("sum"), window("sum", seconds=120.0)
    found.observe("A", ts=100.0, value=1.0)
    other.restore(msgspec.Raw(msgspec.json.encode(found.state())))
    assert value_of(other, 101.0) is None


def test_adding_nothing_changes_nothing() -> None:
    found = Summary(1, 2.0, 0.0, 2.0, 2.0, 2.0, 5.0)
    found.add(Summary())
    assert found == Summary(1, 2.0, 0.0, 2.0, 2.0, 2.0, 5.0)
    assert not math.isnan(found.deviation)
