"""What was heard of alerts: which fire, which are nobody's, and whether anybody watches at all."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence

from rollguard.control.active_alerts import Firing
from rollguard.control.blindness import Sight
from rollguard.monitoring.alerts import GuardAlert
from rollguard.monitoring.rules import Evaluation, Fired
from rollguard.spec.platform import WATCHDOG, is_platform
from rollguard.spec.rollout import Rollout
from rollguard.state import State

log = logging.getLogger(__name__)

FRESH_SECONDS = 30.0
"""How long Alertmanager's last answer says what fires."""

LEAST_BLIND_SECONDS = 10.0
"""To so much, at least, is `blind_after` scaled."""


class Heard:
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
        self._firing = Firing()
        blind_after = {name: _blind_after(rollout, scale) for name, rollout in rollouts.items()}
        self._sight = Sight(blind_after, monotonic())
        self._polled_at: float | None = None
        self._strangers: set[str] = set()
        self.believe = self._firing.believe
        self.blind = self._sight.blind

    @property
    def alerts_unknown(self) -> bool:
        """Whether Alertmanager has not answered a poll of late, so that nobody knows what fires."""
        polled = self._polled_at
        return polled is None or self._monotonic() - polled > FRESH_SECONDS

    def notified(self, alerts: Iterable[GuardAlert], received_at: float) -> None:
        """Take a notification's word; monotonic seconds."""
        self._firing.notified(self._known(alerts), received_at)

    def polled(self, alerts: Iterable[GuardAlert], asked_at: float) -> None:
        """Take Alertmanager's whole list; monotonic seconds."""
        self._firing.polled(self._known(alerts), asked_at)
        self._polled_at = asked_at

    def evaluated(self, evaluation: Evaluation | None, asked_at: float) -> None:
        """Take Prometheus's word, or that it gave none; monotonic seconds."""
        self._sight.looked(evaluation.evaluated if evaluation else None, asked_at)
        if evaluation:
            self._firing.evaluated(evaluation.firing)

    def of(self, name: str) -> list[GuardAlert]:
        """Return the alerts of a rollout that fire, as far as is known."""
        return self._firing.of(name)

    def counting(self, state: State, fired: Sequence[Fired] = ()) -> list[GuardAlert]:
        """Return the alerts that count in a rollout's run, and those that fired since its state began."""
        past = [
            one.alert
            for one in fired
            if one.alert.rollout == state.rollout and max(one.times) >= state.entered_at
        ]
        return self._firing.of(state.rollout, since=state.started_at) + past

    def doubtful(self, states: Iterable[State]) -> bool:
        """Return whether a rollback hangs on an alert that began before its run."""
        return any(
            state.running
            and state.rollout in self._rollouts
            and self._firing.doubtful(state.rollout, state.started_at)
            for state in states
        )

    def _known(self, alerts: Iterable[GuardAlert]) -> list[GuardAlert]:
        known = []
        for alert in alerts:
            if alert.rollout in self._rollouts:
                known.append(alert)
            elif alert.rollout or not is_platform(alert.guard):
                self._wonder(alert)
            elif alert.guard == WATCHDOG and alert.firing:
                self._sight.beat(self._monotonic())
                self._on_beat()
        return known

    def _wonder(self, alert: GuardAlert) -> None:
        self._on_unknown(alert)
        if alert.rollout not in self._strangers and len(self._strangers) < 100:
            self._strangers.add(alert.rollout)
            log.warning("alert %r is of no loaded rollout (%r); passed over", alert.guard, alert.rollout)


def _blind_after(rollout: Rollout, scale: float) -> float:
    """Return after how many seconds a rollout is blind; in a scaled demo, a busy machine blinds nobody."""
    return min(rollout.blind_after, max(LEAST_BLIND_SECONDS, rollout.blind_after / scale))
