"""Making every target follow its rollout's state, each in its turn, until it reads back as written."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeAlias, cast

from rollguard.durations import render
from rollguard.spec.rollout import Rollout
from rollguard.state import State
from rollguard.targets.interface import Lane, Target, desired_position, follow
from rollguard.targets.shared_file import FileTarget, follow_together

SHORTEST_RETRY_SECONDS = 0.2
LONGEST_RETRY_SECONDS = 30.0
RECHECK_SECONDS = 10.0
"""How soon somebody's change from outside is put right."""

PATIENCE_SECONDS = 1.0
"""How long, on the way back to the fallback, a target waits for those above it that have not answered."""

HANGS_SECONDS = 5.0
"""A step that lasts longer may hang: it is told, and keeps no other target waiting."""

_log = logging.getLogger(__name__)

At: TypeAlias = tuple[str, int]
"""A target: its rollout, and its place among that one's targets, from 0."""

OnApplied = Callable[[str, str, State, float], None]
"""Called with rollout, target, state and Unix seconds when a target first reads back as a state means."""


@dataclass(frozen=True, eq=False)
class Job:
    """Targets that are stepped together: those that share a file; of the others each alone.

    Args:
        lane: what kind of waiting a step may bring.
        members: the targets.
    """

    lane: Lane
    members: tuple[At, ...]


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
        error: the last one, or for how long its step has not ended; empty where there is none.
        hangs: whether its step has not ended for over 5 s.
    """

    rollout: str
    target: str
    desired: str
    applied: bool
    pending_since: float | None
    attempts: int
    error: str
    hangs: bool = False


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
    """Applies targets one step at a time; one caller at a time for each job.

    Args:
        rollouts: whose targets to apply; observed ones have none.
        targets: by name of rollout, in the order in which they are to be applied.
        states: the current states, as the flags show them.
        settle: how long a change from outside stays, seconds: where another control plane is at work, it
            may know of a newer state than this one.
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
        settle: float = 0.0,
        on_applied: OnApplied | None = None,
    ) -> None:
        self._rollouts = {rollout.name: rollout for rollout in rollouts if not rollout.observed}
        self._targets = {name: tuple(targets.get(name, ())) for name in self._rollouts}
        self._states = states
        self._clock = clock
        self._monotonic = monotonic
        self._settle = settle
        self.on_applied = on_applied
        self._started_at = clock()
        self._lock = threading.Lock()
        self._progress = {
            (name, place): _Progress()
            for name, listed in self._targets.items()
            for place in range(len(listed))
        }
        self._begun: dict[At, float] = {}
        """When the steps began that have not ended, monotonic seconds."""

    @property
    def jobs(self) -> Sequence[Job]:
        """Every target, each in one of them."""
        found: dict[object, list[At]] = {}
        for at in self._progress:
            target = self._target(at)
            shared = isinstance(target, FileTarget) and (type(target), os.path.realpath(target.path))
            found.setdefault(shared or at, []).append(at)
        return [Job(self._target(members[0]).LANE, tuple(members)) for members in found.values()]

    def step(self, members: Sequence[At]) -> dict[At, float]:
        """Look at targets of one job, apply what differs unless it is to wait, and say when to look again.

        Args:
            members: one target or several that share a file.
        Returns:
            Seconds for each: few after a failure, then ever more; otherwise in time to notice drift.
        """
        begun = self._monotonic()
        for at in members:
            self._begun[at] = begun
        try:
            return self._step(members)
        finally:
            for at in members:
                del self._begun[at]

    def released(self, rollout: str) -> list[At]:
        """Return the targets that have waited for others, and need not any more."""
        with self._lock:
            places = range(len(self._targets[rollout]))
            waiting = [(rollout, place) for place in places if self._progress[rollout, place].waiting]
        state = self._states().get(rollout, State(rollout))
        return [at for at in waiting if not self._kept_back_by(at, state)]

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

    def _step(self, members: Sequence[At]) -> dict[At, float]:
        states = self._states()
        delays, going = {}, list[tuple[At, State]]()
        for at in members:
            state = states.get(at[0], State(at[0]))
            if self._waits(at, state):
                delays[at] = RECHECK_SECONDS if state.running else PATIENCE_SECONDS
            else:
                going.append((at, state))
        for (at, state), error in zip(going, self._follow(going), strict=True):
            delays[at] = self._noted(at, state, error)
        return delays

    def _target(self, at: At) -> Target:
        return self._targets[at[0]][at[1]]

    def _waits(self, at: At, state: State) -> bool:
        """Return whether a target is to wait for those above it, and note it."""
        with self._lock:
            first = self._kept_back_by(at, state)
            if not first:
                return False
            now, before = self._monotonic(), self._progress[at].waiting
            since = before[1] if before and before[0] == state.seq else now
            if not state.running and now - since >= PATIENCE_SECONDS:
                return False
            self._note(at, waiting=(state.seq, since), error=f"waits for {first}")
            return True

    def _kept_back_by(self, at: At, state: State) -> str:
        """Return the first target above another that has not followed a state; empty for none."""
        rollout, place = at
        above = enumerate(self._targets[rollout][:place])
        return next(
            (target.name for up, target in above if self._progress[rollout, up].keeps_back(state)), ""
        )

    def _follow(self, going: Sequence[tuple[At, State]]) -> list[str]:
        """Make targets follow their states; return for each why it does not read back, or nothing."""
        try:
            if len(going) > 1:
                members = [(cast(FileTarget, self._target(at)), state) for at, state in going]
                return follow_together(members, lambda place: self._may_write(*going[place]))
            return [
                follow(self._target(at), state, partial(self._may_write, at, state)) for at, state in going
            ]
        except Exception as failure:  # noqa: BLE001 - a target's bug must show in the status, not end the worker
            return [f"{type(failure).__name__}: {failure}"] * len(going)

    def _may_write(self, at: At, state: State) -> bool:
        """Note that a target differs, and return whether it is to be written now."""
        before, now = self._progress[at], self._clock()
        since = now if before.adrift_since is None else before.adrift_since
        self._note(at, adrift_since=since)
        return before.confirmed != state.seq or not 0 <= now - since < self._settle

    def _noted(self, at: At, state: State, error: str) -> float:
        """Note how a step ended, and return after how many seconds to look again."""
        before = self._progress[at]
        if not error:
            self._progress[at] = _Progress(state.seq, state.seq)
            self._tell(at, state, before)
            return RECHECK_SECONDS
        attempts = before.attempts if before.tried == state.seq else 0
        since = self._clock() if before.adrift_since is None else before.adrift_since
        if attempts == 0:
            _log.warning("%s: %s is behind, and tried again: %s", at[0], self._target(at).name, error)
        self._progress[at] = _Progress(state.seq, before.confirmed, since, attempts + 1, error)
        return min(LONGEST_RETRY_SECONDS, SHORTEST_RETRY_SECONDS * 2.0 ** min(attempts, 30))

    def _tell(self, at: At, state: State, before: _Progress) -> None:
        """Report a state newly reached; not one found in place after a start, nor one never entered."""
        found_in_place = before.confirmed is None and before.adrift_since is None
        new = before.confirmed != state.seq and state.seq > 0
        if self.on_applied and new and not found_in_place:
            self.on_applied(at[0], self._target(at).name, state, self._clock())

    def _note(self, at: At, **changes: object) -> None:
        self._progress[at] = replace(self._progress[at], **changes)  # type: ignore[arg-type]

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
        now = self._monotonic()
        lasts = now - self._begun.get((rollout, place), now)
        error = progress.error if since is not None else ""
        if lasts > HANGS_SECONDS:
            error = f"its step has not ended for {render(round(lasts))}"
        return TargetStatus(
            rollout=rollout,
            target=target.name,
            desired=desired_position(self._rollouts[rollout], state),
            applied=since is None,
            pending_since=since,
            attempts=progress.attempts,
            error=error,
            hangs=lasts > HANGS_SECONDS,
        )
