"""Watching rollouts in Prometheus: at once for a person's step, and in turns for what advances by itself."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Sequence

from rollguard.control.plane import ControlPlane
from rollguard.errors import RollguardError
from rollguard.monitoring.observation import (
    Observation,
)
from rollguard.monitoring.observer import Observer
from rollguard.monitoring.prometheus import (
    Prometheus,
    PrometheusError,
    Rule,
)
from rollguard.spec.rollout import Rollout
from rollguard.state import State
from rollguard.workers.periodic import Periodic

log = logging.getLogger(__name__)

WATCH_SECONDS = 15.0

LEASE_TURNS = 4
"""For so many turns one of several control planes may advance rollouts without asking again."""


class Watcher:
    """Observes every rollout in turns, and lets the control plane decide upon those that run.

    Args:
        control: decides.
        prometheus: the client.
        scale: what durations are divided by.
        every: seconds between two turns.
        on_turn: is told of each turn whether it succeeded.
    """

    def __init__(
        self,
        control: ControlPlane,
        prometheus: Prometheus,
        *,
        scale: float = 1.0,
        every: float = WATCH_SECONDS,
        on_turn: Callable[[bool], None] = lambda _: None,
    ) -> None:
        self._control = control
        self._prometheus = prometheus
        self._observer = Observer(prometheus, scale, control.clock.wall)
        control.check_rules_loaded = self._observer.check_rules_loaded
        control.observe = self._now
        self._every = every
        self._holder = f"{socket.gethostname()}/{os.getpid()}"
        self._failing = False
        self._turns = Periodic("watching Prometheus", every, lambda: on_turn(self.turn()))

    def start(self) -> None:
        """Begin to watch, in a thread of its own."""
        self._turns.start()

    def wake(self) -> None:
        """Look now: what was seen of a state that has changed says nothing of the new one."""
        self._turns.wake()

    def stop(self) -> None:
        """Stop, and wait until the turn under way has ended."""
        self._turns.stop()
        self._prometheus.close()

    def turn(self) -> bool:
        """Observe every rollout once.

        Returns:
            Whether Prometheus answered and the decisions, if any, were recorded.
        """
        try:
            leads = self._control.ledger.lead("advance", self._holder, LEASE_TURNS * self._every)
            states = self._control.ledger.states()
            running = {name: state for name, state in states.items() if state.running}
            loaded = self._prometheus.rules() if self._control.rollouts else []
        except RollguardError as error:
            return self._failed(error)
        # One that asks for too much keeps no other waiting for its turn.
        found = [self._look(name, state, loaded, leads) for name, state in running.items()]
        found += [
            self._look_ahead(rollout, loaded)
            for name, rollout in self._control.rollouts.items()
            if name not in running
        ]
        if errors := [error for error in found if error]:
            return self._failed(errors[0])
        if self._failing:
            log.info("watching %s works again", self._prometheus.url)
        self._failing = False
        return True

    def _look(self, name: str, state: State, loaded: Sequence[Rule], leads: bool) -> RollguardError | None:
        """Observe one rollout and decide upon it; return what kept us from that."""
        rollout = self._control.rollouts.get(name)
        if rollout is None:
            return None
        try:
            self._control.observed(name, self._observer.observe(rollout, state, loaded), decides=leads)
        except RollguardError as error:
            return error
        return None

    def _look_ahead(self, rollout: Rollout, loaded: Sequence[Rule]) -> RollguardError | None:
        """See what would keep a rollout from starting; return what kept us from that."""
        try:
            found = self._observer.check_rules_loaded(rollout, [rollout.stages[0].name], loaded)
        except RollguardError as error:
            return error
        self._control.unguarded[rollout.name] = found
        return None

    def _now(self, rollout: Rollout, state: State) -> Observation | None:
        """Return what Prometheus shows at this moment; None where it does not answer."""
        try:
            return self._observer.observe(rollout, state, self._prometheus.rules())
        except PrometheusError as error:
            log.warning("%s cannot be looked at: %s", rollout.name, error)
            return None

    def _failed(self, error: RollguardError) -> bool:
        if not self._failing:
            log.warning("watching %s fails, and goes on: %s", self._prometheus.url, error)
        self._failing = True
        return False
