"""A gauge over a window of event time: the values of a metric by label, aggregated."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TypeAlias

import msgspec

from rollguard.exporters.exposition.families import Family, Labels
from rollguard.exporters.measures.accumulators import MAX_LABELS, Bound
from rollguard.exporters.measures.windows import BUCKETS, MAX_FUTURE_SECONDS
from rollguard.metric import Metric

_GAMMA = 1.01 / 0.99
"""Ratio of two neighbouring buckets of the sketch: a quantile is within one per cent of a value."""

_LOG_GAMMA = math.log(_GAMMA)
_SMALLEST = 1e-12
_OFFSET = 100_000


class Summary(msgspec.Struct):
    """Values of a span of time, of which any aggregate can be made; two summaries add up.

    Args:
        n: how many.
        total: their sum.
        squares: sum of the squared distances from their mean.
        largest: of them.
        smallest: of them.
        last: the one of the newest event.
        last_ts: Unix seconds of that event.
        of: sum of the denominators, where each value has one.
        sketch: how many by bucket; buckets in the order of the values.
    """

    n: int = 0
    total: float = 0.0
    squares: float = 0.0
    largest: float = 0.0
    smallest: float = 0.0
    last: float = 0.0
    last_ts: float = 0.0
    of: float = 0.0
    sketch: dict[int, int] = {}

    def add(self, other: Summary) -> None:
        """Add another's values.

        Source: Chan, Golub and LeVeque, Updating formulae for computing sample variances (1979).
        """
        if not other.n:
            return
        if not self.n:
            self.largest, self.smallest = other.largest, other.smallest
            self.last, self.last_ts = other.last, other.last_ts
        else:
            apart = other.total / other.n - self.total / self.n
            self.squares += apart * apart * self.n * other.n / (self.n + other.n)
            self.largest = max(self.largest, other.largest)
            self.smallest = min(self.smallest, other.smallest)
            if other.last_ts >= self.last_ts:
                self.last, self.last_ts = other.last, other.last_ts
        self.squares += other.squares
        self.n += other.n
        self.total += other.total
        self.of += other.of
        for bucket, times in other.sketch.items():
            self.sketch[bucket] = self.sketch.get(bucket, 0) + times

    @property
    def deviation(self) -> float:
        """The standard deviation of the values, of the population."""
        return math.sqrt(self.squares / self.n)

    def quantile(self, share: float) -> float:
        """Return a quantile, within one per cent of the value of its rank; the sketch must have been kept.

        Args:
            share: 0-1.
        Source: Masson, Rim and Lee, DDSketch (2019).
        """
        rank = share * (self.n - 1)
        seen = 0
        for bucket in sorted(self.sketch):
            seen += self.sketch[bucket]
            if seen > rank:
                return _middle(bucket)
        return _middle(max(self.sketch))


Aggregate: TypeAlias = Callable[[Summary], float | None]

AGGREGATES: dict[str, Aggregate] = {
    "last": lambda found: found.last,
    "mean": lambda found: found.total / found.n,
    "deviation": lambda found: found.deviation,
    "sum": lambda found: found.total,
    "max": lambda found: found.largest,
    "min": lambda found: found.smallest,
    "ratio": lambda found: found.total / found.of if found.of else None,
}
"""What a summary is shown as; a quantile needs its share besides."""


class Window:
    """A gauge by label over a window of event time; see `exporters.measures.accumulators.Accumulator`.

    Args:
        metric: its description.
        aggregate: what is shown of the values; None of it is not shown.
        window_seconds: length; it moves in steps of a sixtieth.
        min_sample: values below which nothing is shown.
        sketch: whether quantiles are asked for, which cost memory.
        max_labels: label sets that are kept apart.
    """

    def __init__(
        self,
        metric: Metric,
        aggregate: Aggregate,
        window_seconds: float,
        *,
        min_sample: int = 1,
        sketch: bool = False,
        max_labels: int = MAX_LABELS,
    ) -> None:
        self.metric = metric
        self._aggregate = aggregate
        self._window_seconds = window_seconds
        self._span_seconds = window_seconds / BUCKETS
        self._min_sample = min_sample
        self._sketch = sketch
        self._bound = Bound(metric, max_labels)
        self._spans: dict[Labels, dict[int, Summary]] = {}
        self._newest = 0

    def observe(self, *labels: str, ts: float, value: float, of: float = 0.0) -> None:
        """Take a value in where it belongs; what no window can hold, or has too many labels, is left out.

        Args:
            labels: its label values.
            ts: Unix seconds of the event.
            value: a finite number.
            of: its denominator.
        """
        if labels not in self._spans and self._bound.fitted(labels, len(self._spans)) != labels:
            return  # the newest value of all others together would be nobody's
        span = math.floor(ts / self._span_seconds)
        if span > self._newest:
            self._newest = span
            self._forget()
        if span >= self._oldest():
            sketch = {_bucket(value): 1} if self._sketch else {}
            one = Summary(1, value, 0.0, value, value, value, ts, of, sketch)
            spans = self._spans.setdefault(labels, {})
            if span in spans:
                spans[span].add(one)
            else:
                spans[span] = one

    def family(self, end: float) -> Family:
        """Return it as of `end` (Unix seconds)."""
        shown = {
            labels: self._aggregate(found)
            for labels, found in self.summaries(end)
            if found.n >= self._min_sample
        }
        return Family(self.metric, shown, self._bound.overflow)

    def summaries(self, end: float) -> Iterator[tuple[Labels, Summary]]:
        """Yield what lies within the window that ends at `end` (Unix seconds), by label."""
        first = math.floor((end - self._window_seconds) / self._span_seconds)
        last = math.floor(end / self._span_seconds)
        for labels, spans in self._spans.items():
            found = Summary()
            for span in sorted(spans):
                if first <= span <= last:
                    found.add(spans[span])
            yield labels, found

    def state(self) -> WindowState:
        """Return it for a checkpoint."""
        return WindowState(
            self._span_seconds, [(list(labels), spans) for labels, spans in self._spans.items()]
        )

    def restore(self, state: msgspec.Raw | None) -> None:
        """Go on from a checkpoint; a window of another length or other labels starts empty."""
        found = msgspec.json.decode(state, type=WindowState) if state else WindowState(0.0, [])
        fits = found.span_seconds == self._span_seconds
        width = len(self.metric.labels)
        kept = [(tuple(labels), spans) for labels, spans in found.values if fits and len(labels) == width]
        self._spans = dict(kept)
        self._newest = max((span for spans in self._spans.values() for span in spans), default=0)

    def _oldest(self) -> int:
        return self._newest - BUCKETS - math.ceil(MAX_FUTURE_SECONDS / self._span_seconds)

    def _forget(self) -> None:
        oldest = self._oldest()
        for labels, spans in list(self._spans.items()):
            for gone in [span for span in spans if span < oldest]:
                del spans[gone]
            if not spans:
                del self._spans[labels]


class Sample:
    """How many values a window holds, by label: what says that there are data, although too few to be shown.

    Args:
        metric: its description.
        window: whose.
    """

    def __init__(self, metric: Metric, window: Window) -> None:
        self.metric = metric
        self._window = window

    def family(self, end: float) -> Family:
        """Return it as of `end` (Unix seconds); an empty window has no sample."""
        found = {labels: float(summary.n) for labels, summary in self._window.summaries(end) if summary.n}
        return Family(self.metric, found)

    def state(self) -> None:
        """Return nothing: the window keeps it."""

    def restore(self, state: msgspec.Raw | None) -> None:
        """Do nothing: the window keeps it."""


class WindowState(msgspec.Struct, frozen=True):
    """A window, as it lies in a checkpoint.

    Args:
        span_seconds: length of a step.
        values: label values, and for each span (its start / length) what it holds.
    """

    span_seconds: float
    values: list[tuple[list[str], dict[int, Summary]]]


def _bucket(value: float) -> int:
    size = abs(value)
    if size < _SMALLEST:
        return 0
    bucket = _OFFSET + math.ceil(math.log(size) / _LOG_GAMMA)
    return bucket if value > 0 else -bucket


def _middle(bucket: int) -> float:
    if not bucket:
        return 0.0
    size = 2 * _GAMMA ** (abs(bucket) - _OFFSET) / (_GAMMA + 1)
    return math.copysign(size, bucket)
