"""What a model canary's events add up to, as it lies in memory and in a checkpoint."""

from __future__ import annotations

from itertools import product
from typing import TypeAlias

import msgspec

from rollguard.exporters.canary.events import HORIZONS_MS, ROUTES, SLOTS
from rollguard.exporters.canary.operations import OperationsState
from rollguard.exporters.measures.evidence import EvidenceState
from rollguard.exporters.measures.windows import WindowState
from rollguard.exporters.runtime.intake import IntakeState

VERSION = 1
"""Of the checkpoint's form; raise it when a field changes its meaning."""

_PER_ROUTE = ("closed", "won", "filled", "cancelled")
_PER_HORIZON = tuple(f"{name}_{horizon}" for horizon in HORIZONS_MS for name in ("markouts", "markout"))
_PER_SLOT = ("scores", "score", "score_squared")

Cell: TypeAlias = tuple[str, str]
CELLS: dict[Cell, int] = {
    cell: number
    for number, cell in enumerate(
        [*product(ROUTES, (*_PER_ROUTE, *_PER_HORIZON)), *product(SLOTS, _PER_SLOT)]
    )
}
"""Cell of the rolling window by (route or slot, quantity)."""

LAYOUT = "canary 1"


class Totals(msgspec.Struct):
    """Counters since the first line.

    Args:
        trades_opened: by route.
        trades_closed: by route.
        trades_won: by route.
        parity_failures: comparisons that did not agree.
        features_unknown: values of features that the reference does not have.
        executor_started: Unix seconds of the newest start; None before the first.
        warmup_events: events passed over as they came too soon after one.
    """

    trades_opened: dict[str, int] = {}
    trades_closed: dict[str, int] = {}
    trades_won: dict[str, int] = {}
    parity_failures: int = 0
    features_unknown: int = 0
    executor_started: float | None = None
    warmup_events: int = 0

    def __post_init__(self) -> None:
        for name in ("trades_opened", "trades_closed", "trades_won"):
            setattr(self, name, dict.fromkeys(ROUTES, 0) | getattr(self, name))


class Cohort(msgspec.Struct):
    """Trades that were opened since the stage began and are closed.

    Args:
        started: Unix seconds of the stage's start; None before the first, when every trade counts.
        closed: by route.
        won: by route.
    """

    started: float | None = None
    closed: dict[str, int] = {}
    won: dict[str, int] = {}

    def __post_init__(self) -> None:
        self.closed = dict.fromkeys(ROUTES, 0) | self.closed
        self.won = dict.fromkeys(ROUTES, 0) | self.won

    def has(self, moment: float) -> bool:
        """Return whether what happened at `moment` (Unix seconds) belongs to it."""
        return self.started is None or moment >= self.started


class CanaryState(msgspec.Struct):
    """Everything that a checkpoint of the exporter holds.

    Args:
        intake: events and rejections.
        totals: counters.
        cohort: of the present stage.
        window: rolling sums, cells as in CELLS.
        drift: counts per bin of the served features; None without a reference.
        operations: what runs around the canary.
        arms: outcomes by arm.
    """

    intake: IntakeState
    totals: Totals
    cohort: Cohort
    window: WindowState
    drift: WindowState | None = None
    operations: OperationsState | None = None
    arms: EvidenceState | None = None
