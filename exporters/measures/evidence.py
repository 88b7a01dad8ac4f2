"""Evidence of one exporter: what its events add to the counters by arm, and what is left out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product
from operator import attrgetter
from typing import NamedTuple, Protocol

import msgspec
import numpy as np

from rollguard.exporters.exposition.families import Family, Labels
from rollguard.exporters.measures.accumulators import Accumulator, Counter, restore
from rollguard.exporters.measures.arm_counters import ArmCounter, ArmOutcomes
from rollguard.exporters.measures.assignments import (
    Assignments,
    AssignmentsState,
    LeftOut,
    Place,
    Placed,
    unit_of,
)
from rollguard.exporters.measures.distances import Array
from rollguard.exporters.measures.units import ALWAYS, Counts, Units, UnitsState
from rollguard.metric import Metric

EVENTS = Metric(
    "rollguard_exporter_evidence_events_total",
    "counter",
    "Events that should be evidence: counted, a unit's later ones, and left out.",
    ("metric",),
)
LEFT_OUT = Metric(
    "rollguard_exporter_evidence_left_out_total",
    "counter",
    "Of them those that are left out, as their arm or their percent at assignment is not known.",
    ("metric", "reason"),
)
NOT_SPLIT = Metric(
    "rollguard_exporter_evidence_not_split_total",
    "counter",
    "Events beside them whose arm was not drawn: of listed users, or by a match.",
    ("metric",),
)
START = Metric(
    "rollguard_exporter_evidence_start_timestamp_seconds",
    "gauge",
    "When the counters by arm began at zero, in Unix seconds; a checkpoint keeps it.",
)
EVIDENCE_METRICS = (EVENTS, LEFT_OUT, NOT_SPLIT, START)

_REASONS = tuple(reason.value for reason in LeftOut if reason != LeftOut.NOT_SPLIT)
_NEVER = Counts(run=False, window=False)
_PERCENT, _ASSIGNMENT, _UNIT = map(attrgetter, ("percent", "assignment", "unit"))


class Drawn(Protocol):
    """What an event says of its assignment; None where it does not."""

    @property
    def ts(self) -> float:
        """Unix seconds of the event."""

    @property
    def percent(self) -> object:
        """The stage's, in 0-100."""

    @property
    def assignment(self) -> object:
        """How its arm was chosen: split, listed, match."""

    @property
    def unit(self) -> object:
        """Whom the split assigns as a whole, such as an account."""


class Judged(NamedTuple):
    """What becomes of an event.

    Args:
        placed: labels of its place up to the percent; or why it is left out.
        counts: in which of the counters it counts.
    """

    placed: Labels | LeftOut
    counts: Counts


class EvidenceState(msgspec.Struct):
    """Everything that a checkpoint holds of it.

    Args:
        tallies: by the metric's name.
        assignments: of each rollout, as JSON has the labels before the arm.
        units: by kind of event.
    """

    tallies: dict[str, msgspec.Raw]
    assignments: list[tuple[list[str], AssignmentsState]]
    units: list[tuple[list[str], UnitsState]]


class Evidence:
    """Sorts events by arm and by the percent of their assignment, and counts what cannot be sorted.

    Args:
        counted: counters of outcomes, and of assignments, which the split is judged by.
        percents: of the stages by name, as far as a rollout file says them; by the labels before the arm: of
            an exporter of one rollout ().
        before: names of these labels.
        clock: Unix seconds.
    """

    def __init__(
        self,
        counted: Sequence[ArmOutcomes | ArmCounter],
        percents: Mapping[Labels, Mapping[str, float]],
        *,
        before: Labels = (),
        clock: Callable[[], float],
    ) -> None:
        self._counters = [counter for one in counted for counter in one.counters(ALWAYS)]
        self._percents = percents
        known = [(*head, one.name) for one in counted for head in sorted(one.heads)]
        labelled = [replace(metric, labels=(*before, *metric.labels)) for metric in EVIDENCE_METRICS]
        self._events = Counter(labelled[0], known)
        self._left_out = Counter(labelled[1], [(*one, reason) for one, reason in product(known, _REASONS)])
        self._not_split = Counter(labelled[2], known)
        self._start = _Start(labelled[3], percents, clock)
        counters = (self._events, self._left_out, self._not_split, self._start)
        self._tallies: tuple[Accumulator, ...] = (*self._counters, *counters)
        self._units: dict[Labels, Units] = {}
        self._assignments: dict[Labels, Assignments] = {}
        self.restore(None)

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The descriptions of all counters."""
        return tuple(tally.metric for tally in self._tallies)

    def begin_stage(self, head: Labels, ts: float, stage: str, percent: object, run: object) -> None:
        """Begin a stage, and with it perhaps a run; see `Assignments.begin`."""
        if self._assignments[head].begin(ts, stage, percent, run):
            for kind, units in self._units.items():
                if kind[:-1] == head:
                    units.begin_run()
        self._show(head)

    def judge(self, kind: Labels, event: Drawn, arm: str | None, opened_ts: object) -> Judged:
        """Return where an event counts.

        Args:
            kind: labels before the arm, and the kind of event: a unit counts once in each.
            event: what it says of its assignment.
            arm: None where it is of neither.
            opened_ts: Unix seconds of its assignment, by which a percent that it does not say is looked up.
        """
        stages = self._assignments[kind[:-1]]
        return self._judged(kind, stages.place(arm, event.percent, event.assignment, opened_ts), event)

    def judge_all(
        self, kind: Labels, events: Sequence[Drawn], arms: Sequence[str | None], times: Array
    ) -> Iterator[tuple[Judged, Array]]:
        """Yield where many events count, each assigned at its own time, and the numbers of those.

        Args:
            kind: as for one.
            events: what they say of their assignments.
            arms: of each; None where it is of neither.
            times: Unix seconds, shape (events,).
        """
        known = self._assignments[kind[:-1]]
        silent = all(
            [*map(said, events)].count(None) == len(events) for said in (_PERCENT, _ASSIGNMENT, _UNIT)
        )
        if silent:  # most often; one by one would take as long as everything else together
            for arm in dict.fromkeys(arms):
                alone = arms.count(arm) == len(arms)
                of_arm = np.arange(len(arms)) if alone else np.flatnonzero([other == arm for other in arms])
                for stage, numbers in known.by_stage(times[of_arm]):
                    yield self._judged(kind, known.place_in(arm, stage), events[0]), of_arm[numbers]
            return
        found: dict[Judged, list[int]] = {}
        for number, (event, arm) in enumerate(zip(events, arms, strict=True)):
            found.setdefault(self.judge(kind, event, arm, event.ts), []).append(number)
        for judged, same in found.items():
            yield judged, np.array(same)

    def take(
        self,
        into: ArmOutcomes | ArmCounter,
        head: Labels,
        judged: Judged,
        outcome: int | None,
        n: float = 1.0,
    ) -> None:
        """Count an outcome.

        Args:
            into: its counters.
            head: labels before the arm.
            judged: where.
            outcome: its number; None of a value that is none.
            n: how often.
        """
        placed = judged.placed
        if outcome is None and isinstance(placed, tuple):
            placed = LeftOut.ODD_FIELD
        self._account((*head, into.name), placed, n)
        if isinstance(placed, tuple) and outcome is not None:
            for counter in into.counters(judged.counts):
                counter.add(placed, outcome, n)

    def take_all(self, into: ArmCounter, head: Labels, judged: Judged, amounts: Array, n: int) -> None:
        """Count the outcomes of `n` events, by their number, shape (outcomes,)."""
        self._account((*head, into.name), judged.placed, n)
        if isinstance(judged.placed, tuple):
            for counter in into.counters(judged.counts):
                counter.add_all(judged.placed, amounts)

    def families(self, end: float) -> Iterator[Family]:
        """Yield all counters."""
        return (tally.family(end) for tally in self._tallies)

    def state(self) -> EvidenceState:
        """Return everything for a checkpoint."""
        return EvidenceState(
            {one.metric.name: msgspec.Raw(msgspec.json.encode(one.state())) for one in self._tallies},
            [(list(head), one.state()) for head, one in self._assignments.items()],
            [(list(kind), units.state()) for kind, units in self._units.items()],
        )

    def restore(self, state: EvidenceState | None) -> None:
        """Go on from a checkpoint; raises ValueError, and knows nothing then, where it is another's."""
        found = state or EvidenceState({}, [], [])
        restore(self._tallies, found.tallies)
        self._shown: set[Labels] = set()
        stages = {tuple(head): one for head, one in found.assignments}
        for head, percents in self._percents.items():
            self._assignments[head] = Assignments(percents, stages.get(head))
            self._show(head)
        self._units = {}
        for kind, units in found.units:
            if tuple(kind[:-1]) in self._percents:
                self._units_of(tuple(kind)).restore(units)

    def _judged(self, kind: Labels, placed: Placed, event: Drawn) -> Judged:
        if not isinstance(placed, Place):
            return Judged(placed, _NEVER)
        where = (*kind[:-1], *placed)
        if where not in self._shown:
            self._show(kind[:-1])
        if event.unit is None:
            return Judged(where, ALWAYS)
        if (unit := unit_of(event.unit)) is None:
            return Judged(LeftOut.ODD_FIELD, _NEVER)
        return Judged(where, self._units_of(kind).count(unit, event.ts))

    def _account(self, metric: Labels, placed: Labels | LeftOut, n: float) -> None:
        if placed is LeftOut.NOT_SPLIT:
            self._not_split.add(*metric, amount=n)
            return
        self._events.add(*metric, amount=n)
        if isinstance(placed, LeftOut):
            self._left_out.add(*metric, placed, amount=n)

    def _units_of(self, kind: Labels) -> Units:
        if kind not in self._units:
            self._units[kind] = Units()
        return self._units[kind]

    def _show(self, head: Labels) -> None:
        for place in self._assignments[head].places:
            self._shown.add((*head, *place))
            for counter in self._counters:
                if head in counter.heads:
                    counter.show((*head, *place))


class _Start:
    """When the counters began at zero."""

    def __init__(self, metric: Metric, heads: Iterable[Labels], clock: Callable[[], float]) -> None:
        self.metric = metric
        self._heads = tuple(heads)
        self._clock = clock
        self.restore(None)

    def family(self, end: float) -> Family:
        """Return it, for each rollout."""
        return Family(self.metric, dict.fromkeys(self._heads, self._since))

    def state(self) -> float:
        """Return it for a checkpoint."""
        return self._since

    def restore(self, state: msgspec.Raw | None) -> None:
        """Go on from a checkpoint; without one, they begin now."""
        self._since = msgspec.json.decode(state, type=float) if state else self._clock()
