"""The transitions of a rollout: what each leads to, and in which states it is allowed."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from rollguard.conventions import FALLBACK, PREVIOUS
from rollguard.errors import RollguardError
from rollguard.spec.guards import longest_look_back
from rollguard.spec.rollout import Rollout
from rollguard.state import CLOCK, FILE, GUARD, Entry, Kind, State, Transition

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


def define(state: State, definition: str) -> Transition:
    """Return the note of what a run follows: its file has changed, or an older release began it."""
    changed = "the rollout file has changed" if state.definition else "its beginning notes no definition"
    return here(state, "define", actor=FILE, reason=changed, evidence={"definition": definition})


def rollback(
    rollout: Rollout,
    state: State,
    *,
    actor: str = GUARD,
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
        to: `fallback`, `previous` or a stage's name; the run ends where that is no stage before this one.
        evidence: what was known.
    Raises:
        RefusedError: no run is under way.
    """
    if not state.running:
        raise RefusedError(f"{rollout.name} is in {state.position}: no run is under way.")
    if rollout.observed and guard is not None:
        return here(state, "would_rollback", actor=actor, reason=reason, guard=guard, evidence=evidence)
    earlier = rollout.stages_before(state.stage)
    stage = earlier[-1] if to == PREVIOUS and earlier else to
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


def approve(rollout: Rollout, state: State, *, actor: str, reason: str = "") -> Transition:
    """Return that a person lets the next stage begin, once everything else is met.

    Raises:
        RefusedError: no stage is under way, or the next one begins without, or is approved already.
    """
    following = rollout.stage_after(state.stage) if state.stage else None
    if following is None or following.approve is None:
        raise RefusedError(f"{state.rollout} is in {state.position}: no stage waits for an approval.")
    if state.approved == following.name:
        raise RefusedError(f"{state.rollout}: {following.name} is approved already.")
    return here(state, "approve", actor=actor, reason=reason, evidence={"stage": following.name})


def hold(state: State, guards: Collection[str], evidence: Evidence) -> Transition:
    """Return that guards hold a stage, until each was false with data for long enough."""
    names = sorted(guards)
    told = {**evidence, "guards": names}
    return here(state, "hold", actor=GUARD, reason=", ".join(names), evidence=told)


def release(state: State, guards: Collection[str], evidence: Evidence, why: str = "") -> Transition:
    """Return that guards hold a stage no longer; its clock goes on once none does.

    Args:
        state: where it is.
        guards: their names.
        evidence: what was seen.
        why: what people are told; empty where each was false with data for long enough.
    """
    names = sorted(guards)
    reason = ", ".join(names) + (f": {why}" if why else "")
    told = {**evidence, "guards": names, **({"why": why} if why else {})}
    return here(state, "release", actor=CLOCK, reason=reason, evidence=told)


def overdue(state: State, after: str) -> Transition:
    """Return that a stage has not ended by its deadline, a duration in words."""
    return here(state, "overdue", actor=CLOCK, reason=f"{state.stage} has not ended in {after}")


def extend(state: State, why: str, evidence: Evidence) -> Transition:
    """Return that a stage has neither passed nor failed when its hold had passed, and why."""
    return here(state, "extend", actor=CLOCK, reason=why, evidence=evidence)


def pause(state: State, *, actor: str, reason: str = "") -> Transition:
    """Return the pause of a run: until it is resumed, guards decide nothing and nothing advances.

    Args:
        state: where it is.
        actor: who.
        reason: why.
    Raises:
        RefusedError: no run is under way, or it is paused already.
    """
    if not state.running:
        raise RefusedError(f"{state.rollout} is in {state.position}: no run is under way.")
    if state.paused_by:
        raise RefusedError(f"{state.rollout} is paused by {state.paused_by} already.")
    return here(state, "pause", actor=actor, reason=reason)


def resume(state: State, *, actor: str, reason: str = "") -> Transition:
    """Return the end of a pause: what fires by then counts at once.

    Raises:
        RefusedError: it is not paused.
    """
    if not state.paused_by:
        raise RefusedError(f"{state.rollout} is not paused.")
    return here(state, "resume", actor=actor, reason=reason)


def acknowledge(state: State, *, actor: str, reason: str = "", firing: Collection[str] = ()) -> Transition:
    """Return that a person has looked at why a run went back, or at what holds it.

    Args:
        state: where it is.
        actor: who.
        reason: what was found.
        firing: guards that fire now: these go on holding.
    Raises:
        RefusedError: there is nothing to look at, or all that holds it fires.
    """
    released = sorted(state.held - set(firing))
    if state.acknowledged and not released:
        fires = f"{', '.join(sorted(state.held))} fires" if state.held else "there is nothing to acknowledge"
        raise RefusedError(f"{state.rollout} is in {state.position}: {fires}.")
    evidence = {"guards": released} if released else {}
    return here(state, "acknowledge", actor=actor, reason=reason, evidence=evidence)


def undo(entry: Entry) -> str:
    """Return the command that takes a step back; empty where none does."""
    back = f"rollguard rollback {entry.rollout}"
    match entry.kind:
        case "start" if entry.from_status != "ENABLED":
            return f"{back} --reason …"
        case "promote":
            return f"{back} --to {entry.from_stage} --reason …"
        case "pause":
            return f"rollguard resume {entry.rollout}"
        case "resume":
            return f"rollguard pause {entry.rollout} --reason …"
    return ""


def cooldown_left(rollout: Rollout, state: State, now: float, scale: float = 1.0) -> float:
    """Return how long start and promote still wait since the rollout went back, seconds.

    The cooldown is at least as long as a breach may echo in the guards' windows.
    """
    if state.rolled_back_at is None or not (state.status == "ROLLBACK" or state.stepped_back):
        return 0.0
    cooldown = max(rollout.rollback.cooldown, longest_look_back(rollout)) / scale
    return max(0.0, state.rolled_back_at + cooldown - now)


def here(
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
        by = f"{state.rollout} went back {state.cause}, and nobody has acknowledged it"
        raise RefusedError(f"{by}: `rollguard acknowledge {state.rollout} --reason …` first.")
