"""The control plane's own metrics, made for every scrape from the states that the flags show."""

from __future__ import annotations

import threading
from collections import Counter as Count
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from rollguard.control import drill
from rollguard.control.decisions import Listener
from rollguard.control.evidence import said
from rollguard.control.plane import ControlPlane
from rollguard.conventions import ROLLOUT_LABEL, STATES_WITHOUT_STAGE
from rollguard.flags.definitions import percent_of
from rollguard.metric import Metric as Offered
from rollguard.monitoring.alerts import GuardAlert
from rollguard.server import metric_names
from rollguard.spec.guards import all_guards
from rollguard.spec.rollout import Rollout
from rollguard.state import CASCADE, CLOCK, GUARD, MOVES, Entry, State
from rollguard.targets.applier import TargetStatus
from rollguard.workers.ledger_probe import LedgerProbe

REJECTED = ("unauthorized", "too_large", "timeout", "syntax", "shape", "version", "storage")
FLAG_STATES = ("DISABLED", "ROLLING_OUT", "ENABLED", "ROLLBACK")
DECISIONS = (*MOVES, "hold", "release", "overdue", "extend", "would_rollback")
"""Kinds of entries that decide upon a rollout; the others are marks of people, and drills."""

LONGEST_EVIDENCE = 300
"""Letters of it in a label; `rollguard history` has all of them."""

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


disable_created_metrics()  # type: ignore[no-untyped-call]


@dataclass
class _Flip:
    """How far the targets of a rollout are with the last state that it came to.

    Args:
        seq: the state's entry.
        received_at: when its notification came, monotonic seconds; None where there was none.
        applied: the targets that were read back.
    """

    seq: int
    received_at: float | None = None
    applied: set[str] = field(default_factory=set)


class Metrics(Listener):
    """Counts what happens, and shows the state of every rollout; a scrape waits for no database.

    Args:
        control: the control plane whose state is shown.
        target_statuses: returns the status of every target.
        probe: of its ledger.
    """

    def __init__(
        self,
        control: ControlPlane,
        target_statuses: Callable[[], Iterable[TargetStatus]],
        probe: LedgerProbe,
    ) -> None:
        self._control = control
        self._statuses = target_statuses
        self._probe = probe
        self._flips: dict[str, _Flip] = {}
        self._lock = threading.Lock()
        self._counted = 0
        self._switches: Count[str] = Count()
        self._rollbacks: Count[tuple[str, str]] = Count()
        self._decisions: dict[str, Entry] = {}
        self.registry = CollectorRegistry()
        self.notifications = self._counter(metric_names.NOTIFICATIONS)
        self.rejected = self._counter(metric_names.REJECTED)
        self.refused = self._counter(metric_names.REFUSED)
        self.broken = self._counter(metric_names.BROKEN)
        self.unknown_alerts = self._counter(metric_names.UNKNOWN)
        self.polls = self._counter(metric_names.POLLS)
        self.notices = self._counter(metric_names.NOTICES)
        self.decision_seconds = self._histogram(metric_names.DECISION_SECONDS)
        self.flip_seconds = self._histogram(metric_names.FLIP_SECONDS)
        self.last_poll = self._gauge(metric_names.LAST_POLL)
        self.watches = self._counter(metric_names.WATCHES)
        self.last_watch = self._gauge(metric_names.LAST_WATCH)
        self.last_heartbeat = self._gauge(metric_names.LAST_HEARTBEAT)
        for reason in REJECTED:
            self.rejected.labels(reason)
        for code in ("401", "403"):
            self.refused.labels(code)
        for result in ("success", "failure"):
            self.polls.labels(result)
            self.notices.labels(result)
            self.watches.labels(result)
        self.registry.register(self)
        self._count(control.ledger.entries())

    def decided(self, entries: Sequence[Entry], received_at: float | None) -> None:
        """Count committed entries."""
        self._count(entries)
        if entries and received_at is not None:
            self.decision_seconds.observe(self._control.clock.monotonic() - received_at)
        for entry in entries:
            if entry.kind in MOVES:
                self._flipping(entry.rollout, entry.seq, received_at=received_at)

    def applied(self, rollout: str, target: str, state: State, _at: float) -> None:
        """Measure a flip, when the last of its targets was read back."""
        self._flipping(rollout, state.seq, target=target)

    def unknown(self, alert: GuardAlert) -> None:
        """Count an alert of no loaded rollout."""
        self.unknown_alerts.inc()

    def heartbeat(self) -> None:
        """Note when the alert that always fires last came."""
        self.last_heartbeat.set(self._control.clock.wall())

    def polled(self, succeeded: bool) -> None:
        """Count a poll of Alertmanager."""
        self.polls.labels("success" if succeeded else "failure").inc()
        if succeeded:
            self.last_poll.set(self._control.clock.wall())

    def posted(self, count: int, succeeded: bool) -> None:
        """Count notices to people."""
        self.notices.labels("success" if succeeded else "failure").inc(count)

    def watched(self, succeeded: bool) -> None:
        """Count a look at Prometheus."""
        self.watches.labels("success" if succeeded else "failure").inc()
        if succeeded:
            self.last_watch.set(self._control.clock.wall())

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics that are read from state rather than counted."""
        yield from self._ledger_metrics()
        yield from self._rollout_metrics()
        yield from self._target_metrics()

    def describe(self) -> list[Metric]:
        """Say nothing of names, so that registering does not read the ledger."""
        return []

    def _counter(self, offered: Offered) -> Counter:
        return Counter(offered.name, offered.help, offered.labels, registry=self.registry)

    def _gauge(self, offered: Offered) -> Gauge:
        return Gauge(offered.name, offered.help, offered.labels, registry=self.registry)

    def _histogram(self, offered: Offered) -> Histogram:
        return Histogram(offered.name, offered.help, offered.labels, registry=self.registry, buckets=_BUCKETS)

    def _count(self, entries: Iterable[Entry]) -> None:
        with self._lock:
            for entry in entries:
                if entry.seq <= self._counted:
                    continue
                self._counted = entry.seq
                if entry.kind in MOVES:
                    self._switches[entry.rollout] += 1
                if entry.kind in ("rollback", "step_back"):
                    self._rollbacks[entry.rollout, _cause(entry)] += 1
                if entry.kind in DECISIONS:
                    self._decisions[entry.rollout] = entry

    def _flipping(
        self, rollout: str, seq: int, *, received_at: float | None = None, target: str | None = None
    ) -> None:
        """Note a step of a flip, and measure it with its last; what is of an older state does not count.

        A target may be quicker than the news of the entry that it follows.
        """
        with self._lock:
            flip = self._flips.get(rollout)
            if flip is None or flip.seq < seq:
                flip = self._flips[rollout] = _Flip(seq)
            if flip.seq > seq:
                return
            flip.received_at = received_at or flip.received_at
            if target is not None:
                flip.applied.add(target)
            began = flip.received_at
            if not flip.applied or len(flip.applied) < len(self._control.rollouts[rollout].targets):
                return
            flip.received_at = None
        if began is not None:
            self.flip_seconds.observe(self._control.clock.monotonic() - began)

    def _ledger_metrics(self) -> Iterator[Metric]:
        found = self._probe.last()
        values = {
            metric_names.LEDGER_READABLE: not found.problem,
            metric_names.LEDGER_WRITABLE: found.writable,
            metric_names.LEDGER_PROBED: found.at,
            metric_names.LEDGER_ENTRIES: found.seq,
        }
        for offered, value in values.items():
            family = _family(offered)
            family.add_metric([], float(value))
            yield family
        last = _family(metric_names.LEDGER_HEAD)
        last.add_metric([found.digest], 1)
        yield last

    def _rollout_metrics(self) -> Iterator[Metric]:
        states = self._control.shown()
        pairs = [(rollout, states.get(name, State(name))) for name, rollout in self._control.rollouts.items()]
        yield _state_set(
            metric_names.STAGE,
            [(rollout.name, state.position, _positions(rollout)) for rollout, state in pairs],
        )
        yield _state_set(
            metric_names.FLAG_STATE, [(rollout.name, state.status, FLAG_STATES) for rollout, state in pairs]
        )
        entered, percent = _of_rollouts(metric_names.STAGE_ENTERED), _of_rollouts(metric_names.PERCENT)
        drilled, run = _of_rollouts(metric_names.DRILLED), _of_rollouts(metric_names.RUN)
        for rollout, state in pairs:
            if state.running:
                run.add_metric([rollout.name], state.run)
            if state.seq:
                entered.add_metric([rollout.name], state.entered_at)
            if state.drilled_at is not None:
                drilled.add_metric([rollout.name], state.drilled_at)
            if rollout.name not in self._control.undefined:
                percent.add_metric([rollout.name], percent_of(rollout, state))
        yield from (entered, run, percent, drilled, self._clocks())
        yield from self._conditions(pairs)
        yield from self._counts()

    def _clocks(self) -> Metric:
        """Return which clocks run: of each rollout that has one, and of its guards with one of their own."""
        family = _of_rollouts(metric_names.OPEN)
        for name, rollout in self._control.rollouts.items():
            clocks = {"": rollout.clock, **{guard.name: guard.clock for guard in rollout.guards}}
            for guard, clock in clocks.items():
                if clock:
                    family.add_metric([name, guard], float(self._control.is_open(clock)))
        return family

    def _conditions(self, pairs: Sequence[tuple[Rollout, State]]) -> Iterator[Metric]:
        """Yield what is there beside stage and state."""
        values: dict[Offered, Callable[[Rollout, State], float]] = {
            metric_names.BLIND: lambda rollout, _: self._control.blind(rollout.name) is True,
            metric_names.HELD: lambda _, state: len(state.held),
            metric_names.HOLD_LEFT: self._control.hold_left,
            metric_names.OVERDUE: lambda _, state: state.overdue,
            metric_names.WITHOUT_FILE: lambda rollout, state: (
                state.running and rollout.name in self._control.file_problems
            ),
            metric_names.PAUSED: lambda _, state: bool(state.paused_by),
            metric_names.UNACKNOWLEDGED: lambda _, state: not state.acknowledged,
            metric_names.DRILL: lambda _, state: drill.under_way(state, self._control.clock.wall()),
        }
        held = _of_rollouts(metric_names.GUARD_HELD)
        for rollout, state in pairs:
            for guard in sorted(state.held):
                held.add_metric([rollout.name, guard], 1)
        yield held
        for offered, value in values.items():
            family = _of_rollouts(offered)
            for rollout, state in pairs:
                family.add_metric([rollout.name], float(value(rollout, state)))
            yield family

    def _counts(self) -> Iterator[Metric]:
        switches, rollbacks = _of_rollouts(metric_names.SWITCHES), _of_rollouts(metric_names.ROLLBACKS)
        decisions = _of_rollouts(metric_names.DECISION)
        with self._lock:
            for name, rollout in self._control.rollouts.items():
                if last := self._decisions.get(name):
                    decisions.add_metric([name, *_told(last)], last.at)
                switches.add_metric([name], self._switches[name])
                reasons = [guard.name for guard in all_guards(rollout) if guard.action == "rollback"]
                former = [reason for owner, reason in self._rollbacks if owner == name]
                for reason in dict.fromkeys([*reasons, "manual", *former]):
                    rollbacks.add_metric([name, reason], self._rollbacks[name, reason])
        yield from (switches, rollbacks, decisions)

    def _target_metrics(self) -> Iterator[Metric]:
        pending, since = _of_rollouts(metric_names.PENDING), _of_rollouts(metric_names.PENDING_SINCE)
        hanging = _of_rollouts(metric_names.HANGING)
        for status in self._statuses():
            pending.add_metric([status.rollout, status.target], int(not status.applied))
            hanging.add_metric([status.rollout, status.target], int(status.hangs))
            if status.pending_since is not None:
                since.add_metric([status.rollout, status.target], status.pending_since)
        yield from (pending, since, hanging)


def _cause(entry: Entry) -> str:
    """Return the guard of a rollback, or what else led to it; what people write stays out."""
    if entry.actor == CLOCK:
        return entry.reason.partition(":")[0]  # deadline, blind or FAIL
    return entry.guard or (CASCADE if entry.actor == CASCADE else "manual")


def _told(entry: Entry) -> list[str]:
    """Return the labels of a decision; anybody may read metrics, so people's names and words stay out."""
    decider = entry.guard or ", ".join(entry.evidence.get("guards", ())) or entry.actor
    evidence = said(entry.evidence)
    if entry.actor == CASCADE:
        evidence = f"requires {entry.evidence['requires']}"
    elif entry.actor == CLOCK:
        evidence = evidence or entry.reason
    elif entry.actor != GUARD:
        decider = "manual"
    where = entry.to_stage or entry.to_status.lower()
    return [str(entry.run), entry.kind, where, decider, evidence[:LONGEST_EVIDENCE]]


def _positions(rollout: Rollout) -> Sequence[str]:
    return [*(stage.name for stage in rollout.stages), *STATES_WITHOUT_STAGE]


def _family(offered: Offered, *before: str) -> CounterMetricFamily | GaugeMetricFamily:
    kind = CounterMetricFamily if offered.type == "counter" else GaugeMetricFamily
    return kind(offered.name, offered.help, labels=[*before, *offered.labels])


def _of_rollouts(offered: Offered) -> CounterMetricFamily | GaugeMetricFamily:
    return _family(offered, ROLLOUT_LABEL)


def _state_set(offered: Offered, rows: Iterable[tuple[str, str, Sequence[str]]]) -> Metric:
    family = _of_rollouts(offered)
    for rollout, current, known in rows:
        for value in dict.fromkeys([*known, current]):
            family.add_metric([rollout, value], int(value == current))
    return family
