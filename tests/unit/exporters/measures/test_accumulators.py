from __future__ import annotations

import msgspec
import pytest

from rollguard.exporters.exposition.families import Histogram
from rollguard.exporters.measures.accumulators import Counter, Distribution
from rollguard.metric import Metric

COUNTER = Metric("clicks_total", "counter", "Clicks.", ("symbol", "result"))
HISTOGRAM = Metric("wait_seconds", "histogram", "Wait.", ("lane",))
KNOWN = [("A", "won"), ("A", "lost")]


def saved(state: object) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(state))


def test_known_labels_are_there_at_zero_and_others_come() -> None:
    counter = Counter(COUNTER, KNOWN)
    counter.add("B", "won", amount=2)
    assert counter.family(0.0).samples == {("A", "won"): 0.0, ("A", "lost"): 0.0, ("B", "won"): 2.0}


def test_a_counter_without_labels_is_there_at_zero() -> None:
    assert Counter(Metric("a_total", "counter", "A.")).family(0.0).samples == {(): 0.0}


def test_a_million_label_sets_are_counted_together() -> None:
    counter = Counter(COUNTER, KNOWN, max_labels=3)
    for number in range(1_000_000):
        counter.add(f"S{number}", "won")
    samples = counter.family(0.0).samples
    assert samples["other", "other"] == 999_999.0
    assert len(samples) == 4
    assert counter.family(0.0).overflow == 999_999


def test_nothing_overflows_without_labels_or_within_the_cap() -> None:
    counter = Counter(COUNTER, KNOWN, max_labels=3)
    counter.add("A", "won")
    counter.add("B", "won")
    assert counter.family(0.0).overflow == 0
    assert Counter(Metric("a_total", "counter", "A.")).family(0.0).overflow is None


def test_a_counter_goes_on_after_a_restart_with_its_known_labels() -> None:
    counter, other = Counter(COUNTER, KNOWN[:1]), Counter(COUNTER, KNOWN)
    counter.add("A", "won")
    counter.add("B", "lost")
    other.restore(saved(counter.state()))
    assert other.family(0.0).samples == {("A", "won"): 1.0, ("A", "lost"): 0.0, ("B", "lost"): 1.0}


def test_labels_that_do_not_fit_are_a_mistake_of_the_exporter() -> None:
    with pytest.raises(ValueError, match="clicks_total has the labels"):
        Counter(COUNTER).add("A")


def test_a_value_on_a_bound_lies_in_the_bucket_that_ends_there() -> None:
    found = Distribution(HISTOGRAM, [1, 2])
    for value in (0.5, 1.0, 1.5, 2.0, 2.5):
        found.observe("fast", value=value)
    assert found.family(0.0).samples == {("fast",): Histogram((1.0, 2.0), (2.0, 2.0, 1.0), 7.5)}


def test_many_values_count_like_single_ones() -> None:
    one, many = Distribution(HISTOGRAM, [1, 2]), Distribution(HISTOGRAM, [1, 2])
    for value in (0.5, 1.5, 1.5, 3.0):
        one.observe("fast", value=value)
    many.observe_many("fast", counts=[1, 2, 1], total=6.5)
    assert one.family(0.0) == many.family(0.0)


def test_a_histogram_of_other_bounds_starts_again() -> None:
    before, after = Distribution(HISTOGRAM, [1, 2], [("fast",)]), Distribution(HISTOGRAM, [1, 3], [("fast",)])
    before.observe("fast", value=1.0)
    after.restore(saved(before.state()))
    assert after.family(0.0).samples == {("fast",): Histogram((1.0, 3.0), (0.0, 0.0, 0.0), 0.0)}


def test_histograms_beyond_the_cap_are_one() -> None:
    found = Distribution(HISTOGRAM, [1], max_labels=2)
    for number in range(100):
        found.observe(f"lane {number}", value=0.5)
    assert found.family(0.0).samples["other",] == Histogram((1.0,), (98.0, 0.0), 49.0)
    assert found.family(0.0).overflow == 98
