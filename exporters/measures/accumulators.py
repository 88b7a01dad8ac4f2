"""What an exporter adds up: counters and histograms by label, shown at a scrape, saved in a checkpoint."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol, TypeAlias

import msgspec

from rollguard.exporters.exposition.families import Family, Histogram, Labels
from rollguard.metric import Metric

MAX_LABELS = 500
"""Label sets that one metric counts apart; what comes beyond is counted together, so that nothing is lost."""

OTHER = "other"
"""The value of every label of what is counted together."""


class Accumulator(Protocol):
    """One metric, as it adds up."""

    @property
    def metric(self) -> Metric:
        """Its description."""

    def family(self, end: float) -> Family:
        """Return it as it stands, a window ending at `end` (Unix seconds)."""

    def state(self) -> object:
        """Return it for a checkpoint: anything that JSON can say."""

    def restore(self, state: msgspec.Raw | None) -> None:
        """Go on from a checkpoint, or start afresh without one; raises ValueError where it is another's."""


def restore(tallies: Iterable[Accumulator], states: Mapping[str, msgspec.Raw]) -> None:
    """Let tallies go on from a checkpoint; one that it does not name begins afresh.

    Args:
        tallies: any.
        states: by the metric's name.
    Raises:
        ValueError: a state is another's; all of them have begun afresh then.
    """
    known = tuple(tallies)
    try:
        for tally in known:
            tally.restore(states.get(tally.metric.name))
    except ValueError:
        for tally in known:
            tally.restore(None)
        raise


class Bound:
    """Keeps the label sets of a metric below a number, and counts what comes beyond.

    Args:
        metric: whose they are.
        most: label sets that are kept apart.
    """

    def __init__(self, metric: Metric, most: int) -> None:
        self._metric = metric
        self._most = most
        self.overflow = 0.0 if metric.labels else None
        """Values since the start that had no series of their own; None of a metric without labels."""

    def fitted(self, labels: Labels, known: int) -> Labels:
        """Return the labels that a new label set is counted under: its own, or those of all beyond.

        Args:
            labels: which is not known yet.
            known: how many are.
        """
        if len(labels) != len(self._metric.labels):
            raise ValueError(f"{self._metric.name} has the labels {self._metric.labels}, not {labels}")
        if known < self._most or self.overflow is None:
            return labels
        self.overflow += 1
        return (OTHER,) * len(labels)


CountState: TypeAlias = list[tuple[list[str], float]]


class Counter:
    """A counter by label.

    Args:
        metric: its description.
        known: label values that are shown from the start, at zero: a first increase is seen as one only then.
        max_labels: label sets that are counted apart.
    """

    def __init__(self, metric: Metric, known: Iterable[Labels] = (), max_labels: int = MAX_LABELS) -> None:
        self.metric = metric
        self._known = tuple(known) if metric.labels else ((),)
        self._bound = Bound(metric, max_labels)
        self.restore(None)

    def add(self, *labels: str, amount: float = 1.0) -> None:
        """Count something."""
        if labels not in self._counts:
            labels = self._bound.fitted(labels, len(self._counts))
        self._counts[labels] = self._counts.get(labels, 0.0) + amount

    def family(self, end: float) -> Family:
        """Return it as it stands."""
        return Family(self.metric, dict(self._counts), self._bound.overflow)

    def state(self) -> CountState:
        """Return it for a checkpoint."""
        return [(list(labels), count) for labels, count in self._counts.items()]

    def restore(self, state: msgspec.Raw | None) -> None:
        """Go on from a checkpoint; what has other labels is left out."""
        found = msgspec.json.decode(state, type=CountState) if state else []
        width = len(self.metric.labels)
        self._counts: dict[Labels, float] = dict.fromkeys(self._known, 0.0)
        self._counts |= {tuple(labels): count for labels, count in found if len(labels) == width}


class DistributionState(msgspec.Struct, frozen=True):
    """A histogram, as it lies in a checkpoint.

    Args:
        labels: their values.
        bounds: upper bounds of its buckets.
        counts: observations per bucket, one more than bounds.
        total: sum of the observations.
    """

    labels: list[str]
    bounds: list[float]
    counts: list[float]
    total: float


class Distribution:
    """A histogram by label.

    Args:
        metric: its description.
        bounds: upper bounds of the buckets, ascending.
        known: label values that are shown from the start, at zero.
        max_labels: label sets that are counted apart.
    """

    def __init__(
        self,
        metric: Metric,
        bounds: Sequence[float],
        known: Iterable[Labels] = (),
        max_labels: int = MAX_LABELS,
    ) -> None:
        self.metric = metric
        self.bounds = tuple(map(float, bounds))
        self._known = tuple(known) if metric.labels else ((),)
        self._bound = Bound(metric, max_labels)
        self.restore(None)

    def observe(self, *labels: str, value: float) -> None:
        """Take a value in; one on a bound lies in the bucket that ends there."""
        buckets = self._buckets(labels)
        buckets[bisect_left(self.bounds, value)] += 1
        buckets[-1] += value

    def observe_many(self, *labels: str, counts: Iterable[float], total: float) -> None:
        """Take many values in, counted per bucket already.

        Args:
            labels: their label values.
            counts: per bucket, one more than there are bounds.
            total: sum of the values.
        """
        buckets = self._buckets(labels)
        for number, count in enumerate(counts):
            buckets[number] += count
        buckets[-1] += total

    def family(self, end: float) -> Family:
        """Return it as it stands."""
        found = {
            labels: Histogram(self.bounds, tuple(buckets[:-1]), buckets[-1])
            for labels, buckets in self._found.items()
        }
        return Family(self.metric, found, self._bound.overflow)

    def state(self) -> list[DistributionState]:
        """Return it for a checkpoint."""
        bounds = list(self.bounds)
        return [
            DistributionState(list(labels), bounds, buckets[:-1], buckets[-1])
            for labels, buckets in self._found.items()
        ]

    def restore(self, state: msgspec.Raw | None) -> None:
        """Go on from a checkpoint; a histogram of other bounds or labels starts again."""
        found = msgspec.json.decode(state, type=list[DistributionState]) if state else []
        self._found: dict[Labels, list[float]] = {}
        for labels in self._known:
            self._buckets(labels)
        for one in found:
            fits = tuple(one.bounds) == self.bounds and len(one.counts) == len(self.bounds) + 1
            if fits and len(one.labels) == len(self.metric.labels):
                self.observe_many(*one.labels, counts=one.counts, total=one.total)

    def _buckets(self, labels: Labels) -> list[float]:
        """Return the counts of some labels, and behind them the sum of the values."""
        if labels not in self._found:
            labels = self._bound.fitted(labels, len(self._found))
        return self._found.setdefault(labels, [0.0] * (len(self.bounds) + 2))
