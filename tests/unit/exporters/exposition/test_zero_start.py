from __future__ import annotations

from rollguard.exporters.exposition.families import Family, Histogram, by_label
from rollguard.exporters.exposition.zero_start import ZeroStart
from rollguard.metric import Metric

SKIPS = Metric("skips_total", "counter", "Skips.", ("symbol",))
TIMES = Metric("times_seconds", "histogram", "Times.", ("symbol",))
HEIGHT = Metric("height", "gauge", "How tall.", ("symbol",))


def test_what_is_there_at_the_first_scrape_is_not_new() -> None:
    family = by_label(SKIPS, {"BTC": 7})
    assert ZeroStart().shown([family]) == [family]


def test_a_label_that_comes_later_is_at_zero_once() -> None:
    births = ZeroStart()
    births.shown([by_label(SKIPS, {"BTC": 7})])
    assert births.shown([by_label(SKIPS, {"BTC": 8, "ETH": 1})]) == [by_label(SKIPS, {"BTC": 8, "ETH": 0})]
    after = [by_label(SKIPS, {"BTC": 8, "ETH": 3})]
    assert births.shown(after) == after


def test_a_counter_that_comes_later_is_at_zero_once() -> None:
    births = ZeroStart()
    births.shown([])
    assert births.shown([by_label(SKIPS, {"BTC": 1})]) == [by_label(SKIPS, {"BTC": 0})]
    assert births.shown([by_label(SKIPS, {"BTC": 1})]) == [by_label(SKIPS, {"BTC": 1})]


def test_a_histogram_is_at_zero_once_with_its_buckets() -> None:
    births = ZeroStart()
    births.shown([Family(TIMES, {})])
    one = Histogram((0.5,), (1.0, 2.0), 3.25)
    assert births.shown([Family(TIMES, {("BTC",): one})]) == [
        Family(TIMES, {("BTC",): Histogram((0.5,), [0.0, 0.0], 0.0)})
    ]
    assert births.shown([Family(TIMES, {("BTC",): one})]) == [Family(TIMES, {("BTC",): one})]


def test_a_gauge_is_what_it_is() -> None:
    births = ZeroStart()
    births.shown([])
    assert births.shown([by_label(HEIGHT, {"BTC": 2})]) == [by_label(HEIGHT, {"BTC": 2})]
