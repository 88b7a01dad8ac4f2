"""The control plane's own metrics, made fresh for every scrape from the ledger's fold."""

from __future__ import annotations

import threading
from collections import Counter as Count
from collections.abc import Callable, Iterable, Iterator, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric

from rollguard.applier import TargetStatus
from rollguard.control import ControlPlane, Listener
from rollguard.conventions import STAGE_METRIC, STATES_WITHOUT_STAGE
from rollguard.errors import RollguardError
from rollguard.flags import percent_of
from rollguard.guards import all_guards
from rollguard.notification import GuardAlert
from rollguard.spec import Rollout
from rollguard.state import Entry, State

REJECTED = ("unauthorized", "too_large", "syntax", "shape", "version", "storage")
FLAG_STATES = ("DISABLED", "ROLLING_OUT", "ENABLED", "ROLLBACK")
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


disable_created_metrics()  # type: ignore[no-untyped-call]


class Metrics(Listener):
    """Counts what happens, and shows the state of every rollout.

    Args:
        control: the control plane whose state is shown.
        target_statuses: returns the status of every target.
    """

    def __init__(self, control: ControlPlane, target_statuses: Callable[[], Iterable[TargetStatus]]) -> None:
        self._control = control
        self._statuses = target_statuses
        self._received: dict[tuple[str, int], float] = {}
        self._applied: dict[tuple[str, int], set[str]] = {}
        self._lock = threading.Lock()
        self._switches: Count[str] = Count()
        self._rollbacks: Count[tuple[str, str]] = Count()
        self.registry = CollectorRegistry()
        self.notifications = Counter(
            "rollguard_notifications", "Notifications that were taken.", registry=self.registry
        )
        self.rejected = Counter(
            "rollguard_notifications_rejected",
            "Notifications that were refused.",
            ["reason"],
            registry=self.registry,
        )
        self.broken = Counter(
            "rollguard_alerts_broken",
            "Alerts within a notification that could not be read.",
            registry=self.registry,
        )
        self.unknown_alerts = Counter(
            "rollguard_alerts_unknown", "Alerts of no loaded rollout.", registry=self.registry
        )
        self.polls = Counter(
            "rollguard_reconcile_polls", "Polls of Alertmanager.", ["result"], registry=self.registry
        )
        self.decision_seconds = Histogram(
            "rollguard_decision_duration_seconds",
            "From a notification's arrival to its decision on disk and in the served flag.",
            registry=self.registry,
            buckets=_BUCKETS,
        )
        self.flip_seconds = Histogram(
            "rollguard_flip_duration_seconds",
            "From a notification's arrival to the last target read back.",
            registry=self.registry,
            buckets=_BUCKETS,
        )
        self.last_poll = Gauge(
            "rollguard_reconcile_last_success_timestamp_seconds",
            "When Alertmanager last answered a poll.",
            registry=self.registry,
        )
        self.last_heartbeat = Gauge(
            "rollguard_watchdog_last_timestamp_seconds",
            "When the alert that always fires last came.",
            registry=self.registry,
        )
        for reason in REJECTED:
            self.rejected.labels(reason)
        for result in ("success", "failure"):
            self.polls.labels(result)
        self.registry.register(self)
        self._count(control.ledger.entries())

    def decided(self, entries: Sequence[Entry], received_at: float | None) -> None:
        """Count committed entries."""
        self._count(entries)
        if entries and received_at is not None:
            self.decision_seconds.observe(self._control.clock.monotonic() - received_at)

            with self._lock:
                self._received |= {(entry.rollout, entry.seq): received_at for entry in entries}

    def applied(self, rollout: str, target: str, state: State, _at: float) -> None:
        """Measure a flip, when the last of its targets was read back."""
        key = (rollout, state.seq)
        with self._lock:
            done = self._applied.setdefault(key, set()) | {target}
            self._applied[key] = done
            received_at = self._received.get(key)
            if received_at is None or len(done) < len(self._control.rollouts[rollout].targets):
                return
            del self._received[key], self._applied[key]
        self.flip_seconds.observe(self._control.clock.monotonic() - received_at)

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

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics that are read from state rather than counted."""
        yield from self._ledger_metrics()
        yield from self._rollout_metrics()
        yield from self._target_metrics()

    def describe(self) -> list[Metric]:
        """Say nothing of names, so that registering does not read the ledger."""
        return []

    def _count(self, entries: Iterable[Entry]) -> None:
        with self._lock:
            for entry in entries:
                if entry.kind != "would_rollback":
                    self._switches[entry.rollout] += 1
                if entry.kind == "rollback":
                    self._rollbacks[entry.rollout, entry.guard or "manual"] += 1

    def _ledger_metrics(self) -> Iterator[Metric]:
        readable = GaugeMetricFamily("rollguard_ledger_readable", "1 while the ledger can be read.")
        yield GaugeMetricFamily(
            "rollguard_ledger_writable", "1 where a write reaches the ledger's disk.", self._writable()
        )
        try:
            seq, digest = self._control.ledger.head()
        except RollguardError:
            readable.add_metric([], 0)
            yield readable
            return
        readable.add_metric([], 1)
        yield readable
        yield GaugeMetricFamily("rollguard_ledger_entries", "Entries in the ledger.", seq)
        head = InfoMetricFamily(
            "rollguard_ledger_head", "Hash of the last entry; keep it to find a lost tail."
        )
        head.add_metric([], {"hash": digest})
        yield head

    def _writable(self) -> int:
        try:
            self._control.ledger.probe()
        except RollguardError:
            return 0
        return 1

    def _rollout_metrics(self) -> Iterator[Metric]:
        try:
            states = self._control.ledger.states()
        except RollguardError:
            return
        pairs = [(rollout, states.get(name, State(name))) for name, rollout in self._control.rollouts.items()]
        yield _state_set(
            STAGE_METRIC,
            "Where a rollout is: 1 for one, 0 for the others.",
            [(rollout.name, state.position, _positions(rollout)) for rollout, state in pairs],
        )
        yield _state_set(
            "rollout_flag_state",
            "State of the flag: 1 for one, 0 for the others.",
            [(rollout.name, state.status, FLAG_STATES) for rollout, state in pairs],
            label="state",
        )
        entered = GaugeMetricFamily(
            "rollout_stage_entered_timestamp_seconds", "When the stage or state began.", labels=["rollout"]
        )
        percent = GaugeMetricFamily(
            "rollout_percent", "Share that gets the served variant, %.", labels=["rollout"]
        )
        for rollout, state in pairs:
            if state.seq:
                entered.add_metric([rollout.name], state.entered_at)
            percent.add_metric([rollout.name], percent_of(rollout, state))
        yield entered
        yield percent
        yield from self._counts()

    def _target_statuses(self) -> Iterable[TargetStatus]:
        try:
            return self._statuses()
        except RollguardError:
            return ()

    def _counts(self) -> Iterator[Metric]:
        switches = CounterMetricFamily("mode_switch", "Transitions of a rollout.", labels=["rollout"])
        rollbacks = CounterMetricFamily(
            "rollback", "Rollbacks, by guard or by hand.", labels=["rollout", "reason"]
        )
        with self._lock:
            for name, rollout in self._control.rollouts.items():
                switches.add_metric([name], self._switches[name])
                reasons = [guard.name for guard in all_guards(rollout) if guard.action == "rollback"]
                former = [reason for owner, reason in self._rollbacks if owner == name]
                for reason in dict.fromkeys([*reasons, "manual", *former]):
                    rollbacks.add_metric([name, reason], self._rollbacks[name, reason])
        yield switches
        yield rollbacks

    def _target_metrics(self) -> Iterator[Metric]:
        labels = ["rollout", "target"]
        pending = GaugeMetricFamily(
            "rollguard_target_pending", "1 while a target does not show the decided state.", labels=labels
        )
        since = GaugeMetricFamily(
            "rollguard_target_pending_since_timestamp_seconds", "Since when it does not.", labels=labels
        )
        for status in self._target_statuses():
            pending.add_metric([status.rollout, status.target], int(not status.applied))
            if status.pending_since is not None:
                since.add_metric([status.rollout, status.target], status.pending_since)
        yield pending
        yield since


def _positions(rollout: Rollout) -> Sequence[str]:
    return [*(stage.name for stage in rollout.stages), *STATES_WITHOUT_STAGE]


def _state_set(
    name: str, text: str, rows: Iterable[tuple[str, str, Sequence[str]]], *, label: str | None = None
) -> Metric:
    family = GaugeMetricFamily(name, text, labels=["rollout", label or name])
    for rollout, current, known in rows:
        for value in dict.fromkeys([*known, current]):
            family.add_metric([rollout, value], int(value == current))
    return family
