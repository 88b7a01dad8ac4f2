"""What runs around a model canary: calibration, thresholds, throughput, registry, data health."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import msgspec
import numpy as np

from rollguard.exporters.canary.events import (
    Backpressure,
    ExchangeCheck,
    FailSafeRoute,
    FailSafeSwitch,
    Ladder,
    Model,
    ParquetScan,
    SchemaCheck,
    ShadowSignal,
    Thresholds,
    TradeClosed,
    TradeOpened,
    WarmupSkip,
)
from rollguard.exporters.exposition.families import Family, single
from rollguard.exporters.measures import calibration
from rollguard.exporters.measures.accumulators import Accumulator, Counter, restore
from rollguard.exporters.measures.windowed import AGGREGATES, Window
from rollguard.exporters.measures.windows import RollingSums, WindowState
from rollguard.metric import Metric

BRIER = Metric("brier_online", "gauge", "Brier score of the candidate's scores against outcomes.")


BRIER_BASELINE = Metric("brier_baseline_active", "gauge", "Brier score of the active model's scores.")


ECE = Metric(
    "ece_online",
    "gauge",
    "Expected calibration error of the candidate over ten bins, less its noise.",
    (),
    "ratio",
)


TAU_ENTRY = Metric("tau_entry_current", "gauge", "Threshold to enter, as in force.", ("model",), "ratio")


TAU_HOLD = Metric("tau_hold_current", "gauge", "Threshold to hold, as in force.", ("model",), "ratio")


TRADES_PER_HOUR = Metric("trades_per_hour", "gauge", "Trades opened per hour over the window.", (), "trades")


TRADES_PER_HOUR_BEFORE = Metric(
    "trades_per_hour_prev_release_p95", "gauge", "95th percentile of it in the release before.", (), "trades"
)


LADDER = Metric(
    "exec_ladder_aggressiveness_total", "counter", "Rungs of execution ladders placed.", ("bucket",)
)


SCHEMA_MISMATCHES = Metric(
    "parquet_schema_version_mismatch_total", "counter", "Parquet files of another schema than the model's."
)


ACTIVE_ID = Metric("model_active_id", "gauge", "1 for the model in slot active.", ("model",))


SHADOW_ID = Metric("model_shadow_id", "gauge", "1 for the model in slot shadow.", ("model",))


SHADOW_EVALUATED = Metric(
    "shadow_signals_evaluated_total", "counter", "Signals that the shadow model scored."
)


SHADOW_APPROVED = Metric(
    "shadow_signals_approved_total", "counter", "Signals that the shadow model would have approved."
)


WARMUP_SKIPS = Metric("warmup_skip_total", "counter", "Ladders not placed while warming up.", ("symbol",))


BACKPRESSURE = Metric("backpressure_total", "counter", "Candidates skipped for a backlog.", ("symbol",))


FAIL_SAFE_SWITCHES = Metric("fail_safe_switch_total", "counter", "Switches to paper.", ("reason",))


FAIL_SAFE_ROUTES = Metric("fail_safe_route_total", "counter", "Executions sent to paper.", ("symbol",))


PARQUET_GAP = Metric(
    "parquet_gap_detected_ms",
    "gauge",
    "Widest gap that the last scan of the archive found.",
    (),
    "milliseconds",
)


EXCHANGE_MISMATCHES = Metric(
    "exchange_reference_mismatch_total", "counter", "Settings that differ from the exchange's reference."
)


OPERATIONS_METRICS = (
    *(BRIER, BRIER_BASELINE, ECE, TAU_ENTRY, TAU_HOLD, TRADES_PER_HOUR, TRADES_PER_HOUR_BEFORE, LADDER),
    *(SCHEMA_MISMATCHES, ACTIVE_ID, SHADOW_ID, SHADOW_EVALUATED, SHADOW_APPROVED, WARMUP_SKIPS, BACKPRESSURE),
    *(FAIL_SAFE_SWITCHES, FAIL_SAFE_ROUTES, PARQUET_GAP, EXCHANGE_MISMATCHES),
)


OUTCOMES_SECONDS = 86400.0
"""Window of the Brier scores and the calibration error: half an hour holds too few trades for them."""

MIN_OUTCOMES = 2500
"""Closed trades with a score below which their Brier score is silent: 0.01 is 3 errors of a difference."""

MIN_CALIBRATED = 1000
"""The same of the expected calibration error: what is over its noise by 0.05 is no chance then."""

MIN_HOURS = 24
"""Hours of a release below which they have no 95th percentile."""

HOUR = 3600.0
BUCKETS = ("low", "medium", "high")
_KEPT_HOURS = 24 * 60
_KEPT_MINUTES = 62
_FOR_EVER = 400 * 86400.0
_ARMS = {"canary": "candidate", "full": "candidate", "paper": "active"}
_CELLS = {
    cell: number
    for number, cell in enumerate(
        product(("candidate", "active"), ("n", "score", "won", "squared"), range(calibration.BINS))
    )
}


class Throughput(msgspec.Struct):
    """Trades opened per hour of the present release, and what was usual in the one before.

    Args:
        model: in slot active; empty before it was named.
        hours: trades of the release by hour (Unix seconds / 3600).
        minutes: trades of the last hour by minute (Unix seconds / 60).
        before_p95: 95th percentile of the release before.
    """

    model: str = ""
    hours: dict[int, int] = {}
    minutes: dict[int, int] = {}
    before_p95: float | None = None

    def opened(self, ts: float) -> None:
        """Count a trade."""
        for counts, seconds, kept in ((self.hours, HOUR, _KEPT_HOURS), (self.minutes, 60.0, _KEPT_MINUTES)):
            span = int(ts // seconds)
            counts[span] = counts.get(span, 0) + 1
            if len(counts) > kept:
                del counts[min(counts)]

    def per_hour(self, end: float) -> int | None:
        """Return the trades of the hour that ends at `end` (Unix seconds); None for none."""
        last = int(end // 60)
        return sum(count for minute, count in self.minutes.items() if last - 60 < minute <= last) or None

    def release(self, model: str, ts: float, before_p95: float | None) -> None:
        """Begin a release, where the model is another one.

        Args:
            model: now in slot active.
            ts: Unix seconds.
            before_p95: what the producer says of the release before; None to take what was counted here.
        """
        if model == self.model:
            return
        hours = [count for hour, count in self.hours.items() if hour < int(ts // HOUR)]
        if before_p95 is not None:
            self.before_p95 = before_p95
        elif self.model and len(hours) >= MIN_HOURS:
            self.before_p95 = float(np.quantile(hours, 0.95))
        self.model, self.hours = model, {}


class OperationsState(msgspec.Struct):
    """Everything that a checkpoint holds of it.

    Args:
        tallies: by the metric's name.
        slots: model by slot.
        throughput: of the release.
        outcomes: rolling sums of scored trades.
    """

    tallies: dict[str, msgspec.Raw]
    slots: dict[str, str]
    throughput: Throughput
    outcomes: WindowState


class Operations:
    """Takes events in and yields metrics; the canary's exporter holds it."""

    def __init__(self) -> None:
        last = AGGREGATES["last"]
        self._ladder = Counter(LADDER, product(BUCKETS))
        self._counters = {
            kind: Counter(metric)
            for kind, metric in (
                (WarmupSkip, WARMUP_SKIPS),
                (Backpressure, BACKPRESSURE),
                (FailSafeRoute, FAIL_SAFE_ROUTES),
                (FailSafeSwitch, FAIL_SAFE_SWITCHES),
            )
        }
        self._schema = Counter(SCHEMA_MISMATCHES)
        self._exchange = Counter(EXCHANGE_MISMATCHES)
        self._evaluated = Counter(SHADOW_EVALUATED)
        self._approved = Counter(SHADOW_APPROVED)
        self._entry = Window(TAU_ENTRY, last, _FOR_EVER)
        self._hold = Window(TAU_HOLD, last, _FOR_EVER)
        self._gap = Window(PARQUET_GAP, last, _FOR_EVER)
        counters = (self._ladder, *self._counters.values(), self._schema, self._exchange)
        self._tallies: tuple[Accumulator, ...] = (
            *(*counters, self._evaluated, self._approved),
            *(self._entry, self._hold, self._gap),
        )
        self._slots: dict[str, str] = {}
        self._throughput = Throughput()
        self._outcomes = RollingSums(OUTCOMES_SECONDS, len(_CELLS), "canary outcomes 1")
        self._pending: list[tuple[float, list[int], list[float]]] = []

    def take(self, event: Any, late: bool) -> None:
        """Let an event move what it moves.

        Args:
            event: of any kind.
            late: whether no window can hold it.
        """
        match event:
            case TradeOpened():
                self._throughput.opened(event.ts)
            case TradeClosed(score=float(score)) if not late:
                self._outcome(event.ts, _ARMS[event.route], score, event.won)
            case Ladder():
                self._ladder.add(event.bucket)
            case WarmupSkip() | Backpressure() | FailSafeRoute():
                self._counters[type(event)].add(event.symbol)
            case FailSafeSwitch():
                self._counters[FailSafeSwitch].add(event.reason)
            case SchemaCheck():
                self._schema.add(amount=not event.ok)
            case ExchangeCheck():
                self._exchange.add(amount=event.mismatches)
            case ShadowSignal():
                self._evaluated.add()
                self._approved.add(amount=event.approved)
            case ParquetScan():
                self._gap.observe(ts=event.ts, value=event.gap_ms)
            case Thresholds():
                self._entry.observe(event.model, ts=event.ts, value=event.tau_entry)
                self._hold.observe(event.model, ts=event.ts, value=event.tau_hold)
            case Model():
                self._slots[event.slot] = event.id
                if event.slot == "active":
                    self._throughput.release(event.id, event.ts, event.trades_per_hour_p95)

    def forget(self, newest: float) -> None:
        """Drop what no window can hold any more; `newest` is the newest event's Unix seconds."""
        self._flush()
        self._outcomes.forget(newest)

    def families(self, end: float) -> Iterator[Family]:
        """Yield fresh metrics, windows ending at `end` (Unix seconds)."""
        self._flush()
        for tally in self._tallies:
            yield tally.family(end)
        for slot, metric in (("active", ACTIVE_ID), ("shadow", SHADOW_ID)):
            yield Family(metric, {(self._slots[slot],): 1.0} if slot in self._slots else {})
        yield single(TRADES_PER_HOUR, self._throughput.per_hour(end))
        yield single(TRADES_PER_HOUR_BEFORE, self._throughput.before_p95)
        yield from self._calibration(self._outcomes.sums(end).reshape(2, 4, calibration.BINS))

    def state(self) -> OperationsState:
        """Return everything for a checkpoint."""
        self._flush()
        tallies = {one.metric.name: msgspec.Raw(msgspec.json.encode(one.state())) for one in self._tallies}
        return OperationsState(tallies, self._slots, self._throughput, self._outcomes.state())

    def restore(self, state: OperationsState | None) -> None:
        """Go on from a checkpoint; raises ValueError, and knows nothing then, where it is another's."""
        if state is None:
            return
        restore(self._tallies, state.tallies)
        self._slots, self._throughput = state.slots, state.throughput
        self._outcomes.restore(state.outcomes)

    def _outcome(self, ts: float, arm: str, score: float, won: bool) -> None:
        place = calibration.calibration_bin(score)
        amounts = {"n": 1.0, "score": score, "won": float(won), "squared": (score - won) ** 2}
        self._pending.append((ts, [_CELLS[arm, what, place] for what in amounts], [*amounts.values()]))

    def _flush(self) -> None:
        """Add the outcomes that are pending: numpy costs per call, not per outcome."""
        if self._pending:
            times, cells, amounts = zip(*self._pending, strict=True)
            self._outcomes.add(np.array(times), np.array(cells), np.array(amounts))
            self._pending.clear()

    def _calibration(self, sums: Any) -> Iterator[Family]:
        for (counts, _, _, squared), metric in zip(sums, (BRIER, BRIER_BASELINE), strict=True):
            enough = counts.sum() >= MIN_OUTCOMES
            yield single(metric, calibration.brier_score(counts, squared) if enough else None)
        counts, scores, won, _ = sums[0]
        error = None
        if counts.sum() >= MIN_CALIBRATED:
            noise = calibration.calibration_noise(counts, scores)
            error = max(0.0, calibration.expected_calibration_error(counts, scores, won) - noise)
        yield single(ECE, error)
