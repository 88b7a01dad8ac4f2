"""The exporter of measurements that name their rollout: declared metrics of several rollouts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import product
from typing import Any

from rollguard.conventions import ROLLOUT_LABEL
from rollguard.exporters.exposition.families import Labels
from rollguard.exporters.features.arms import FeatureArms
from rollguard.exporters.features.declaration import Declaration, DeclaredMetric
from rollguard.exporters.features.measurement import Measurement, MeasurementDecoder, number
from rollguard.exporters.measures.accumulators import Accumulator, Counter, Distribution
from rollguard.exporters.measures.arm_counters import ERROR, OK
from rollguard.exporters.measures.windowed import AGGREGATES, Aggregate, Sample, Window
from rollguard.exporters.runtime.event_exporter import EventExporter
from rollguard.exporters.runtime.intake import Intake
from rollguard.exporters.sources.interface import Block, Source
from rollguard.metric import Metric
from rollguard.spec.rollout import Rollout

LISTEN = "127.0.0.1:9845"

UNKNOWN = Metric(
    "rollguard_exporter_fields_unknown_total",
    "counter",
    "Keys of measurements that no metric of their rollout is made of.",
    (ROLLOUT_LABEL,),
)
LATE_AFTER_SECONDS = 7 * 86400.0
"""Older measurements are late, whatever their metric; its own window may end sooner."""

_LABEL_CHARACTERS = 100


class Features(EventExporter[Measurement]):
    """Takes measurements in and yields the declared metrics, each with the label rollout.

    Args:
        source: of the measurements.
        declaration: the metrics.
        clock: Unix seconds.
        rollouts: that know the percents of their stages and their variants.
    """

    name = "features"
    title = "features"

    def __init__(
        self,
        source: Source[Block],
        declaration: Declaration,
        clock: Callable[[], float] = time.time,
        rollouts: Iterable[Rollout] = (),
    ) -> None:
        self._arms = FeatureArms(declaration, rollouts, clock)
        known = [(rollout,) for rollout in declaration.rollouts]
        self._unknown = Counter(UNKNOWN, known)
        plain = [metric for metric in declaration.metrics if not metric.by_arm]
        self._measures = [Measure(metric, declaration.rollouts) for metric in plain]
        self._of = {
            rollout: [one for one in self._measures if rollout in one.rollouts]
            for rollout in declaration.rollouts
        }
        self._keys = {
            rollout: self._arms.keys(rollout).union(*(one.keys for one in found))
            for rollout, found in self._of.items()
        }
        decoder = MeasurementDecoder(declaration.rollouts)
        intake = Intake(Measurement, LATE_AFTER_SECONDS, clock, decoder)
        tallies = [tally for one in self._measures for tally in one.tallies]
        super().__init__(source, intake, (*tallies, self._unknown), self._arms.evidence)

    def take(self, event: Measurement, late: bool) -> None:
        """Let a measurement move the metrics of its rollout."""
        if event.is_stage:
            self._arms.begin_stage(event)
            return
        for measure in self._of[event.rollout]:
            measure.take(event)
        self._arms.take(event)
        if unknown := len(event.values.keys() - self._keys[event.rollout]):
            self._unknown.add(event.rollout, amount=unknown)


class Measure:
    """One declared metric of its rollouts: finds its value and labels in a measurement.

    Args:
        declared: the metric.
        rollouts: of the declaration.
    """

    def __init__(self, declared: DeclaredMetric, rollouts: tuple[str, ...]) -> None:
        self.rollouts = declared.rollouts or rollouts
        self.keys = {declared.key, *declared.labels, *((declared.of,) if declared.of else ())}
        self._key, self._over = declared.key, declared.of
        self._labels: Mapping[str, tuple[str, ...]] = declared.labels
        self._add: Callable[[Labels, float, float, float], None]
        self.tallies = self._tallies(declared)

    def take(self, event: Measurement) -> None:
        """Take its value in, where a measurement has it, its labels and, of a ratio, the other value."""
        value = number(event.values.get(self._key))
        if value is None:
            return
        over = number(event.values.get(self._over)) if self._over else 0.0
        labels = tuple(self._label_values(event.values)) if self._labels else ()
        if over is not None and None not in labels:
            self._add((event.rollout, *map(str, labels)), event.ts, value, over)

    def _label_values(self, values: Mapping[str, Any]) -> Iterator[str | None]:
        for name, known in self._labels.items():
            value = values.get(name, known[0] if known else None)
            fits = isinstance(value, str) and len(value) <= _LABEL_CHARACTERS
            yield value if fits and (not known or value in known) else None

    def _tallies(self, declared: DeclaredMetric) -> tuple[Accumulator, ...]:
        metric = _with_rollout(declared.described())
        known: list[Labels] = list(product(self.rollouts, *declared.labels.values()))
        if declared.aggregate == "tally":
            tally = Counter(metric, [(*labels, outcome) for labels in known for outcome in (OK, ERROR)])
            self._add = lambda labels, ts, value, over: tally.add(*labels, OK if value else ERROR)
            return (tally,)
        if declared.aggregate == "counter":
            counter = Counter(metric, known)
            self._add = lambda labels, ts, value, over: counter.add(*labels, amount=max(0.0, value))
            return (counter,)
        if declared.aggregate == "histogram":
            distribution = Distribution(metric, declared.buckets, known)
            self._add = lambda labels, ts, value, over: distribution.observe(*labels, value=value)
            return (distribution,)
        window = Window(
            metric,
            _aggregate(declared),
            declared.window,
            min_sample=declared.min_sample,
            sketch=declared.aggregate == "quantile",
        )
        self._add = lambda labels, ts, value, over: window.observe(*labels, ts=ts, value=value, of=over)
        sampled = declared.min_sample > 1
        return (window, *((Sample(_with_rollout(declared.sampled()), window),) if sampled else ()))


def _with_rollout(metric: Metric) -> Metric:
    return replace(metric, labels=(ROLLOUT_LABEL, *metric.labels))


def _aggregate(declared: DeclaredMetric) -> Aggregate:
    share = declared.quantile
    return AGGREGATES[declared.aggregate] if share is None else lambda found: found.quantile(share)
