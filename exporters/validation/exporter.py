"""The exporter of a validation of signals: decisions and executions become counters and histograms."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import product

import msgspec

from rollguard.exporters.exposition.families import Family, single
from rollguard.exporters.measures.accumulators import Counter, Distribution
from rollguard.exporters.measures.arm_counters import ERROR, OK
from rollguard.exporters.measures.windows import MAX_FUTURE_SECONDS
from rollguard.exporters.runtime.event_exporter import EventExporter
from rollguard.exporters.runtime.intake import Intake
from rollguard.exporters.sources.interface import Block, Source
from rollguard.exporters.validation import metrics
from rollguard.exporters.validation.events import (
    CHECKS,
    OUTCOMES,
    RESULTS,
    BrokerCall,
    DatabaseCall,
    Decision,
    Event,
    Execution,
    ProcessingError,
    Review,
)

LISTEN = "127.0.0.1:9843"

SIGNALS = ("BASE_ENTRY", "PYRAMID", "EXIT")
STRATEGIES = ("simple_limit", "progressive")
STALE_SECONDS = 60.0
EXTREME_INCREASE = 0.5
BROKER_WINDOW_SECONDS = 300.0
_SPAN_SECONDS = 5.0

_RATIOS = (0.001, 0.0025, 0.005, 0.0075, 0.01, 0.0125, 0.015, 0.02, 0.025, 0.03, 0.05, 0.1, 0.2)
_AGES = (1, 2, 5, 10, 20, 30, 45, 60, 90, 120, 300, 600)
_LATENCIES = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.75, 1, 2, 5, 10, 30)
_EXECUTIONS = (0.1, 0.25, 0.5, 1, 2, 5, 10, 20, 30, 45, 60, 120, 300)


class Validation(EventExporter[Event]):
    """Takes decisions and executions in and yields metrics.

    Args:
        source: of the events.
        clock: Unix seconds.
    """

    name = "validation"
    title = "validation of signals"

    def __init__(self, source: Source[Block], clock: Callable[[], float] = time.time) -> None:
        self._signals = Counter(metrics.SIGNALS, ((*head, "") for head in product(SIGNALS, CHECKS, OUTCOMES)))
        self._stale_passed = Counter(metrics.STALE_PASSED)
        self._false_positives = Counter(metrics.FALSE_POSITIVES, product(CHECKS))
        self._reviews = Counter(metrics.REVIEWS, product(CHECKS, (OK, ERROR)))
        self._broker_calls = Counter(metrics.BROKER_CALLS, product((OK, ERROR)))
        self._executions = Counter(metrics.EXECUTIONS, product(STRATEGIES, RESULTS))
        self._errors = Counter(metrics.PROCESSING_ERRORS)
        self._risk = Counter(metrics.RISK_EXTREME)
        self._divergence = Distribution(metrics.DIVERGENCE, _RATIOS, product(SIGNALS))
        self._age = Distribution(metrics.AGE, _AGES)
        self._slippage = Distribution(metrics.SLIPPAGE, (0, *_RATIOS))
        self._execution = Distribution(metrics.EXECUTION_DURATION, _EXECUTIONS)
        self._processing = Distribution(metrics.PROCESSING_DURATION, _LATENCIES)
        self._broker = Distribution(metrics.BROKER_DURATION, _LATENCIES)
        self._database = Distribution(metrics.DATABASE_DURATION, _LATENCIES)
        self._failures = LongestRun()
        intake: Intake[Event] = Intake(Event, BROKER_WINDOW_SECONDS, clock)
        counters = (self._signals, self._stale_passed, self._false_positives, self._executions, self._errors)
        histograms = (self._divergence, self._age, self._slippage, self._execution, self._processing)
        calls = (self._failures, self._broker_calls, self._broker, self._database, self._reviews)
        super().__init__(source, intake, (*counters, self._risk, *histograms, *calls))

    def take(self, event: Event, late: bool) -> None:
        """Let an event move what it moves."""
        match event:
            case Decision():
                self._decision(event)
            case Execution():
                self._executions.add(event.strategy, event.result)
                if event.slippage is not None:
                    self._slippage.observe(value=max(0.0, event.slippage))
                _observe(self._execution, event.duration_seconds)
            case BrokerCall():
                _observe(self._broker, event.duration_seconds)
                self._failures.add(event.ts, failed=not event.ok)
                self._broker_calls.add(OK if event.ok else ERROR)
            case DatabaseCall():
                self._database.observe(value=event.duration_seconds)
            case Review():
                self._false_positives.add(event.check, amount=event.false_positive)
                self._reviews.add(event.check, ERROR if event.false_positive else OK)
            case ProcessingError():
                self._errors.add()

    def _decision(self, event: Decision) -> None:
        self._signals.add(event.signal, event.check, event.result, event.reason)
        if event.divergence is not None:
            self._divergence.observe(event.signal, value=abs(event.divergence))
        _observe(self._age, event.age_seconds)
        _observe(self._processing, event.processing_seconds)
        stale = event.age_seconds is not None and event.age_seconds > STALE_SECONDS
        if stale and event.check == "condition" and event.result == "pass":
            self._stale_passed.add()
        if event.risk_increase is not None and event.risk_increase > EXTREME_INCREASE:
            self._risk.add()


class RunState(msgspec.Struct):
    """Runs of failures, as they lie in a checkpoint.

    Args:
        run: failures in a row up to now.
        newest: Unix seconds of the newest call.
        longest: longest run by span of time (its start / 5 s).
    """

    run: int = 0
    newest: float = 0.0
    longest: dict[int, int] = {}


class LongestRun:
    """The longest run of failed calls within the window; an accumulator (exporters/measures)."""

    metric = metrics.BROKER_FAILURES

    def __init__(self) -> None:
        self._state = RunState()

    def add(self, ts: float, *, failed: bool) -> None:
        """Take a call in, in the order of the lines."""
        state = self._state
        state.run = state.run + 1 if failed else 0
        state.newest = max(state.newest, ts)
        span = int(ts // _SPAN_SECONDS)
        state.longest[span] = max(state.longest.get(span, 0), state.run)
        oldest = (state.newest - BROKER_WINDOW_SECONDS - MAX_FUTURE_SECONDS) // _SPAN_SECONDS
        for gone in [span for span in state.longest if span < oldest]:
            del state.longest[gone]

    def family(self, end: float) -> Family:
        """Return the longest of the window that ends at `end`; nothing where no call was made in it."""
        first, last = (end - BROKER_WINDOW_SECONDS) // _SPAN_SECONDS, end // _SPAN_SECONDS
        runs = [run for span, run in self._state.longest.items() if first <= span <= last]
        return single(self.metric, max(runs, default=None))

    def state(self) -> RunState:
        """Return it for a checkpoint."""
        return self._state

    def restore(self, state: msgspec.Raw | None) -> None:
        """Go on from a checkpoint, or start afresh."""
        self._state = msgspec.json.decode(state, type=RunState) if state else RunState()


def _observe(distribution: Distribution, value: float | None) -> None:
    if value is not None:
        distribution.observe(value=value)
