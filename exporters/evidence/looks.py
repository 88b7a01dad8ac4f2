"""Prometheus as a source: at each look, the counters of all guards by evidence, as of one moment."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence

import msgspec

from rollguard.conventions import GUARD_HELD_METRIC, GUARD_LABEL, ROLLOUT_LABEL, RUN_METRIC, STAGE_METRIC
from rollguard.exporters.evidence.counters import created
from rollguard.exporters.evidence.evaluator import PROCESS_START, Look
from rollguard.exporters.evidence.judged import Judged
from rollguard.exporters.measures.evidence import EVENTS, LEFT_OUT, START
from rollguard.exporters.sources.interface import Reading
from rollguard.monitoring.prometheus import Prometheus, PrometheusError, QueryRefusedError, Sample

logger = logging.getLogger(__name__)


class LookSource:
    """Asks a Prometheus, one look every so often.

    Args:
        prometheus: the client.
        judged: the guards by evidence, by rollout.
        interval: seconds between two looks.
        scale: what durations are divided by: times are given to the evaluator as if they were not.
        clock: Unix seconds.
    """

    name = "prometheus"
    unit = ""

    def __init__(
        self,
        prometheus: Prometheus,
        judged: Mapping[str, Sequence[Judged]],
        interval: float,
        *,
        scale: float = 1.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.poll_seconds = interval
        self.up = False
        self._prometheus = prometheus
        self._judged = judged
        self._scale = scale
        self._clock = clock
        self._error = ""

    def __str__(self) -> str:
        return f"Prometheus at {self._prometheus.url}"

    def resume(self, position: msgspec.Raw) -> None:
        """Begin with the next look: what was counted in between comes with it."""

    def read(self) -> Reading[dict[str, Look]]:
        """Return a look at each rollout; where Prometheus does not answer, looks that say so."""
        at = self._clock()
        try:
            looks = self._looks(at)
        except PrometheusError as error:
            if str(error) != self._error:
                logger.error("%s", error)
            self._error, self.up = str(error), False
            silent = Look(at * self._scale, error="Prometheus does not answer")
            return Reading(dict.fromkeys(self._judged, silent), None, at_end=True)
        self._error, self.up = "", True
        return Reading(looks, None, at_end=True)

    def rest(self) -> None:
        """Return nothing: a look is whole."""

    def saved(self, position: msgspec.Struct) -> None:
        """Take note of nothing: Prometheus forgets by itself."""

    def lag(self) -> float:
        """Return 0."""
        return 0.0

    def close(self) -> None:
        """Close the connections."""
        self._prometheus.close()

    def _looks(self, at: float) -> dict[str, Look]:
        """Return the looks of one moment; what is refused of one rollout keeps no other from being judged."""
        runs = self._by_rollout(RUN_METRIC, at)
        planes = self._by_rollout(STAGE_METRIC, at)
        held = self._by_rollout(f"{GUARD_HELD_METRIC} == 1", at)
        looks = {}
        for name, guards in self._judged.items():
            run = next((int(found.value) for found in runs.get(name, ()) if math.isfinite(found.value)), None)
            look = Look(
                at * self._scale,
                run=0 if run is None and name not in planes else run,
                held=frozenset(found.labels.get(GUARD_LABEL, "") for found in held.get(name, ())),
            )
            try:
                self._fill(look, name, guards, at)
            except QueryRefusedError as error:
                look.error = f"Prometheus refuses a query: {error}"
            looks[name] = look
        return looks

    def _fill(self, look: Look, name: str, guards: Sequence[Judged], at: float) -> None:
        """Ask for a rollout's counters, each selector once, and for when they began."""
        for series in {str(one) for guard in guards for one in guard.selected.values()}:
            look.samples[series] = self._prometheus.query(series, at=at)
        look.starts = [
            Sample(sample.labels, sample.value * self._scale)
            for sample in self._prometheus.query(_starts(name, guards), at=at)
        ]
        look.left_out = _left_out(self._prometheus.query(_events(name), at=at))

    def _by_rollout(self, query: str, at: float) -> dict[str, list[Sample]]:
        found: dict[str, list[Sample]] = {}
        for sample in self._prometheus.query(query, at=at):
            found.setdefault(sample.labels.get(ROLLOUT_LABEL, ""), []).append(sample)
        return found


def _starts(rollout: str, guards: Sequence[Judged]) -> str:
    """Return a query for when the counters of a rollout began, where anything says so."""
    read = {one.name for guard in guards for one in guard.selected.values()}
    matched = "|".join([START.name, PROCESS_START, *sorted(map(created, read))])
    return f'{{__name__=~"{matched}",{ROLLOUT_LABEL}="{rollout}"}}'


def _events(rollout: str) -> str:
    return f'{{__name__=~"{EVENTS.name}|{LEFT_OUT.name}",{ROLLOUT_LABEL}="{rollout}"}}'


def _left_out(samples: Sequence[Sample]) -> dict[str, tuple[float, dict[str, float]]]:
    """Return the events that should be evidence, and by reason those that were left out; by metric."""
    events: dict[str, float] = {}
    reasons: dict[str, dict[str, float]] = {}
    for sample in samples:
        metric = sample.labels.get("metric", "")
        if sample.labels.get("__name__") == EVENTS.name:
            events[metric] = events.get(metric, 0.0) + sample.value
        else:
            of = reasons.setdefault(metric, {})
            reason = sample.labels.get("reason", "")
            of[reason] = of.get(reason, 0.0) + sample.value
    return {metric: (number, reasons.get(metric, {})) for metric, number in events.items()}
