"""The state of a rollout, which is the fold of its ledger entries, and the transitions between states."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

from rollguard import conventions
from rollguard.errors import RollguardError
from rollguard.spec import Rollout

Status: TypeAlias = Literal["DISABLED", "ROLLING_OUT", "ENABLED", "ROLLBACK"]
Kind: TypeAlias = Literal["start", "promote", "rollback", "would_rollback"]


class TransitionError(RollguardError):
    """The rollout's state does not allow what was asked."""


@dataclass(frozen=True)
class State:
    """Where a rollout is.

    Args:
        rollout: its name.
        status: the flag's state in the field's words.
        stage: the stage's name while ROLLING_OUT; None otherwise.
        run: number of its starts; 0 before the first.
        entered_at: when status or stage began, Unix seconds.
        reason: why it is here: a guard's name or a person's words.
        rolled_back_at: when it was last rolled back, Unix seconds; the cooldown counts from it.
        seq: the ledger entry that led here; 0 before the first.
        started_at: when the run began, Unix seconds.
        noted: guards that fired in this run of a rollout in mode observe, and were noted.
        guard: the guard that led here; None where a person did.
    """

    rollout: str
    status: Status = "DISABLED"
    stage: str | None = None
    run: int = 0
    entered_at: float = 0.0
    reason: str = ""
    rolled_back_at: float | None = None
    seq: int = 0
    started_at: float = 0.0
    noted: frozenset[str] = frozenset()
    guard: str | None = None

    @property
    def position(self) -> str:
        """The value of the label ``rollout_stage``: the stage's name, or that of the state without one."""
        if self.status == "ROLLING_OUT" and self.stage is not None:
            return self.stage
        named = {"ENABLED": conventions.ENABLED, "ROLLBACK": conventions.ROLLBACK}
        return named.get(self.status, conventions.DISABLED)

    @property
    def running(self) -> bool:
        """Whether a run is under way, which a rollback would end."""
        return self.status in ("ROLLING_OUT", "ENABLED")


@dataclass(frozen=True)
class Transition:
    """A decision about one rollout, not yet in the ledger.

    Args:
        rollout: its name.
        kind: ``would_rollback`` is recorded and changes nothing (mode observe).
        run: the run it belongs to; a start opens the next one.
        to_status: status afterwards.
        to_stage: stage afterwards; None outside ROLLING_OUT.
        actor: ``guard``, ``advance`` or a person's name.
        guard: the guard that decided; None where a person or the clock did.
        reason: the guard's name or the person's words.
        evidence: what was known, as plain JSON data: labels, annotations, how it became known.
    """

    rollout: str
    kind: Kind
    run: int
    to_status: Status
    to_stage: str | None = None
    actor: str = "guard"
    guard: str | None = None
    reason: str = ""
    evidence: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Entry:
    """A transition as the ledger keeps it: numbered, dated, chained by hash to the entry before it."""

    seq: int
    at: float
    rollout: str
    run: int
    kind: Kind
    from_status: Status
    from_stage: str | None
    to_status: Status
    to_stage: str | None
    actor: str
    guard: str | None
    reason: str
    evidence: Mapping[str, Any]
    previous_hash: str
    hash: str


def fold(state: State, entry: Entry) -> State:
    """Return the state after an entry of the same rollout; what was only observed is noted."""
    if entry.kind == "would_rollback":
        return replace(state, noted=state.noted | {entry.guard or ""})
    if entry.kind == "start":
        state = replace(state, started_at=entry.at, noted=frozenset())
    return replace(
        state,
        status=entry.to_status,
        stage=entry.to_stage,
        run=entry.run,
        entered_at=entry.at,
        reason=entry.reason,
        rolled_back_at=entry.at if entry.kind == "rollback" else state.rolled_back_at,
        seq=entry.seq,
        guard=entry.guard,
    )


def start(
    rollout: Rollout,
    state: State,
    *,
    actor: str,
    reason: str = "",
    evidence: Mapping[str, Any] | None = None,
) -> Transition:
    """Return the start of the next run, in the first stage; a release that is fully on gives way to the next.

    Raises:
        TransitionError: a stage is under way.
    """
    if state.status == "ROLLING_OUT":
        raise TransitionError(f"{rollout.name} is in stage {state.stage}; roll it back to start anew.")
    return Transition(
        rollout.name,
        "start",
        state.run + 1,
        "ROLLING_OUT",
        rollout.stages[0].name,
        actor=actor,
        reason=reason,
        evidence=evidence or {},
    )


def promote(
    rollout: Rollout,
    state: State,
    *,
    actor: str,
    reason: str = "",
    evidence: Mapping[str, Any] | None = None,
) -> Transition:
    """Return the step to the next stage, or to ENABLED after the last.

    Raises:
        TransitionError: no stage is under way, or the rollout file lost it.
    """
    if state.stage is None:
        begin = f"`rollguard start {rollout.name}` begins the next run"
        raise TransitionError(f"{rollout.name} is in {state.position}: no stage is under way; {begin}.")
    if state.stage not in {stage.name for stage in rollout.stages}:
        mend = "roll it back to start anew"
        raise TransitionError(f"{rollout.name} is in {state.stage}, which its file no longer has; {mend}.")
    following = rollout.stage_after(state.stage)
    return Transition(
        rollout.name,
        "promote",
        state.run,
        "ROLLING_OUT" if following else "ENABLED",
        following.name if following else None,
        actor=actor,
        reason=reason,
        evidence=evidence or {},
    )


def rollback(
    rollout: Rollout,
    state: State,
    *,
    actor: str = "guard",
    guard: str | None = None,
    reason: str,
    evidence: Mapping[str, Any] | None = None,
) -> Transition:
    """Return the end of the run; for a guard of a rollout in mode observe, only the note of it.

    Raises:
        TransitionError: no run is under way.
    """
    if not state.running:
        raise TransitionError(f"{rollout.name} is in {state.position}: no run is under way.")
    observed = rollout.observed and guard is not None
    return Transition(
        rollout.name,
        "would_rollback" if observed else "rollback",
        state.run,
        state.status if observed else "ROLLBACK",
        state.stage if observed else None,
        actor=actor,
        guard=guard,
        reason=reason,
        evidence=evidence or {},
    )
