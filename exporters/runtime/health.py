"""The metrics that every exporter has of itself and of its sources."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from rollguard.exporters.exposition.families import Family, by_label, single
from rollguard.metric import Metric

_NAME = "rollguard_exporter_{}"
UP = Metric(_NAME.format("up"), "gauge", "Whether the source can be read.", ("source",))
LAG_BYTES = Metric(
    _NAME.format("lag_bytes"), "gauge", "Bytes of the source not yet read.", ("source",), "bytes"
)
LAG_ENTRIES = Metric(
    _NAME.format("lag_entries"), "gauge", "Entries of the source not yet read.", ("source",), "entries"
)
LAG_SECONDS = Metric(
    _NAME.format("lag_seconds"),
    "gauge",
    "Time since the source was last read to its end, less its interval; before that, since the start.",
    ("source",),
    "seconds",
)
LAST_EVENT = Metric(
    _NAME.format("last_event_timestamp_seconds"), "gauge", "Unix time of the newest event.", (), "seconds"
)
CHECKPOINT = Metric(
    _NAME.format("checkpoint_timestamp_seconds"),
    "gauge",
    "Unix time of the checkpoint that a restart goes on from.",
    (),
    "seconds",
)
SCRAPE_DURATION = Metric(
    _NAME.format("scrape_duration_seconds"), "gauge", "Time to collect this.", (), "seconds"
)
OVERFLOW = Metric(
    _NAME.format("label_overflow_total"),
    "counter",
    "Values of the metric that have no series of their own, as it has too many label sets.",
    ("metric",),
)
METRICS = (UP, LAG_BYTES, LAG_ENTRIES, LAG_SECONDS, LAST_EVENT, CHECKPOINT, SCRAPE_DURATION, OVERFLOW)
"""What every exporter offers, whatever it watches."""


class SourceHealth(NamedTuple):
    """How it goes with a source.

    Args:
        up: whether it could be read.
        unit: of its lag: bytes, entries, or empty for none.
        lag: what is there and not yet read, in that unit.
        late_seconds: since it was last read to its end, less its interval.
    """

    up: bool
    unit: str
    lag: float
    late_seconds: float


def sources(found: Mapping[str, SourceHealth], newest: float | None) -> Iterator[Family]:
    """Yield the health of the sources.

    Args:
        found: by the source's name.
        newest: Unix seconds of the newest event; None before the first.
    """
    yield by_label(UP, {name: float(one.up) for name, one in found.items()})
    for metric, unit in ((LAG_BYTES, "bytes"), (LAG_ENTRIES, "entries")):
        if lags := {name: one.lag for name, one in found.items() if one.unit == unit}:
            yield by_label(metric, lags)
    yield by_label(LAG_SECONDS, {name: one.late_seconds for name, one in found.items()})
    yield single(LAST_EVENT, newest)


def itself(found: Iterable[Family], saved_at: float | None, seconds: float) -> Iterator[Family]:
    """Yield the health of the exporter itself.

    Args:
        found: its own metrics.
        saved_at: Unix seconds of the checkpoint; None where there is none.
        seconds: what collecting took.
    """
    overflows = {family.metric.name: family.overflow for family in found if family.overflow is not None}
    if overflows:
        yield by_label(OVERFLOW, overflows)
    yield single(CHECKPOINT, saved_at)
    yield single(SCRAPE_DURATION, seconds)
