"""The set of alerts that fire now, from notifications as they come and from polls as they return."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TypeAlias

from rollguard.monitoring.alerts import GuardAlert

_Key: TypeAlias = tuple[str, str]
"""Guard and fingerprint of an alert of one rollout."""


@dataclass(frozen=True)
class _Seen:
    alert: GuardAlert
    at: float
    confirmed: bool


class _OfRollout:
    """The alerts of one rollout."""

    def __init__(self) -> None:
        self.seen: dict[_Key, _Seen] = {}
        self.resolved: dict[_Key, tuple[float, float]] = {}
        """When it was told, and when the alert that resolved had begun."""
        self.evaluated: list[GuardAlert] = []
        """Those that fire by Prometheus's own word."""

    def notified(self, alert: GuardAlert, at: float) -> None:
        key = _key(alert)
        known = self.seen.get(key)
        if alert.firing:
            self.seen[key] = _Seen(alert, at, known is not None and known.confirmed)
            self.resolved.pop(key, None)
        elif known is None or known.alert.starts_at <= alert.starts_at:
            self.seen.pop(key, None)
            self.resolved[key] = (at, alert.starts_at)

    def polled(self, alerts: Iterable[GuardAlert], asked_at: float) -> None:
        self.resolved = {key: told for key, told in self.resolved.items() if told[0] > asked_at}
        listed = {_key(alert): _Seen(alert, asked_at, True) for alert in alerts if self._stands(alert)}
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


class Firing:
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

    def believe(self) -> None:
        """Take every notification's word as confirmed, as nobody can be asked."""
        for known in self._rollouts.values():
            known.seen = {key: replace(seen, confirmed=True) for key, seen in known.seen.items()}

    def doubtful(self, rollout: str, since: float) -> bool:
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
