"""Events of a model canary become counters, the stage's cohort, rolling windows and drift."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

import msgspec
import numpy as np

from exporters import canary_metrics
from exporters.canary_events import (
    SLOTS,
    Event,
    Markout,
    Order,
    Parity,
    Score,
    Stage,
    TradeClosed,
    TradeOpened,
)
from exporters.canary_state import CELLS, LAYOUT, VERSION, CanaryState, Cohort, Totals
from exporters.drift import DriftWindow, Row
from exporters.exposition import Family
from exporters.follower import Input
from exporters.intake import Intake
from exporters.reference import Reference
from exporters.sources.interface import Block, Source
from exporters.windows import RollingSums

logger = logging.getLogger(__name__)


class CanaryMeasures:
    """Takes lines in and yields metrics; see `exporters.follower.Exporter`.

    Args:
        source: of the events.
        window_seconds: of the rolling windows, in event time.
        reference: of the served features; None for no drift.
        min_sample: values of a feature below which its drift is not shown.
        clock: Unix seconds.
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
    ) -> None:
        self._source = source
        self._intake: Intake[Event] = Intake(Event, window_seconds, clock)
        self._totals = Totals()
        self._cohort = Cohort()
        self._window = RollingSums(window_seconds, len(CELLS), LAYOUT)
        self._drift = DriftWindow(reference, window_seconds, min_sample) if reference else None
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
        for event, late in self._intake.take(block):
            self._pending.late = late
            match event:
                case Score():
                    self._score(event)
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
        self._flush()

    def families(self, end: float) -> Iterator[Family]:
        """Yield fresh metrics, windows ending at `end` (Unix seconds)."""
        sums = self._window.sums(end).tolist()
        yield from canary_metrics.totals(self._totals)
        yield from canary_metrics.rolling({cell: sums[number] for cell, number in CELLS.items()})
        yield from canary_metrics.cohort(self._cohort)
        sample = self._drift.sample(end) if self._drift else 0
        yield from canary_metrics.drift(sample, self._drift.measure(end) if self._drift else ())
        yield from self._intake.families()

    def save(self) -> bytes:
        """Return everything that is known, as JSON."""
        drift = self._drift.state() if self._drift else None
        state = CanaryState(self._intake.state, self._totals, self._cohort, self._window.state(), drift)
        return msgspec.json.encode(state)

    def restore(self, state: bytes) -> None:
        """Go on from what `save` returned; a window of another length, or another reference, starts empty.

        Raises:
            ValueError: it is something else; nothing is changed.
        """
        found = msgspec.json.decode(state, type=CanaryState)
        self._intake.restore(found.intake)
        self._totals, self._cohort = found.totals, found.cohort
        if not self._window.restore(found.window):
            logger.warning("the checkpoint's windows are of another length; the windows start empty")
        if self._drift and found.drift and not self._drift.restore(found.drift):
            logger.warning("the checkpoint's drift is of another reference or length; it starts empty")

    def _score(self, event: Score) -> None:
        self._pending.add_score(event)
        if not event.features or event.slot != "active" or event.served == "active":
            return
        if self._drift is None:
            self._totals.features_unknown += len(event.features)
            return
        row, unknown = self._drift.row(event.features)
        self._totals.features_unknown += unknown
        if unknown < len(event.features) and self._cohort.has(event.ts):
            self._pending.add_row(event.ts, row)

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
        self._pending.clear_rows()
        if self._drift:
            self._drift.clear()

    def _flush(self) -> None:
        """Hand what a block brought to the windows, in arrays: numpy costs per call, not per event."""
        pending = self._pending
        self._window.add(
            np.array(pending.times), np.array(pending.cells, dtype=np.int64), np.array(pending.amounts)
        )
        for slot in SLOTS:
            times, scores = np.array(pending.scores[slot]).reshape(-1, 2).T
            for quantity, power in (("scores", 0), ("score", 1), ("score_squared", 2)):
                self._window.add(times, np.full(len(times), CELLS[slot, quantity]), scores**power)
        if self._drift:
            self._drift.add(pending.row_times, pending.rows)
        self._pending = _Pending()
        if self.newest is not None:
            self._window.forget(self.newest)
            if self._drift:
                self._drift.forget(self.newest)


class _Pending:
    """What the events of one block add to the windows; those that are late for them add nothing."""

    def __init__(self) -> None:
        self.late = False
        self.times: list[float] = []
        self.cells: list[int] = []
        self.amounts: list[float] = []
        self.scores: dict[str, list[tuple[float, float]]] = {slot: [] for slot in SLOTS}
        self.row_times: list[float] = []
        self.rows: list[Row] = []

    def add(self, ts: float, where: str, quantity: str, amount: float = 1.0) -> None:
        if not self.late:
            self.times.append(ts)
            self.cells.append(CELLS[where, quantity])
            self.amounts.append(amount)

    def add_score(self, event: Score) -> None:
        if not self.late:
            self.scores[event.slot].append((event.ts, event.score))

    def add_row(self, ts: float, row: Row) -> None:
        if not self.late:
            self.row_times.append(ts)
            self.rows.append(row)

    def clear_rows(self) -> None:
        self.row_times.clear()
        self.rows.clear()
