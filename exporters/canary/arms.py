"""What a model canary's events say of its two arms: trades, markouts and served features."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from rollguard.exporters.canary.events import HORIZONS_MS, Markout, Stage, TradeClosed, TradeOpened
from rollguard.exporters.exposition.families import Family
from rollguard.exporters.measures.arm_counters import (
    LOST,
    SYMMETRIC,
    WON,
    ArmCounter,
    ArmOutcomes,
    Binned,
    bins,
)
from rollguard.exporters.measures.assignments import BASELINE, CANARY, number_of
from rollguard.exporters.measures.distances import Array
from rollguard.exporters.measures.evidence import Evidence, EvidenceState, Judged
from rollguard.exporters.measures.reference import Reference
from rollguard.metric import Metric

logger = logging.getLogger(__name__)

EDGES: Mapping[str, tuple[float, ...]] = {
    "pnl": SYMMETRIC,
    "markout": SYMMETRIC,
    "slippage": SYMMETRIC,
    "squared_error": (0.01, 0.02, 0.05, 0.1, 0.2, 0.5),
}
"""Edges of the bins where none are declared."""

MAX_FEATURES = 20
"""Features that are counted by arm, the first ones of the reference."""

ARM_OF_ROUTE = {"canary": CANARY, "full": CANARY, "paper": BASELINE}
ARM_OF_SERVED: Mapping[str | None, str] = {"candidate": CANARY, "active": BASELINE}


class Arms:
    """Takes events in and yields the counters by arm; the canary's exporter holds it.

    Args:
        percents: of the stages by name, where the rollout file says them.
        edges: of the bins by quantity; EDGES where one is absent.
        reference: of the served features; None for none.
        clock: Unix seconds.
    """

    def __init__(
        self,
        percents: Mapping[str, float],
        edges: Mapping[str, Sequence[float]],
        reference: Reference | None,
        clock: Callable[[], float],
    ) -> None:
        edges = {**EDGES, **edges}
        self._opened = ArmCounter("trades_assigned_total", "Trades opened; a unit once a run.")
        self._scored = ArmCounter("scores_assigned_total", "Signals scored; a unit once a run.")
        self._trades = ArmOutcomes("trade", "Trades closed", [(WON,), (LOST,)])
        self._pnl = Binned("trade_pnl", "Trades closed, by bin of the PnL", edges["pnl"])
        self._slippage = Binned("trade_slippage", "Trades closed, by bin of the slippage", edges["slippage"])
        self._errors = Binned(
            "trade_squared_error", "Trades closed, by bin of (score - won)²", edges["squared_error"]
        )
        self._markouts = {
            horizon: Binned(f"markout_{horizon}ms", "Fills, by bin of their markout", edges["markout"])
            for horizon in HORIZONS_MS
        }
        deciles = _deciles(reference)
        if reference and len(reference.features) > MAX_FEATURES:
            logger.warning("of %d features, %d are counted by arm", len(reference.features), MAX_FEATURES)
        self._features_size = len(deciles)
        about = "Scored rows, by the reference's bin; a unit once a run."
        meaning = reference.digest() if reference else ""
        self._features = ArmCounter(
            "feature_outcomes_total", about, deciles, ("feature", "outcome"), meaning=meaning
        )
        trades = (self._trades, self._pnl, self._slippage, self._errors)
        outcomes: tuple[ArmOutcomes, ...] = (*trades, *self._markouts.values())
        self._evidence = Evidence(
            (self._opened, self._scored, *outcomes, self._features), {(): percents}, clock=clock
        )

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The descriptions of all counters."""
        return self._evidence.metrics

    def take(self, event: Any) -> None:
        """Let an event move what it moves."""
        match event:
            case TradeOpened():
                judged = self._judge("trade_opened", event, event.ts)
                self._evidence.take(self._opened, (), judged, 0)
            case TradeClosed():
                self._trade_closed(event)
            case Markout():
                kind = f"markout_{event.horizon_ms}"
                judged = self._judge(kind, event, event.opened_ts)
                self._take_binned(self._markouts[event.horizon_ms], judged, event.value)
            case Stage():
                self._evidence.begin_stage((), event.ts, event.stage, event.percent, event.run)

    def judge_scores(
        self, scores: Sequence[Any], served: Iterable[str | None], times: Array
    ) -> Iterator[tuple[Judged, Array]]:
        """Count the assignment of scored rows, and yield where their features count, with the rows' numbers.

        Args:
            scores: of slot active.
            served: which variant served each; None where it does not say.
            times: Unix seconds, shape (rows,).
        """
        arms = [*map(ARM_OF_SERVED.get, served)]
        for judged, rows in self._evidence.judge_all(("score",), scores, arms, times):
            self._evidence.take(self._scored, (), judged, 0, len(rows))
            yield judged, rows

    def take_features(self, judged: Judged, counts: Array, rows: int) -> None:
        """Count the features of some rows: values per bin, feature after feature, as in the reference."""
        self._evidence.take_all(self._features, (), judged, counts[: self._features_size], rows)

    def families(self, end: float) -> Iterator[Family]:
        """Yield fresh metrics."""
        return self._evidence.families(end)

    def state(self) -> EvidenceState:
        """Return everything for a checkpoint."""
        return self._evidence.state()

    def restore(self, state: EvidenceState | None) -> None:
        """Go on from a checkpoint; raises ValueError, and knows nothing then, where it is another's."""
        self._evidence.restore(state)

    def _trade_closed(self, event: TradeClosed) -> None:
        judged = self._judge("trade_closed", event, event.opened_ts)
        self._evidence.take(self._trades, (), judged, 0 if event.won else 1)
        if event.pnl is not None:
            self._take_binned(self._pnl, judged, event.pnl)
        if event.slippage is not None:
            self._take_binned(self._slippage, judged, event.slippage)
        if event.score is not None:
            self._take_binned(self._errors, judged, (event.score - event.won) ** 2)

    def _judge(self, kind: str, event: TradeOpened | TradeClosed | Markout, opened_ts: object) -> Judged:
        return self._evidence.judge((kind,), event, ARM_OF_ROUTE[event.route], opened_ts)

    def _take_binned(self, into: Binned, judged: Judged, value: object) -> None:
        number = number_of(value)
        self._evidence.take(into, (), judged, None if number is None else into.bin(number))


def _deciles(reference: Reference | None) -> list[tuple[str, str]]:
    """The features and the numbers of their bins, in the order of a row; a feature's last one is +Inf."""
    first = islice(reference.features.items(), MAX_FEATURES) if reference else ()
    return [(name, edge) for name, found in first for edge in bins(range(1, len(found.edges) + 1))]


ARM_METRICS = Arms({}, {}, None, float).metrics
"""What the exporter offers by arm."""
