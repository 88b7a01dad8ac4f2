"""The alerts that fire now: from notifications as they come and from polls as they return."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from rollguard.control.blindness import Blindness
from rollguard.monitoring.alerts import GuardAlert
from rollguard.monitoring.rules import Evaluation, RecentFiring
from rollguard.spec.platform import WATCHDOG, is_platform
from rollguard.spec.rollout import Rollout
from rollguard.state import State

_Key: TypeAlias = tuple[str, str]
"""Guard and fingerprint of an alert of one rollout."""


@dataclass(frozen=True)
class _Active:
    alert: GuardAlert
    at: float
    confirmed: bool


class _OfRollout:
    """The alerts of one rollout."""

    def __init__(self) -> None:
        self.seen: dict[_Key, _Active] = {}
        self.resolved: dict[_Key, tuple[float, float]] = {}
        """When it was told, and when the alert that resolved had begun."""
        self.evaluated: list[GuardAlert] = []
        """Those that fire by Prometheus's own word."""

    def notified(self, alert: GuardAlert, at: float) -> None:
        key = _key(alert)
        known = self.seen.get(key)
        if alert.firing:
            self.seen[key] = _Active(alert, at, known is not None and known.confirmed)
            self.resolved.pop(key, None)
        elif known is None or known.alert.starts_at <= alert.starts_at:
            self.seen.pop(key, None)
            self.resolved[key] = (at, alert.starts_at)

    def polled(self, alerts: Iterable[GuardAlert], asked_at: float) -> None:
        self.resolved = {key: told for key, told in self.resolved.items() if told[0] > asked_at}
        listed = {_key(alert): _Active(alert, asked_at, True) for alert in alerts if self._stands(alert)}
        newer = {
            key: replace(seen, confirmed=seen.confirmed or key in listed)
            for key, seen in self.seen.items()
            if seen.at > asked_at
        }
        self.seen = listed | newer

    def _stands(self, alert: GuardAlert) -> bool:
        """Return whether no notification since has said that a listed alert resolved."""
        resolved = self.resolved.get(_key(alert))
        return resolved is None or alert.starts_at > resolved[1]


class ActiveAlerts:
    """Alerts that fire, by Alertmanager's word or by Prometheus's; not safe for several threads."""

    def __init__(self) -> None:
        self._rollouts: dict[str, _OfRollout] = {}

    def notified(self, alerts: Iterable[GuardAlert], at: float) -> None:
        """Take a notification's word: it is a snapshot, and may be an old one.

        Args:
            alerts: firing and resolved ones.
            at: when it arrived, monotonic seconds.
        """
        for alert in alerts:
            self._rollouts.setdefault(alert.rollout, _OfRollout()).notified(alert, at)

    def polled(self, alerts: Iterable[GuardAlert], asked_at: float) -> None:
        """Take Alertmanager's whole list as the truth, but for what notifications said since it was asked.

        Args:
            alerts: all that fire.
            asked_at: when the poll began, monotonic seconds.
        """
        listed: dict[str, list[GuardAlert]] = {name: [] for name in self._rollouts}
        for alert in alerts:
            listed.setdefault(alert.rollout, []).append(alert)
        for name, found in listed.items():
            self._rollouts.setdefault(name, _OfRollout()).polled(found, asked_at)

    def evaluated(self, alerts: Iterable[GuardAlert]) -> None:
        """Take what fires by Prometheus's rules as the truth, beside what Alertmanager lists."""
        found: dict[str, list[GuardAlert]] = {name: [] for name in self._rollouts}
        for alert in alerts:
            found.setdefault(alert.rollout, []).append(alert)
        for name, those in found.items():
            self._rollouts.setdefault(name, _OfRollout()).evaluated = those

    def accept_unconfirmed(self) -> None:
        """Take every notification's word as confirmed, as nobody can be asked."""
        for known in self._rollouts.values():
            known.seen = {key: replace(seen, confirmed=True) for key, seen in known.seen.items()}

    def has_unconfirmed(self, rollout: str, since: float) -> bool:
        """Return whether `of` leaves out an alert of a rollout."""
        return len(self.of(rollout)) > len(self.of(rollout, since))

    def of(self, rollout: str, since: float | None = None) -> list[GuardAlert]:
        """Return the alerts of one rollout that fire.

        Args:
            rollout: its name.
            since: leave out those that began earlier (Unix seconds) and rest on a notification alone: a
                retried delivery may tell of an alert that resolved before this run began. A poll
                confirms it or drops it.
        """
        known = self._rollouts.get(rollout)
        if known is None:
            return []
        listed = [
            seen.alert
            for _, seen in sorted(known.seen.items())
            if seen.confirmed or since is None or seen.alert.starts_at >= since
        ]
        return listed + known.evaluated


def _key(alert: GuardAlert) -> _Key:
    return (alert.guard, alert.fingerprint)


log = logging.getLogger(__name__)


FRESH_SECONDS = 30.0
"""How long Alertmanager's last answer says what fires."""


LEAST_BLIND_SECONDS = 10.0
"""To so much, at least, is `blind_after` scaled."""


class AlertMonitor:
    """What Alertmanager and Prometheus said of the loaded rollouts; not safe for several threads.

    Args:
        rollouts: by name.
        monotonic: seconds.
        scale: what durations are divided by.
        on_unknown: is told of each alert of no loaded rollout.
        on_beat: is told of each alert that always fires.
    """

    def __init__(
        self,
        rollouts: Mapping[str, Rollout],
        monotonic: Callable[[], float],
        scale: float,
        *,
        on_unknown: Callable[[GuardAlert], None],
        on_beat: Callable[[], None],
    ) -> None:
        self._rollouts = rollouts
        self._monotonic = monotonic
        self._on_unknown, self._on_beat = on_unknown, on_beat
        self._active = ActiveAlerts()
        blind_after = {name: _blind_after(rollout, scale) for name, rollout in rollouts.items()}
        self._blindness = Blindness(blind_after, monotonic())
        self._polled_at: float | None = None
        self._strangers: set[str] = set()
        self.accept_unconfirmed = self._active.accept_unconfirmed
        self.blind = self._blindness.blind

    @property
    def alerts_unknown(self) -> bool:
        """Whether Alertmanager has not answered a poll of late, so that nobody knows what fires."""
        polled = self._polled_at
        return polled is None or self._monotonic() - polled > FRESH_SECONDS

    def notified(self, alerts: Iterable[GuardAlert], received_at: float) -> None:
        """Take a notification's word; monotonic seconds."""
        self._active.notified(self._known(alerts), received_at)

    def polled(self, alerts: Iterable[GuardAlert], asked_at: float) -> None:
        """Take Alertmanager's whole list; monotonic seconds."""
        self._active.polled(self._known(alerts), asked_at)
        self._polled_at = asked_at

    def evaluated(self, evaluation: Evaluation | None, asked_at: float) -> None:
        """Take Prometheus's word, or that it gave none; monotonic seconds."""
        self._blindness.record_check(evaluation.evaluated if evaluation else None, asked_at)
        if evaluation:
            self._active.evaluated(evaluation.firing)

    def of(self, name: str) -> list[GuardAlert]:
        """Return the alerts of a rollout that fire, as far as is known."""
        return self._active.of(name)

    def counting(self, state: State, fired: Sequence[RecentFiring] = ()) -> list[GuardAlert]:
        """Return the alerts that count in a rollout's run, and those that fired of late and still count."""
        past = [
            one.alert
            for one in fired
            if one.alert.rollout == state.rollout and max(one.times) >= state.counts_from(one.alert.guard)
        ]
        found = self._active.of(state.rollout, since=state.started_at) + past
        return [alert for alert in found if alert.counts_in(state.run)]

    def has_unconfirmed(self, states: Iterable[State]) -> bool:
        """Return whether a rollback hangs on an alert that began before its run."""
        return any(
            state.running
            and state.rollout in self._rollouts
            and self._active.has_unconfirmed(state.rollout, state.started_at)
            for state in states
        )

    def _known(self, alerts: Iterable[GuardAlert]) -> list[GuardAlert]:
        known = []
        for alert in alerts:
            if alert.rollout in self._rollouts:
                known.append(alert)
            elif alert.rollout or not is_platform(alert.guard):
                self._report_unknown_alert(alert)
            elif alert.guard == WATCHDOG and alert.firing:
                self._blindness.record_heartbeat(self._monotonic())
                self._on_beat()
        return known

    def _report_unknown_alert(self, alert: GuardAlert) -> None:
        self._on_unknown(alert)
        if alert.rollout not in self._strangers and len(self._strangers) < 100:
            self._strangers.add(alert.rollout)
            log.warning("alert %r is of no loaded rollout (%r); passed over", alert.guard, alert.rollout)


def _blind_after(rollout: Rollout, scale: float) -> float:
    """Return after how many seconds a rollout is blind; in a scaled demo, a busy machine blinds nobody."""
    return min(rollout.blind_after, max(LEAST_BLIND_SECONDS, rollout.blind_after / scale))
