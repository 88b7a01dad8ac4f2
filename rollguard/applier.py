"""Making every target follow its rollout's state, in order, until each reads back as written."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from rollguard.spec import Rollout
from rollguard.state import State
from rollguard.targets.interface import Target, TargetError, meaning

SHORTEST_RETRY_SECONDS = 0.2
LONGEST_RETRY_SECONDS = 30.0
RECHECK_SECONDS = 10.0
"""How soon somebody's change from outside is put right."""

_log = logging.getLogger(__name__)

OnApplied = Callable[[str, str, State, float], None]
"""Called with rollout, target, state and Unix seconds when a target first reads back as a state means."""


@dataclass(frozen=True)
class TargetStatus:
    """How far a target is.

    Args:
        rollout: whose target it is.
        target: its name.
        desired: what it should be: `fallback`, or a stage's name.
        applied: whether it was read back so.
        pending_since: since when it is known not to be, Unix seconds; None where applied.
        attempts: failures in a row.
        error: the last one; empty where there is none.
    """

    rollout: str
    target: str
    desired: str
    applied: bool
    pending_since: float | None
    attempts: int
    error: str


@dataclass(frozen=True)
class _Progress:
    """What is known of a target: the entries last tried and last read back, and its drift since."""

    tried: int | None = None
    confirmed: int | None = None
    adrift_since: float | None = None
    attempts: int = 0
    error: str = ""


class Applier:
    """Applies targets one step at a time; one caller at a time for each rollout.

    Args:
        rollouts: whose targets to apply; observed ones have none.
        targets: by name of rollout, in the order in which they are to be applied.
        states: the current states, as the ledger has them.
        clock: Unix seconds.
        on_applied: told when a target follows a new state, for the latency.
    """

    def __init__(
        self,
        rollouts: Iterable[Rollout],
        targets: Mapping[str, Sequence[Target]],
        states: Callable[[], Mapping[str, State]],
        *,
        clock: Callable[[], float] = time.time,
        on_applied: OnApplied | None = None,
    ) -> None:
        self._rollouts = {rollout.name: rollout for rollout in rollouts if not rollout.observed}
        self._targets = {name: tuple(targets.get(name, ())) for name in self._rollouts}
        self._states = states
        self._clock = clock
        self.on_applied = on_applied
        self._started_at = clock()
        self._progress = {
            (name, place): _Progress()
            for name, listed in self._targets.items()
            for place in range(len(listed))
        }

    @property
    def rollouts(self) -> tuple[str, ...]:
        """The rollouts that have targets to apply."""
        return tuple(name for name, targets in self._targets.items() if targets)

    def step(self, rollout: str, now: float) -> float:
        """Look at a rollout's targets, apply what differs, and return when to look again.

        Args:
            rollout: its name.
            now: Unix seconds.
        Returns:
            Unix seconds: soon after a failure, then ever later; otherwise in time to notice drift.
        """
        try:
            statuses = self.apply_once(rollout)
        except Exception:  # noqa: BLE001 - whatever it is, the targets must be looked at again
            _log.exception("The targets of %s cannot be looked at.", rollout)
            return now + 1.0
        if all(status.applied for status in statuses):
            return now + RECHECK_SECONDS
        failures = max(status.attempts for status in statuses)
        doubled = SHORTEST_RETRY_SECONDS * 2.0 ** min(max(0, failures - 1), 30)
        return now + min(LONGEST_RETRY_SECONDS, doubled)

    def apply_once(self, rollout: str) -> list[TargetStatus]:
        """Apply a rollout's targets in order, each only after the earlier ones read back.

        Args:
            rollout: its name; nothing is applied for one that is unknown or observed.
        Returns:
            How far its targets are.
        Raises:
            RollguardError: the state cannot be read.
        """
        while not self._pass(rollout, self._state(rollout)):
            pass  # the state changed on the way: a rollback does not wait for the rest of a promotion
        return self._statuses_of(rollout, self._state(rollout))

    def statuses(self) -> list[TargetStatus]:
        """Return how far every target is, held against the states of now: a worker may hang.

        Raises:
            RollguardError: the states cannot be read.
        """
        states = self._states()
        return [
            status
            for name in self._rollouts
            for status in self._statuses_of(name, states.get(name, State(name)))
        ]

    def _state(self, rollout: str) -> State:
        return self._states().get(rollout, State(rollout))

    def _pass(self, rollout: str, state: State) -> bool:
        """Go through the targets once; return False where the state changed meanwhile."""
        waits_for = ""
        for place, target in enumerate(self._targets.get(rollout, ())):
            if self._state(rollout).seq != state.seq:
                return False
            if waits_for:
                self._note(rollout, place, error=waits_for)
            elif not self._follow(rollout, place, target, state):
                # Back to the fallback every target goes at once: a broken one keeps no other exposed.
                waits_for = f"waits for {target.name}" if state.running else ""
        return True

    def _follow(self, rollout: str, place: int, target: Target, state: State) -> bool:
        """Make one target follow a state; return whether it reads back."""
        before = self._progress[rollout, place]
        attempts = before.attempts if before.tried == state.seq else 0
        written, error = False, ""
        try:
            done = target.read_back(state)
            if not done:
                written = True
                self._note(rollout, place, adrift_since=before.adrift_since or self._clock())
                target.apply(state)
                done = target.read_back(state)
                error = "" if done else "was written, but does not read back"
        except TargetError as failure:
            done, error = False, str(failure)
        except Exception as failure:  # noqa: BLE001 - a target's bug must show in the status, not end the worker
            done, error = False, f"{type(failure).__name__}: {failure}"
        if done:
            self._progress[rollout, place] = _Progress(state.seq, state.seq)
            self._tell(rollout, target, state, before, written)
        else:
            since = before.adrift_since or self._clock()
            if attempts == 0:
                _log.warning("%s: %s is behind, and tried again: %s", rollout, target.name, error)
            self._note(
                rollout, place, tried=state.seq, adrift_since=since, attempts=attempts + 1, error=error
            )
        return done

    def _tell(self, rollout: str, target: Target, state: State, before: _Progress, written: bool) -> None:
        """Report a state newly reached; not one found in place after a start, nor one never entered."""
        found_in_place = before.confirmed is None and not written
        new = before.confirmed != state.seq and state.seq > 0
        if self.on_applied and new and not found_in_place:
            self.on_applied(rollout, target.name, state, self._clock())

    def _note(self, rollout: str, place: int, **changes: object) -> None:
        self._progress[rollout, place] = replace(self._progress[rollout, place], **changes)  # type: ignore[arg-type]

    def _statuses_of(self, rollout: str, state: State) -> list[TargetStatus]:
        return [
            self._status(rollout, place, target, state)
            for place, target in enumerate(self._targets.get(rollout, ()))
        ]

    def _status(self, rollout: str, place: int, target: Target, state: State) -> TargetStatus:
        progress = self._progress[rollout, place]
        since = progress.adrift_since
        if progress.confirmed != state.seq:
            since = max(state.entered_at, self._started_at)
        return TargetStatus(
            rollout=rollout,
            target=target.name,
            desired=meaning(self._rollouts[rollout], state),
            applied=since is None,
            pending_since=since,
            attempts=progress.attempts,
            error=progress.error if since is not None else "",
        )


class ApplierThreads:
    """Steps an applier, with a thread for each rollout: a target that hangs delays no other rollout.

    Args:
        applier: what to step.
        clock: Unix seconds, the applier's.
    """

    def __init__(self, applier: Applier, clock: Callable[[], float] = time.time) -> None:
        self._applier = applier
        self._clock = clock
        self._stopping = threading.Event()
        self._wakes = {name: threading.Event() for name in applier.rollouts}
        self._threads = [
            threading.Thread(target=self._work, args=(name,), name=f"targets of {name}", daemon=True)
            for name in self._wakes
        ]

    def start(self) -> None:
        """Start the threads; each looks at its targets at once."""
        for thread in self._threads:
            thread.start()

    def wake(self, rollout: str) -> None:
        """Have a rollout's targets looked at now; harmless for one without targets."""
        if rollout in self._wakes:
            self._wakes[rollout].set()

    def stop(self, timeout: float = 5.0) -> None:
        """End the threads; one whose target hangs is left behind after a while, and ends with the process."""
        self._stopping.set()
        for wake in self._wakes.values():
            wake.set()
        deadline = time.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _work(self, rollout: str) -> None:
        wake = self._wakes[rollout]
        while True:
            wake.clear()
            if self._stopping.is_set():
                return
            due = self._applier.step(rollout, self._clock())
            wake.wait(max(0.0, due - self._clock()))
