"""What must hold before a person may start or promote a rollout, and how a refusal is said."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from rollguard.control import decide
from rollguard.control.advance import Wait
from rollguard.control.transitions import RefusedError
from rollguard.conventions import FALLBACK, PREVIOUS
from rollguard.durations import render
from rollguard.monitoring.alerts import GuardAlert
from rollguard.spec.rollout import Action, Rollout
from rollguard.state import State


def no_earlier_stage(rollout: Rollout, state: State, to: str) -> None:
    """Refuse to go back to what is no stage before this one; where no run is under way that is said first."""
    earlier = rollout.stages_before(state.stage)
    if state.running and not (to == FALLBACK or to in earlier or (to == PREVIOUS and earlier)):
        where, known = f"{rollout.name} is in {state.position}", ", ".join((FALLBACK, *earlier))
        raise RefusedError(f"{where}: it can go back to {known}, not to {to}.")


def elsewhere(state: State, believed: str) -> None:
    """Refuse what was meant for another stage: said twice, it must not be two steps."""
    if state.position != believed:
        raise RefusedError(f"{state.rollout} is in {state.position} by now, no longer in {believed}.")


def unwatched(rollout: Rollout, found: Sequence[str]) -> None:
    """Refuse where guards do not watch, or are about to fire."""
    if found:
        raise RefusedError(f"{rollout.name}: {'; '.join(found)}.")


def unmet(
    rollout: Rollout, waits: Sequence[Wait], *, early: bool = False, unguarded: bool = False
) -> list[str]:
    """Refuse to end a stage before its time; return what a person passes over who says so.

    Args:
        rollout: its file.
        waits: what keeps the stage from ending.
        early: pass over what waits for time, criteria, data or an approval.
        unguarded: pass over guards that do not watch, or are about to fire.
    """
    given = {"early": early, "unguarded": unguarded}
    left = [wait for wait in waits if not given.get(wait.option)]
    if left:
        options = sorted({f"--{wait.option}" for wait in waits if wait.option})
        mend = f"; `rollguard promote {rollout.name} {' '.join(options)}` goes on all the same"
        what = "; ".join(wait.what for wait in left)
        raise RefusedError(f"{rollout.name} waits for {what}{mend if all(w.option for w in left) else ''}.")
    return [wait.what for wait in waits if wait.option == "early"]


def without_file(name: str, problems: Sequence[str]) -> None:
    """Refuse to take a rollout further whose file is gone or broken."""
    if problems:
        mend = "mend its rollout file, then restart the control plane"
        raise RefusedError(f"{name}: {'; '.join(problems)}; {mend}.")


def frozen(rollout: Rollout, now: float, scale: float) -> None:
    """Refuse in a freeze; calendars do not count where durations are divided."""
    freeze = rollout.freeze_at(now) if scale == 1.0 else None
    if freeze:
        raise RefusedError(f"{rollout.name} is frozen until {freeze.until}: {freeze.why}.")


def held(state: State) -> None:
    """Refuse while a guard holds the stage, whether it still fires or not."""
    if state.held:
        ends = "each guard lets go once it was false, with data, for its clear_for"
        mend = f"{ends}, or `rollguard acknowledge {state.rollout} --reason …`"
        raise RefusedError(f"{state.rollout} is held by {', '.join(sorted(state.held))}: {mend}.")


def in_cooldown(state: State, left: float) -> None:
    """Refuse while a breach may still echo; `left` is in seconds."""
    if left > 0:
        ends = f"its cooldown ends in {render(math.ceil(left))}"
        raise RefusedError(f"{state.rollout} was rolled back {state.cause}; {ends}.")


def without_required(rollout: Rollout, states: Mapping[str, State]) -> None:
    """Refuse until every rollout that this one requires is fully on."""
    missing = [name for name in rollout.requires if states.get(name, State(name)).status != "ENABLED"]
    if missing:
        where = ", ".join(f"{name} (in {states.get(name, State(name)).position})" for name in missing)
        raise RefusedError(f"{rollout.name} requires {where}, expected in enabled.")


def before_others(rollout: Rollout, states: Mapping[str, State]) -> None:
    """Refuse to start until every rollout that this one comes after is fully on."""
    where = [(name, states.get(name, State(name))) for name in rollout.after]
    early = [f"{name} (in {state.position})" for name, state in where if state.status != "ENABLED"]
    if early:
        raise RefusedError(f"{rollout.name} starts after {', '.join(early)}, expected in enabled.")


def failed_preflight(rollout: Rollout, failures: Sequence[str]) -> None:
    """Refuse to start where the preflight failed."""
    if failures:
        raise RefusedError(f"{rollout.name}: preflight failed: {'; '.join(failures)}.")


def while_firing(
    rollout: Rollout, position: str, firing: Iterable[GuardAlert], actions: Sequence[Action]
) -> None:
    """Refuse while a guard with one of the actions fires that is armed at a position."""
    known = list(firing)
    for action in actions:
        breached = decide.armed(rollout, position, known, action)
        if breached:
            names = ", ".join(sorted({guard.name for guard, _ in breached}))
            raise RefusedError(f"{rollout.name}: {names} fires in {position} (action {action}).")
