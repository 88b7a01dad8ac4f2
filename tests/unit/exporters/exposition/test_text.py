from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, core, exposition, utils
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from rollguard.exporters.exposition.families import Family, Histogram, by_label, single
from rollguard.exporters.exposition.text import Exposition
from rollguard.metric import Metric, MetricType

go: Any = utils.floatToGoString
in_openmetrics: Any = openmetrics.generate_latest
HEIGHT = Metric("height_metres", "gauge", "How tall.", ("who",))


class Theirs(Collector):
    """The same families, as prometheus_client has them."""

    def __init__(self, families: Iterable[Family]) -> None:
        self.families = list(families)

    def collect(self) -> Iterator[Any]:
        return map(theirs, self.families)


def theirs(family: Family) -> Any:
    metric = family.metric
    name, text, labels = metric.name, metric.help, metric.labels
    found: Any
    if metric.type == "histogram":
        found = core.HistogramMetricFamily(name, text, labels=labels)
        for values, histogram in family.samples.items():
            if isinstance(histogram, Histogram):
                found.add_metric(values, *their_buckets(histogram))
        return found
    kind = core.CounterMetricFamily if metric.type == "counter" else core.GaugeMetricFamily
    found = kind(name, text, labels=labels)
    for values, value in family.samples.items():
        if value is not None:
            found.add_metric(values, value)
    return found


def their_buckets(histogram: Histogram) -> tuple[list[tuple[str, float]], float]:
    running, buckets = 0.0, []
    for bound, count in zip([*histogram.bounds, math.inf], histogram.counts, strict=True):
        running += count
        buckets.append((go(bound), running))
    return buckets, histogram.total


names = st.sampled_from(["a", "b", "le_", "name", "zone"])
texts = st.text(st.sampled_from('a"\\\n ,}é\u2028'), max_size=4)
floats = st.floats() | st.sampled_from(
    [0, -0.0, 1e6, 999999.9999, 1e15, 1e16, 1e21, -1e7, 1e-7, 5e-324, 2**53]
)


kinds: st.SearchStrategy[MetricType] = st.sampled_from(("gauge", "counter", "histogram"))


@st.composite
def families(draw: st.DrawFn) -> Family:
    kind: MetricType = draw(kinds)
    name = draw(names) + "_total" * (kind == "counter")
    labels = draw(st.lists(names, unique=True, max_size=3))
    values: st.SearchStrategy[Any] = floats | st.none()
    if kind == "histogram":
        bounds = draw(st.lists(st.floats(0, allow_infinity=False), unique=True, max_size=4))
        size = len(bounds) + 1
        counts = st.lists(st.integers(0, 10**9), min_size=size, max_size=size)
        values = st.builds(Histogram, st.just(sorted(bounds)), counts, floats)
    keys = st.tuples(*[texts] * len(labels))
    return Family(
        Metric(name, kind, draw(texts), tuple(labels)), draw(st.dictionaries(keys, values, max_size=5))
    )


@given(st.lists(st.lists(families(), max_size=4, unique_by=lambda family: family.metric.name), max_size=3))
def test_it_is_what_prometheus_client_writes(scrapes: list[list[Family]]) -> None:
    ours = Exposition()
    for scrape in scrapes:
        registry = CollectorRegistry(auto_describe=False)
        registry.register(Theirs(scrape))
        assert ours.text(scrape).decode() == exposition.generate_latest(registry).decode()
        assert ours.openmetrics(scrape).decode() == in_openmetrics(registry).decode()


def lines(found: bytes) -> list[str]:
    return [line for line in found.decode().splitlines() if not line.startswith("#")]


def test_what_is_no_longer_there_is_no_longer_shown() -> None:
    ours = Exposition()
    assert lines(ours.text([by_label(HEIGHT, {"ann": 1.8, "bob": 1.7})])) == [
        'height_metres{who="ann"} 1.8',
        'height_metres{who="bob"} 1.7',
    ]
    assert lines(ours.text([by_label(HEIGHT, {"bob": 1.7})])) == ['height_metres{who="bob"} 1.7']


def test_nothing_is_not_zero() -> None:
    assert lines(Exposition().text([single(Metric("a", "gauge", ""), None)])) == []


def test_series_beyond_the_limit_are_left_out_and_counted() -> None:
    ours = Exposition(max_series=2)
    many = by_label(HEIGHT, {str(number): number for number in range(5)})
    left_out = 'rollguard_exporter_series_left_out{metric="height_metres"} 3.0'
    assert lines(ours.text([many])) == ['height_metres{who="0"} 0.0', 'height_metres{who="1"} 1.0', left_out]
    assert lines(ours.text([by_label(HEIGHT, {"0": 0})])) == ['height_metres{who="0"} 0.0']


def test_labels_that_come_and_go_do_not_pile_up() -> None:
    ours = Exposition()
    for number in range(50):
        ours.text([by_label(HEIGHT, {f"{number} {one}": 1 for one in range(100)})])
    assert sum(map(len, ours._series.values())) < 500


def test_half_a_character_spoils_nothing() -> None:
    assert lines(Exposition().text([by_label(HEIGHT, {"\ud800": 1})])) == ['height_metres{who="?"} 1.0']
