"""Detect rollouts that nobody watches: no heartbeat and no rule evaluation for `blind_after`."""

from __future__ import annotations

from collections.abc import Mapping

CONFIRMING_CHECKS = 3
"""So many looks in a row must see nothing: one alone may fail after a machine was suspended."""


class Blindness:
    """When each rollout's rules were last known to be evaluated, by monotonic time; not for several threads.

    Args:
        rollouts: by name, after how many seconds each is blind.
        now: monotonic seconds; the time before it does not count.
    """

    def __init__(self, rollouts: Mapping[str, float], now: float) -> None:
        self._blind_after = rollouts
        self._started_at = now
        self._heard = dict.fromkeys(rollouts, now)
        self._evaluated: dict[str, str] = {}
        self._missed_checks = dict.fromkeys(rollouts, 0)

    def record_heartbeat(self, now: float) -> None:
        """Take note of the alert that always fires: rules are evaluated, and Alertmanager delivers."""
        for name in self._heard:
            self._hear(name, now)

    def record_check(self, evaluated: Mapping[str, str] | None, asked_at: float) -> None:
        """Take note of a look at Prometheus.

        Args:
            evaluated: when rules were evaluated last, by rollout; None where it did not answer.
            asked_at: when it was asked, monotonic seconds.
        """
        for name in self._heard:
            found = (evaluated or {}).get(name)
            if found is not None and found != self._evaluated.get(name):
                self._evaluated[name] = found
                self._hear(name, asked_at)
            elif asked_at - self._heard[name] > self._blind_after[name]:
                self._missed_checks[name] += 1

    def blind(self, rollout: str) -> bool | None:
        """Return whether nobody watches a rollout any more; None where nothing was heard or missed yet."""
        if self._missed_checks[rollout] >= CONFIRMING_CHECKS:
            return True
        return None if self._heard[rollout] == self._started_at else False

    def _hear(self, name: str, now: float) -> None:
        self._heard[name] = max(now, self._heard[name])
        self._missed_checks[name] = 0
