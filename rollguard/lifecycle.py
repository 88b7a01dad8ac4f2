"""The steps of a rollout: what each leads to, and in which states it is allowed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rollguard.conventions import FALLBACK, PREVIOUS
from rollguard.errors import RollguardError
from rollguard.spec import Rollout
from rollguard.state import Kind, State, Transition

Evidence = Mapping[str, Any]


class RefusedError(RollguardError):
    """The rollout, or what is known of it, does not allow what was asked."""


def start(
    rollout: Rollout, state: State, *, actor: str, reason: str = "", evidence: Evidence | None = None
) -> Transition:
    """Return the start of the next run, in the first stage; a release that is fully on gives way to the next.

    Raises:
        RefusedError: a stage is under way, or nobody has looked at the last run's rollback.
    """
    if state.status == "ROLLING_OUT":
        raise RefusedError(f"{rollout.name} is in stage {state.stage}; roll it back to start anew.")
    _refuse_unacknowledged(state)
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
    rollout: Rollout, state: State, *, actor: str, reason: str = "", evidence: Evidence | None = None
) -> Transition:
    """Return the step to the next stage, or to ENABLED after the last.

    Raises:
        RefusedError: no stage is under way, the rollout file lost it, it is paused, or went back and
            nobody has looked at that.
    """
    if state.stage is None:
        begin = f"`rollguard start {rollout.name}` begins the next run"
        raise RefusedError(f"{rollout.name} is in {state.position}: no stage is under way; {begin}.")
    if state.stage not in {stage.name for stage in rollout.stages}:
        mend = "roll it back to start anew"
        raise RefusedError(f"{rollout.name} is in {state.stage}, which its file no longer has; {mend}.")
    if state.paused_by:
        mend = f"`rollguard resume {rollout.name}`"
        raise RefusedError(f"{rollout.name} is paused by {state.paused_by}: {mend} first.")
    _refuse_unacknowledged(state)
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
    to: str = FALLBACK,
    evidence: Evidence | None = None,
) -> Transition:
    """Return the end of the run, or the step back to an earlier stage; of an observed guard only the note.

    Args:
        rollout: its file.
        state: where it is.
        actor: who.
        guard: the guard that decided; None where a person did.
        reason: why.
        to: `fallback`, `previous` or a stage's name. Where a guard asks for a stage that is not before this
            one, the run ends.
        evidence: what was known.
    Raises:
        RefusedError: no run is under way, or a person asks for a stage that is not before this one.
    """
    if not state.running:
        raise RefusedError(f"{rollout.name} is in {state.position}: no run is under way.")
    if rollout.observed and guard is not None:
        return _here(state, "would_rollback", actor=actor, reason=reason, guard=guard, evidence=evidence)
    earlier = rollout.stages_before(state.stage)
    stage = earlier[-1] if to == PREVIOUS and earlier else to
    if stage not in earlier and to != FALLBACK and guard is None:
        known = ", ".join((FALLBACK, *earlier))
        where = f"{rollout.name} is in {state.position}"
        raise RefusedError(f"{where}: it can go back to {known}, not to {to}.")
    back = stage in earlier
    return Transition(
        rollout.name,
        "step_back" if back else "rollback",
        state.run,
        "ROLLING_OUT" if back else "ROLLBACK",
        stage if back else None,
        actor=actor,
        guard=guard,
        reason=reason,
        evidence=evidence or {},
    )


def pause(state: State, *, actor: str, reason: str = "") -> Transition:
    """Return the pause of a run: until it is resumed, guards decide nothing and nothing advances.

    Raises:
        RefusedError: no run is under way, or it is paused already.
    """
    if not state.running:
        raise RefusedError(f"{state.rollout} is in {state.position}: no run is under way.")
    if state.paused_by:
        raise RefusedError(f"{state.rollout} is paused by {state.paused_by} already.")
    return _here(state, "pause", actor=actor, reason=reason)


def resume(state: State, *, actor: str, reason: str = "") -> Transition:
    """Return the end of a pause: what fires by then counts at once.

    Raises:
        RefusedError: it is not paused.
    """
    if not state.paused_by:
        raise RefusedError(f"{state.rollout} is not paused.")
    return _here(state, "resume", actor=actor, reason=reason)


def acknowledge(state: State, *, actor: str, reason: str = "") -> Transition:
    """Return that a person has looked at why a run went back.

    Raises:
        RefusedError: there is nothing to look at.
    """
    if state.acknowledged:
        raise RefusedError(f"{state.rollout} is in {state.position}: there is nothing to acknowledge.")
    return _here(state, "acknowledge", actor=actor, reason=reason)


def _here(
    state: State,
    kind: Kind,
    *,
    actor: str,
    reason: str,
    guard: str | None = None,
    evidence: Evidence | None = None,
) -> Transition:
    """Return an entry that leaves the rollout where it is."""
    return Transition(
        state.rollout,
        kind,
        state.run,
        state.status,
        state.stage,
        actor=actor,
        guard=guard,
        reason=reason,
        evidence=evidence or {},
    )


def _refuse_unacknowledged(state: State) -> None:
    if not state.acknowledged:
        by = f"{state.rollout} went back by {state.reason}, and nobody has acknowledged it"
        raise RefusedError(f"{by}: `rollguard acknowledge {state.rollout} --reason …` first.")
