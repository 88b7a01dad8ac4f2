"""Making every target follow its rollout's state, each in its turn, until it reads back as written."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from queue import SimpleQueue

from rollguard.errors import RollguardError
from rollguard.spec import Rollout
from rollguard.state import State
from rollguard.targets.interface import Target, TargetError, meaning

SHORTEST_RETRY_SECONDS = 0.2
LONGEST_RETRY_SECONDS = 30.0
RECHECK_SECONDS = 10.0
"""How soon somebody's change from outside is put right."""

PATIENCE_SECONDS = 1.0
"""How long, on the way back to the fallback, a target waits for those above it that have not answered."""

WAKING_SECONDS = 0.005
"""Between the targets of two rollouts; to write a file takes a processor about 2 ms."""

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
    """What is known of a target: the entries last tried and last read back, its drift, for what it waits."""

    tried: int | None = None
    confirmed: int | None = None
    adrift_since: float | None = None
    attempts: int = 0
    error: str = ""
    waiting: tuple[int, float] | None = None
    """At which entry it waits for those above it, and since when, monotonic seconds."""

    def keeps_back(self, state: State) -> bool:
        """Return whether the targets below are to wait for this one."""
        if self.confirmed == state.seq and self.adrift_since is None:
            return False
        # Back to the fallback one that is broken keeps no other exposed.
        return state.running or self.tried != state.seq


class Applier:
    """Applies targets one step at a time; one caller at a time for each target.

    Args:
        rollouts: whose targets to apply; observed ones have none.
        targets: by name of rollout, in the order in which they are to be applied.
        states: the current states, as the ledger has them.
        clock: Unix seconds.
        monotonic: seconds.
        on_applied: told when a target follows a new state, for the latency.
    """

    def __init__(
        self,
        rollouts: Iterable[Rollout],
        targets: Mapping[str, Sequence[Target]],
        states: Callable[[], Mapping[str, State]],
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        on_applied: OnApplied | None = None,
    ) -> None:
        self._rollouts = {rollout.name: rollout for rollout in rollouts if not rollout.observed}
        self._targets = {name: tuple(targets.get(name, ())) for name in self._rollouts}
        self._states = states
        self._clock = clock
        self._monotonic = monotonic
        self.on_applied = on_applied
        self._started_at = clock()
        self._lock = threading.Lock()
        self._progress = {
            (name, place): _Progress()
            for name, listed in self._targets.items()
            for place in range(len(listed))
        }

    @property
    def places(self) -> Sequence[tuple[str, int]]:
        """Every target, as its rollout and its place among that one's targets, from 0."""
        return tuple(self._progress)

    def step(self, rollout: str, place: int) -> float:
        """Look at a target, apply what differs unless it is to wait, and return when to look again.

        Args:
            rollout: its name.
            place: of the target among the rollout's.
        Returns:
            Seconds: few after a failure, then ever more; otherwise in time to notice drift.
        """
        try:
            state = self._state(rollout)
            if self._waits(rollout, place, state):
                return RECHECK_SECONDS if state.running else PATIENCE_SECONDS
            if self._follow(rollout, place, state):
                return RECHECK_SECONDS
        except Exception:  # noqa: BLE001 - whatever it is, the target must be looked at again
            _log.exception("A target of %s cannot be looked at.", rollout)
            return 1.0
        failures = self._progress[rollout, place].attempts
        return min(LONGEST_RETRY_SECONDS, SHORTEST_RETRY_SECONDS * 2.0 ** min(failures - 1, 30))

    def released(self, rollout: str) -> list[int]:
        """Return the places of the targets that have waited for others, and need not any more.

        Raises:
            RollguardError: the state cannot be read.
        """
        with self._lock:
            places = range(len(self._targets[rollout]))
            waiting = [place for place in places if self._progress[rollout, place].waiting]
        if not waiting:
            return []
        state = self._state(rollout)
        return [place for place in waiting if not self._kept_back_by(rollout, place, state)]

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

    def _waits(self, rollout: str, place: int, state: State) -> bool:
        """Return whether a target is to wait for those above it, and note it."""
        with self._lock:
            first = self._kept_back_by(rollout, place, state)
            if not first:
                return False
            now, before = self._monotonic(), self._progress[rollout, place].waiting
            since = before[1] if before and before[0] == state.seq else now
            if not state.running and now - since >= PATIENCE_SECONDS:
                return False
            self._note(rollout, place, waiting=(state.seq, since), error=f"waits for {first}")
            return True

    def _kept_back_by(self, rollout: str, place: int, state: State) -> str:
        """Return the first target above a place that has not followed a state; empty for none."""
        above = enumerate(self._targets[rollout][:place])
        return next(
            (target.name for at, target in above if self._progress[rollout, at].keeps_back(state)), ""
        )

    def _follow(self, rollout: str, place: int, state: State) -> bool:
        """Make one target follow a state; return whether it reads back."""
        target = self._targets[rollout][place]
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
            self._progress[rollout, place] = _Progress(
                state.seq, before.confirmed, since, attempts + 1, error
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
    """Steps an applier, with a thread for each target: one that hangs delays but those that must wait for it.

    The targets of many rollouts are woken one after the other: a hundred writers at once would keep the
    decisions of a storm waiting for processor and disk, and be done no sooner.

    Args:
        applier: what to step.
    """

    def __init__(self, applier: Applier) -> None:
        self._applier = applier
        self._stopping = threading.Event()
        self._asleep: SimpleQueue[str] = SimpleQueue()
        self._wakes: dict[str, dict[int, threading.Event]] = {}
        for name, place in applier.places:
            self._wakes.setdefault(name, {})[place] = threading.Event()
        self._threads = [
            threading.Thread(target=self._work, args=at, name=f"target {at[1]} of {at[0]}", daemon=True)
            for at in applier.places
        ]
        self._threads.append(threading.Thread(target=self._wake_in_turn, name="waking targets", daemon=True))

    def start(self) -> None:
        """Start the threads; each looks at its target at once."""
        for thread in self._threads:
            thread.start()

    def wake(self, rollout: str) -> None:
        """Have a rollout's targets looked at, after those that were named before."""
        self._asleep.put(rollout)

    def stop(self, timeout: float = 5.0) -> None:
        """End the threads; one whose target hangs is left behind after a while, and ends with the process."""
        self._stopping.set()
        for rollout in self._wakes:
            self._wake_now(rollout)
        self.wake("")
        deadline = time.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _wake_in_turn(self) -> None:
        while not self._stopping.wait(WAKING_SECONDS):
            self._wake_now(self._asleep.get())

    def _wake_now(self, rollout: str) -> None:
        for wake in self._wakes.get(rollout, {}).values():
            wake.set()

    def _work(self, rollout: str, place: int) -> None:
        wake = self._wakes[rollout][place]
        while True:
            wake.clear()
            if self._stopping.is_set():
                return
            seconds = self._applier.step(rollout, place)
            with suppress(RollguardError):  # they look again by themselves
                for released in self._applier.released(rollout):
                    self._wakes[rollout][released].set()
            wake.wait(seconds)
