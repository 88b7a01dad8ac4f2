"""What alerts lead to: decisions into the ledger, flags from its fold."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from rollguard import state as states
from rollguard.control import decide, drill, preconditions, run_definitions, transitions
from rollguard.control.active_alerts import AlertMonitor
from rollguard.errors import RollguardError
from rollguard.flags import definitions
from rollguard.ledger import ConflictError, Ledger
from rollguard.monitoring.alerts import GuardAlert, Notification
from rollguard.monitoring.observation import Observation
from rollguard.monitoring.rules import Evaluation, RecentFiring
from rollguard.spec.calendars import Window
from rollguard.spec.rollout import Rollout
from rollguard.state import Entry, State, Transition

log = logging.getLogger(__name__)


ATTEMPTS = 10
"""To decide before Alertmanager is to try again: another may be quicker with one rollout after the other."""


class UnknownRolloutError(RollguardError):
    """There is no rollout of that name."""


@dataclass(frozen=True)
class Clock:
    """Where time comes from.

    Args:
        wall: Unix seconds, for what is written down.
        monotonic: seconds, for what is measured.
    """

    wall: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic


def _no_preflight(rollout: Rollout, _run: int) -> tuple[list[dict[str, Any]], list[str]]:
    return [], [f"{item.name}: nobody is there to try it" for item in rollout.preflight]


class Listener:
    """What else wants to know; the default does nothing."""

    def decided(self, entries: Sequence[Entry], received_at: float | None) -> None:
        """Entries were committed; `received_at` is when the notification arrived, monotonic seconds."""

    def unknown(self, alert: GuardAlert) -> None:
        """An alert is of no loaded rollout."""

    def heartbeat(self) -> None:
        """The alert that always fires has come: rules are evaluated, and Alertmanager delivers."""


class Decisions:
    """Rollouts, the alerts that fire, and the ledger; safe to use from several threads.

    Args:
        rollouts: the loaded rollouts; runs without a sound file follow what the ledger noted of them.
        ledger: open for writing.
        scale: what cooldowns are divided by.
        clock: wall and monotonic time.
        listeners: are told of every commit, in order, before the caller is answered.
        problems: what is wrong with the files that could not be loaded, by name of rollout.
    """

    def __init__(
        self,
        rollouts: Iterable[Rollout],
        ledger: Ledger,
        *,
        scale: float = 1.0,
        clock: Clock | None = None,
        listeners: Sequence[Listener] = (),
        problems: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        followed = run_definitions.followed(rollouts, problems or {}, ledger.states())
        self.rollouts = followed.rollouts
        self.file_problems, self.undefined = followed.problems, followed.undefined
        self.ledger = ledger
        self.clock = clock or Clock()
        self.evaluator = definitions.FlagEvaluator()
        self._scale = scale
        self._listeners = list(listeners)
        self._alerts = AlertMonitor(
            self.rollouts,
            self.clock.monotonic,
            scale,
            on_unknown=self._report_unknown_alert,
            on_beat=self._beat,
        )
        self._seen: dict[str, Observation] = {}
        self.check_rules_loaded: Callable[[Rollout, Sequence[str]], list[str]] | None = None
        """Asks Prometheus what keeps guards from watching some stages; None where there is none to ask."""
        self.observe: Callable[[Rollout, State], Observation | None] = lambda _, state: self.seen(state)
        """Asks Prometheus about a rollout in a stage, now; None where it does not answer."""
        self.unguarded: dict[str, list[str]] = {}
        """What would keep rollouts from starting that do not run, as Prometheus was last looked at."""
        self.preflight: Callable[[Rollout, int], tuple[list[dict[str, Any]], list[str]]] = _no_preflight
        """Tries what must hold before a run, by its number; returns what passed, and why what did not."""
        self.confirm: Callable[[], bool] = lambda: False
        """Polls Alertmanager and returns whether it answered; asked when a notification may be an old one."""
        self._lock = threading.Lock()
        self._shown: Mapping[str, State] = {}
        self._defined = definitions.definitions(self.rollouts.values(), {})["flags"]
        self._published, _ = ledger.head()
        self._show(ledger.states())

    def listen(self, listener: Listener) -> None:
        """Tell one more of every commit."""
        self._listeners.append(listener)

    def notify(self, notification: Notification, received_at: float) -> list[Entry]:
        """Decide upon one notification; as `handle_notifications` does."""
        entries, has_unconfirmed = self.handle_notifications([(notification, received_at)])
        return entries + (self.confirm_with_alertmanager(received_at) if has_unconfirmed else [])

    def handle_notifications(self, batch: Sequence[tuple[Notification, float]]) -> tuple[list[Entry], bool]:
        """Decide once upon several notifications, and return once it is on disk and the flags show it.

        Args:
            batch: what Alertmanager sent, and when it was received, monotonic seconds.
        Returns:
            The new ledger entries, none where nothing is to be done; and whether a rollback hangs on a
            notification that may be an old one.
        Raises:
            LedgerError, ConflictError: nothing was decided; Alertmanager is to try again.
        """
        with self._lock:
            for notification, received_at in batch:
                self._alerts.notified(notification.alerts, received_at)
            entries = self._decide(min(received_at for _, received_at in batch))
            return entries, self._alerts.has_unconfirmed(self._shown.values())

    def confirm_with_alertmanager(self, received_at: float) -> list[Entry]:
        """Ask Alertmanager what fires where a notification may be an old one."""
        if self.confirm():
            return []
        # Nobody can be asked: a rollback that was not needed costs less than one that was lost.
        with self._lock:
            self._alerts.accept_unconfirmed()
            return self._decide(received_at)

    def polled(self, alerts: Iterable[GuardAlert], asked_at: float) -> list[Entry]:
        """Decide upon Alertmanager's whole list; arguments and results as for `notify`."""
        with self._lock:
            self._alerts.polled(alerts, asked_at)
            return self._decide(None)

    def evaluated(
        self, evaluation: Evaluation | None, fired: Sequence[RecentFiring], asked_at: float
    ) -> list[Entry]:
        """Decide upon Prometheus's own word, beside Alertmanager's: an alert may never have reached that.

        Args:
            evaluation: its alerting rules, without alerts that are silenced; None where it did not answer.
            fired: alerts that fired since it was last asked, although they may have resolved.
            asked_at: when it was asked, monotonic seconds.
        Returns:
            The new ledger entries.
        Raises:
            LedgerError, ConflictError: nothing was decided.
        """
        with self._lock:
            self._alerts.evaluated(evaluation, asked_at)
            return self._decide(None, fired=fired)

    def is_open(self, clock: Window) -> bool:
        """Return whether a clock runs now; calendars do not count where durations are divided."""
        return self._scale != 1.0 or clock.open_at(self.clock.wall())

    def blind(self, name: str) -> bool | None:
        """Return whether nobody watches a rollout any more; None where that is not known yet."""
        return self._alerts.blind(name)

    def follow(self) -> None:
        """Let flags and listeners see what another control plane decided.

        Raises:
            LedgerError: it cannot be read.
        """
        with self._lock:
            self._catch_up()

    def observed(self, name: str, seen: Observation, *, decides: bool = True) -> list[Entry]:
        """Take what Prometheus showed of a rollout, and decide upon it.

        Args:
            name: of the rollout.
            seen: what was seen, just now.
            decides: False where another control plane advances rollouts; it is then only shown.
        Returns:
            The new ledger entries.
        """
        with self._lock:
            self._seen[name] = seen
            return self._decide(None, {name: seen}) if decides else []

    def shown(self) -> Mapping[str, State]:
        """Return the states that the flags show, without a look at the ledger."""
        return self._shown

    def state(self, name: str) -> State:
        """Return a rollout's state by the ledger."""
        return self.ledger.states().get(name, State(name))

    def history(self, name: str | None = None, after: int = 0, limit: int | None = None) -> list[Entry]:
        """Return entries of the ledger after a number; of one rollout, loaded or not, or of all.

        Raises:
            UnknownRolloutError: it is not loaded and has no entry.
            LedgerError: it cannot be read.
        """
        if name is not None and name not in self.ledger.states():
            self._rollout(name)
        return self.ledger.entries(name, after, limit)

    def firing(self, name: str) -> list[GuardAlert]:
        """Return the alerts of a rollout that fire, as far as is known."""
        return self._alerts.of(name)

    def seen(self, state: State) -> Observation | None:
        """Return what Prometheus last showed of a rollout in this very state, or None."""
        seen = self._seen.get(state.rollout)
        return seen if seen and seen.newest == state.newest else None

    def note_definitions(self) -> None:
        """Enter what each run follows, where its rollout file has changed since that was last noted.

        Raises:
            LedgerError: it cannot be written.
        """
        with self._lock:
            current = self._catch_up()
            changed = [
                transitions.define(state, text)
                for name, rollout in self.rollouts.items()
                if (state := current.get(name, State(name))).running and name not in self.file_problems
                if (text := rollout.definition()) != state.definition
            ]
            with suppress(ConflictError):  # another control plane moves a run: each notes what it follows
                self._commit(changed, current, None)

    def _filed(self, name: str) -> Rollout:
        """Return a rollout that may go further; raises RefusedError where its file is gone or broken."""
        rollout = self._rollout(name)
        preconditions.without_file(name, self.file_problems.get(name, ()))
        return rollout

    def _rollout(self, name: str) -> Rollout:
        if name not in self.rollouts:
            preconditions.without_file(name, self.file_problems.get(name, ()))
            raise UnknownRolloutError(f"{name} is no rollout; known: {', '.join(self.rollouts)}.")
        return self.rollouts[name]

    @property
    def alerts_unknown(self) -> bool:
        """Whether Alertmanager has not answered a poll of late, so that nobody knows what fires."""
        return self._alerts.alerts_unknown

    def _report_unknown_alert(self, alert: GuardAlert) -> None:
        for listener in self._listeners:
            listener.unknown(alert)

    def _beat(self) -> None:
        for listener in self._listeners:
            listener.heartbeat()

    def _decide(
        self,
        received_at: float | None,
        seen: Mapping[str, Observation] | None = None,
        fired: Sequence[RecentFiring] = (),
    ) -> list[Entry]:
        """Decide for every rollout; anew where another control plane was quicker with one of them."""
        for attempt in range(1, ATTEMPTS + 1):
            current = self._catch_up()
            now = self.clock.wall()
            transitions: list[Transition] = []
            for name, rollout in self.rollouts.items():
                state = current.get(name, State(name))
                if not (state.running or state.drill):
                    continue
                firing = self._alerts.counting(state, fired)
                decided = decide.decide(
                    rollout,
                    state,
                    firing,
                    now=now,
                    scale=self._scale,
                    seen=(seen or {}).get(name),
                    states=current,
                    blind=self.blind(name),
                ) or drill.flip(state, firing, now, self._received(received_at))
                unfiled = name in self.file_problems  # it may go back, and no further
                transitions += [item for item in decided if not (unfiled and item.kind == "promote")]
            try:
                return self._commit(transitions, current, received_at)
            except ConflictError:
                if attempt == ATTEMPTS:
                    raise
        return []

    def _catch_up(self) -> Mapping[str, State]:
        """Publish what another process wrote, or we without being told so; return all states."""
        current = self.ledger.states()
        if any(state.newest > self._published for state in current.values()):
            self._publish(self.ledger.entries(after=self._published), None)
        return self._shown

    def _received(self, at: float | None) -> float | None:
        """Return in Unix seconds when a notification came."""
        return None if at is None else self.clock.wall() - (self.clock.monotonic() - at)

    def _commit(
        self, transitions: Sequence[Transition], current: Mapping[str, State], received_at: float | None
    ) -> list[Entry]:
        """Write transitions, with what falls with them, unless a state has changed since."""
        if not transitions:
            return []
        transitions = decide.cascade(transitions, self.rollouts, current)
        names = decide.rests_on(transitions, self.rollouts)
        expected = {name: current.get(name, State(name)) for name in names}
        entries = self.ledger.append(transitions, self.clock.wall(), expected)
        if missed := entries[0].seq - 1 - self._published:  # another control plane's, of other rollouts
            self._publish(self.ledger.entries(after=self._published, limit=missed), None)
        self._publish(entries, received_at)
        return entries

    def _publish(self, entries: Sequence[Entry], received_at: float | None) -> None:
        """Let the flags and the listeners see what is committed."""
        states_now = dict(self._shown)
        for entry in entries:
            states_now[entry.rollout] = states.fold(
                states_now.get(entry.rollout, State(entry.rollout)), entry
            )
        self._show(states_now)
        self._published = entries[-1].seq
        for entry in entries:
            why = f": {entry.reason}" if entry.reason else ""
            log.info("%s: %s to %s%s", entry.rollout, entry.kind, entry.to_stage or entry.to_status, why)
        for listener in self._listeners:
            listener.decided(entries, received_at)

    def _show(self, current: Mapping[str, State]) -> None:
        """Let the flags follow; those of rollouts whose state is the same stay as they are."""
        changed = [
            rollout
            for name, rollout in self.rollouts.items()
            if rollout.requires or current.get(name) is not self._shown.get(name)
        ]
        self._defined |= definitions.definitions(changed, current, self.rollouts)["flags"]
        drills = drill.flags(current, self.clock.wall())
        self.evaluator.set_flags({"flags": self._defined | drills})
        self._shown = dict(current)
