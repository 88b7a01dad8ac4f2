"""The text that Prometheus reads, fast: the labels of a series are rendered once, at a scrape only its value.

The result is what prometheus_client would write of the same samples, byte for byte.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, islice
from typing import Any

from rollguard.exporters.exposition.families import Family, Histogram, Labels
from rollguard.metric import Metric

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"

MAX_SERIES = 20_000
"""Series per metric (a histogram counts as one) that are shown; what is beyond is only counted."""

LEFT_OUT = Metric(
    "rollguard_exporter_series_left_out",
    "gauge",
    "Series of the metric that are not shown, as it has more than are allowed.",
    ("metric",),
)
_PLAIN = 1e6
"""From here on a number needs its exponent."""


class Exposition:
    """Renders families; keeps the rendered labels of the series that it has seen at the last scrapes."""

    def __init__(self, max_series: int = MAX_SERIES) -> None:
        self._max_series = max_series
        self._series: dict[Metric, dict[Labels, str]] = {}

    def text(self, families: Iterable[Family]) -> bytes:
        """Return the classic text format."""
        return "".join(self._lines(families, openmetrics=False)).encode(errors="replace")

    def openmetrics(self, families: Iterable[Family]) -> bytes:
        """Return OpenMetrics 1.0."""
        return "".join([*self._lines(families, openmetrics=True), "# EOF\n"]).encode(errors="replace")

    def _lines(self, families: Iterable[Family], *, openmetrics: bool) -> Iterator[str]:
        left_out: dict[Labels, float] = {}
        for family in families:
            samples: Mapping[Labels, Any] = family.samples
            if (extra := len(samples) - self._max_series) > 0:
                left_out[family.metric.name,] = extra
                samples = dict(islice(samples.items(), self._max_series))
            yield _head(family.metric, openmetrics=openmetrics)
            if family.metric.type == "histogram":
                yield from self._histograms(family.metric, samples)
            else:
                yield from self._values(family.metric, samples)
        if left_out:
            yield _head(LEFT_OUT, openmetrics=openmetrics)
            yield from self._values(LEFT_OUT, left_out)

    def _values(self, metric: Metric, samples: Mapping[Labels, float | None]) -> Iterator[str]:
        known = self._known(metric, samples)
        for labels, value in samples.items():
            if value is None:
                continue
            try:
                series = known[labels]
            except KeyError:
                series = known[labels] = f"{metric.name}{_braces(metric.labels, labels)} "
            number = float(value)
            yield (
                f"{series}{number!r}\n" if -math.inf < number < _PLAIN else f"{series}{number_text(number)}\n"
            )

    def _histograms(self, metric: Metric, samples: Mapping[Labels, Histogram | None]) -> Iterator[str]:
        known = self._known(metric, samples)
        for labels, value in samples.items():
            if value is None:
                continue
            bounds = tuple(value.bounds)
            series = known.get((*labels, bounds))
            if series is None:
                series = known[*labels, bounds] = _histogram_series(metric, labels, bounds)
            total = [*accumulate(value.counts)]
            for name, number in zip(series, (*total, total[-1], value.total), strict=True):
                yield f"{name}{number_text(number)}\n"

    def _known(self, metric: Metric, samples: Mapping[Labels, Any]) -> dict[Any, Any]:
        """Rendered labels of a metric's series; forgotten when most of them are gone."""
        known = self._series.setdefault(metric, {})
        if len(known) > 2 * len(samples) + 100:
            known.clear()
        return known


def _head(metric: Metric, *, openmetrics: bool) -> str:
    name, text = metric.name, metric.help.replace("\\", r"\\").replace("\n", r"\n")
    if openmetrics:
        name = name.removesuffix("_total") if metric.type == "counter" else name
        text = text.replace('"', r"\"")
    return f"# HELP {name} {text}\n# TYPE {name} {metric.type}\n"


def _braces(names: Sequence[str], values: Sequence[str]) -> str:
    pairs = sorted(zip(names, values, strict=True))
    shown = ",".join(f'{name}="{_escaped(value)}"' for name, value in pairs)
    return f"{{{shown}}}" if shown else ""


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _histogram_series(metric: Metric, labels: Labels, bounds: Iterable[float]) -> list[str]:
    names = (*metric.labels, "le")
    upper = [*map(number_text, bounds), "+Inf"]
    buckets = [f"{metric.name}_bucket{_braces(names, (*labels, bound))} " for bound in upper]
    plain = _braces(metric.labels, labels)
    return [*buckets, f"{metric.name}_count{plain} ", f"{metric.name}_sum{plain} "]


def number_text(number: float) -> str:
    """Return a float as Go writes it: with an exponent from a million on."""
    number = float(number)
    if -math.inf < number < _PLAIN:
        return repr(number)
    if math.isnan(number):
        return "NaN"
    if math.isinf(number):
        return "+Inf" if number > 0 else "-Inf"
    digits = repr(number)
    whole, point, rest = digits.partition(".")
    if not point or "e" in rest:
        return digits
    mantissa = f"{whole[0]}.{whole[1:]}{rest}".rstrip("0.")
    return f"{mantissa}e+{len(whole) - 1:02d}"
