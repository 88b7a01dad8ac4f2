"""Events of a model canary become counters, the stage's cohort, rolling windows and drift."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from operator import attrgetter
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from rollguard.exporters.canary import metrics
from rollguard.exporters.canary.arms import Arms
from rollguard.exporters.canary.events import (
    Event,
    ExecutorStart,
    Ladder,
    Markout,
    Order,
    Parity,
    Stage,
    TradeClosed,
    TradeOpened,
)
from rollguard.exporters.canary.operations import Operations
from rollguard.exporters.canary.rows import RowDecoder
from rollguard.exporters.canary.state import CELLS, LAYOUT, VERSION, CanaryState, Cohort, Totals
from rollguard.exporters.exposition.families import Family
from rollguard.exporters.measures.assignments import percents_of_stages
from rollguard.exporters.measures.distances import Array
from rollguard.exporters.measures.drift_windows import DriftWindow
from rollguard.exporters.measures.reference import Reference
from rollguard.exporters.measures.windows import RollingSums
from rollguard.exporters.runtime.follower import Input
from rollguard.exporters.runtime.intake import Intake
from rollguard.exporters.sources.events import events_source
from rollguard.exporters.sources.interface import Block, Source
from rollguard.spec.exporter import CanaryExporter
from rollguard.spec.rollout import Rollout

logger = logging.getLogger(__name__)


WARMUP_SECONDS = 90.0
"""After an executor's start, while the state of its books converges."""

_SCORE, _SLOT, _SERVED = map(attrgetter, ("score", "slot", "served"))
_BEGINNINGS = {Stage, ExecutorStart}
_JUDGED = {TradeOpened, TradeClosed, Order, Markout, Parity, Ladder}


class CanaryMeasures:
    """Takes lines in and yields metrics; see `rollguard.exporters.runtime.follower.Exporter`.

    Args:
        source: of the events.
        window_seconds: of the rolling windows, in event time.
        reference: of the served features; None for no drift.
        min_sample: values of a feature below which its drift is not shown.
        clock: Unix seconds.
        percents: of the stages by name, where the rollout file says them.
        edges: of the bins by arm, by quantity.
    """

    name = "canary"
    title = "model canary"
    version = VERSION

    def __init__(
        self,
        source: Source[Block],
        *,
        window_seconds: float,
        reference: Reference | None,
        min_sample: int,
        clock: Callable[[], float],
        percents: Mapping[str, float] | None = None,
        edges: Mapping[str, Sequence[float]] | None = None,
    ) -> None:
        self._source = source
        self._totals = Totals()
        self._cohort = Cohort()
        self._window = RollingSums(window_seconds, len(CELLS), LAYOUT)
        self._drift = DriftWindow(reference, window_seconds, min_sample) if reference else None
        self._operations = Operations()
        self._arms = Arms(percents or {}, edges or {}, reference, clock)
        self._decoder = RowDecoder(self._drift.names if self._drift else ())
        self._intake: Intake[Any] = Intake(Event, window_seconds, clock, self._decoder)
        self._pending = _Pending()

    @property
    def newest(self) -> float | None:
        """Unix seconds of the newest event; None before the first."""
        return self._intake.state.newest

    def inputs(self) -> tuple[Input[Block]]:
        """Return the one input: the events."""
        return (Input(self._source, self.feed),)

    def feed(self, block: Block) -> None:
        """Take some lines in."""
        batch = self._intake.take_all(block)
        begins: list[int] = []
        if not _BEGINNINGS.isdisjoint(map(type, batch.events)):
            begins = [number for number, event in enumerate(batch.events) if type(event) in _BEGINNINGS]
        for start, end in pairwise([0, *begins, len(batch.events)]):
            self._take(batch.events[start:end], batch.times[start:end], batch.late[start:end])
        if self.newest is not None:
            self._window.forget(self.newest)
            self._operations.forget(self.newest)
            if self._drift:
                self._drift.forget(self.newest)

    def families(self, end: float) -> Iterator[Family]:
        """Yield fresh metrics, windows ending at `end` (Unix seconds)."""
        sums = self._window.sums(end).tolist()
        yield from metrics.totals(self._totals)
        yield from metrics.rolling({cell: sums[number] for cell, number in CELLS.items()})
        yield from metrics.cohort(self._cohort)
        yield from self._operations.families(end)
        yield from self._arms.families(end)
        sample = self._drift.sample(end) if self._drift else 0
        yield from metrics.drift(sample, self._drift.measure(end) if self._drift else ())
        yield from self._intake.families()

    def save(self) -> bytes:
        """Return everything that is known, as JSON."""
        drift = self._drift.state() if self._drift else None
        known = (self._intake.state, self._totals, self._cohort, self._window.state(), drift)
        state = CanaryState(*known, self._operations.state(), self._arms.state())
        return msgspec.json.encode(state)

    def restore(self, state: bytes) -> None:
        """Go on from what `save` returned; a window of another length, or another reference, starts empty.

        Raises:
            ValueError: it is something else; nothing is changed.
        """
        found = msgspec.json.decode(state, type=CanaryState)
        self._arms.restore(found.arms)
        try:
            self._operations.restore(found.operations)
        except ValueError:
            self._arms.restore(None)
            raise
        self._intake.restore(found.intake)
        self._totals, self._cohort = found.totals, found.cohort
        if not self._window.restore(found.window):
            logger.warning("the checkpoint's windows are of another length; the windows start empty")
        if self._drift and found.drift and not self._drift.restore(found.drift):
            logger.warning("the checkpoint's drift is of another reference or length; it starts empty")

    def _take(self, events: list[Any], times: Array, late: Array) -> None:
        """Take events in of which only the first may begin something; scores, the most by far, in arrays."""
        kinds = self._decoder.score_kinds
        events, times, late = self._warmed_up(events, times, late)
        if kinds.issuperset(map(type, events)):
            if events:
                self._scores(events, times, late)
            return
        where = [number for number, event in enumerate(events) if type(event) in kinds]
        for event, is_late in zip(events, late.tolist(), strict=True):
            if type(event) not in kinds:
                self._pending.late = is_late
                self._one(event)
                self._operations.take(event, is_late)
                self._arms.take(event)
        self._pending.flush(self._window)
        if where:
            self._scores([events[number] for number in where], times[where], late[where])

    def _warmed_up(self, events: list[Any], times: Array, late: Array) -> tuple[list[Any], Array, Array]:
        """Leave out what was traded and scored while an executor warmed up."""
        if events and type(events[0]) is ExecutorStart:
            self._totals.executor_started = max(events[0].ts, self._totals.executor_started or 0.0)
        started = self._totals.executor_started
        if (
            started is None
            or not len(times)
            or times.max() < started
            or times.min() >= started + WARMUP_SECONDS
        ):
            return events, times, late
        judged = _JUDGED | self._decoder.score_kinds
        warm = (times >= started) & (times < started + WARMUP_SECONDS)
        warm &= np.fromiter((type(event) in judged for event in events), np.bool_, len(events))
        self._totals.warmup_events += int(np.count_nonzero(warm))
        kept = [event for event, is_warm in zip(events, warm.tolist(), strict=True) if not is_warm]
        return kept, times[~warm], late[~warm]

    def _one(self, event: Any) -> None:
        match event:
            case Order():
                self._pending.add(event.ts, event.route, event.status)
            case Markout():
                self._pending.add(event.ts, event.route, f"markouts_{event.horizon_ms}")
                self._pending.add(event.ts, event.route, f"markout_{event.horizon_ms}", event.value)
            case TradeOpened():
                self._totals.trades_opened[event.route] += 1
            case TradeClosed():
                self._trade_closed(event)
            case Parity():
                self._totals.parity_failures += not event.ok
            case Stage():
                self._stage(event)

    def _scores(self, scores: list[Any], times: Array, late: Array) -> None:
        """Add scores to the rolling window, and those of slot active to the drift and the arms."""
        timely = ~late
        values = np.fromiter(map(_SCORE, scores), np.float64, len(scores))[timely]
        slots, variants = [*map(_SLOT, scores)], [*map(_SERVED, scores)]
        shadow = slots.count("shadow")
        active = np.array([slot == "active" for slot in slots]) if shadow else np.ones(len(slots), np.bool_)
        first = np.where(active[timely], CELLS["active", "scores"], CELLS["shadow", "scores"])
        amounts = np.stack([np.ones(len(values)), values, values * values], axis=1)
        self._window.add(times[timely], first[:, np.newaxis] + np.arange(3), amounts)
        if shadow:
            rows = np.flatnonzero(active).tolist()
            scores, variants = [scores[row] for row in rows], [variants[row] for row in rows]
            times, timely = times[active], timely[active]
        if scores:
            self._served(scores, variants, times, timely)

    def _served(self, scores: list[Any], served: list[str | None], times: Array, timely: Array) -> None:
        """Take in what was served, by arm; as drift, too, where not the active model served it."""
        places = self._arms.judge_scores(scores, served, times)
        if self._drift is None:
            deque(places, 0)
            return
        values, unknown = self._decoder.rows(scores)
        self._totals.features_unknown += unknown
        filled: Array = np.logical_not(np.isnan(values).all(axis=1))
        cells = self._drift.cells(values)
        for judged, rows in places:
            counted = cells if len(rows) == len(cells) else cells[rows]
            self._arms.take_features(judged, self._drift.counts(counted), int(filled[rows].sum()))
        kept = timely & filled
        if "active" in served:
            kept &= [variant != "active" for variant in served]
        if self._cohort.started is not None:
            kept &= times >= self._cohort.started
        if not kept.all():
            times, values, cells = times[kept], values[kept], cells[kept]
        self._drift.add(times, values, cells)

    def _trade_closed(self, event: TradeClosed) -> None:
        route = event.route
        self._totals.trades_closed[route] += 1
        self._totals.trades_won[route] += event.won
        self._pending.add(event.ts, route, "closed")
        self._pending.add(event.ts, route, "won", event.won)
        if self._cohort.has(event.ts if event.opened_ts is None else event.opened_ts):
            self._cohort.closed[route] += 1
            self._cohort.won[route] += event.won

    def _stage(self, event: Stage) -> None:
        if not self._cohort.has(event.ts):
            return  # of a stage before this one, and come late
        self._cohort = Cohort(started=event.ts)
        if self._drift:
            self._drift.clear()


class _Pending:
    """What events that come singly add to the window: numpy costs per call, not per event."""

    def __init__(self) -> None:
        self.late = False
        """Whether the present event is late for the window, to which it adds nothing then."""
        self._times: list[float] = []
        self._cells: list[int] = []
        self._amounts: list[float] = []

    def add(self, ts: float, where: str, quantity: str, amount: float = 1.0) -> None:
        """Add an amount to what is pending.

        Args:
            ts: Unix seconds.
            where: route or slot.
            quantity: as in CELLS.
            amount: any number.
        """
        if not self.late:
            self._times.append(ts)
            self._cells.append(CELLS[where, quantity])
            self._amounts.append(amount)

    def flush(self, window: RollingSums) -> None:
        """Hand it to the window."""
        window.add(
            np.array(self._times),
            np.array(self._cells, dtype=np.int64),
            np.array(self._amounts, dtype=np.float64),
        )
        for pending in (self._times, self._cells, self._amounts):
            pending.clear()


LISTEN = "127.0.0.1:9841"


def canary(
    events: str,
    *,
    reference: Path | None = None,
    window_seconds: float = 1800.0,
    min_sample: int = 300,
    rollout: Rollout | None = None,
    clock: Callable[[], float] = time.time,
) -> CanaryMeasures:
    """Return the exporter of a model canary.

    Args:
        events: a path or a pattern of JSON lines, or the address of a Redis stream.
        reference: the saved reference of the served features; None for no drift.
        window_seconds: length of the rolling windows, in event time.
        min_sample: values of a feature below which its drift is not shown.
        rollout: which knows the percents of its stages, and the bins by arm.
        clock: Unix seconds.
    Raises:
        ReferenceError: the reference cannot be read.
        StreamError: an address names no stream.
    """
    options = rollout.scrape.exporter.options if rollout and rollout.scrape.exporter else None
    edges = dict(options.bins) if isinstance(options, CanaryExporter) else {}
    return CanaryMeasures(
        events_source(events),
        window_seconds=window_seconds,
        reference=Reference.load(reference) if reference else None,
        min_sample=min_sample,
        clock=clock,
        percents=percents_of_stages(rollout) if rollout else {},
        edges={name: found for name, found in edges.items() if found},
    )
