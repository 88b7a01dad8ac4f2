"""The set of alerts that fire now, from notifications as they come and from polls as they return."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from rollguard.notification import GuardAlert


@dataclass(frozen=True)
class _Seen:
    alert: GuardAlert
    at: float
    confirmed: bool


class Firing:
    """Alerts that fire, by Alertmanager's word; not safe for several threads."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str, str], _Seen] = {}

    def notified(self, alerts: Iterable[GuardAlert], at: float) -> None:
        """Take a notification's word: it is a snapshot, and may be an old one.

        Args:
            alerts: firing and resolved ones.
            at: when it arrived, monotonic seconds.
        """
        for alert in alerts:
            key = _key(alert)
            known = self._seen.get(key)
            if alert.firing:
                self._seen[key] = _Seen(alert, at, known is not None and known.confirmed)
            elif known is not None and known.alert.starts_at <= alert.starts_at:
                del self._seen[key]

    def polled(self, alerts: Iterable[GuardAlert], asked_at: float) -> None:
        """Take Alertmanager's whole list as the truth, but for what notifications said since it was asked.

        Args:
            alerts: all that fire.
            asked_at: when the poll began, monotonic seconds.
        """
        newer = {key: seen for key, seen in self._seen.items() if seen.at > asked_at}
        self._seen = {_key(alert): _Seen(alert, asked_at, True) for alert in alerts} | newer

    def of(self, rollout: str, since: float | None = None) -> list[GuardAlert]:
        """Return the alerts of one rollout that fire.

        Args:
            rollout: its name.
            since: leave out those that began earlier (Unix seconds) and rest on a notification alone: a
                retried delivery may tell of an alert that resolved before this run began. The next poll
                confirms it or drops it.
        """
        return [
            seen.alert
            for key, seen in sorted(self._seen.items())
            if key[0] == rollout and (seen.confirmed or since is None or seen.alert.starts_at >= since)
        ]


def _key(alert: GuardAlert) -> tuple[str, str, str]:
    return (alert.rollout, alert.guard, alert.fingerprint)
