"""When a stage ends by itself: pure, and every reason why it does not is said."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from rollguard.control.transitions import cooldown_left
from rollguard.durations import render
from rollguard.monitoring.observation import Observation, criteria_of, guards_of
from rollguard.spec.guards import clear_for
from rollguard.spec.rollout import Rollout
from rollguard.state import State


@dataclass(frozen=True)
class Wait:
    """What keeps a stage from ending.

    Args:
        what: in words.
        option: of `promote`, with which a person passes over it; empty where nobody may.
    """

    what: str
    option: Literal["", "early", "unguarded"] = ""


def waits_for(
    rollout: Rollout,
    state: State,
    seen: Observation | None,
    *,
    now: float,
    scale: float = 1.0,
    states: Mapping[str, State] | None = None,
    asked: bool = True,
) -> list[Wait]:
    """Return what keeps a stage from ending; nothing where the next one may begin.

    Args:
        rollout: its file.
        state: in a stage.
        seen: what Prometheus showed of this very state; None where it showed nothing.
        now: Unix seconds.
        scale: what durations are divided by; calendars do not count where it is not 1.
        states: of the rollouts that this one requires, by name.
        asked: whether there is a Prometheus to ask; without one the hold passes by our own clock.
    """
    stage = rollout.stage(state.stage)
    if stage is None:
        return [Wait(f"{state.stage}, which its file no longer has")]
    found = [*_people(rollout, state), *_calendar(rollout, now, scale), *_required(rollout, states or {})]
    if left := cooldown_left(rollout, state, now, scale):
        found.append(Wait(f"its cooldown, {_rounded(left)} left"))
    current = seen if seen and seen.newest == state.newest else None
    found += [
        Wait(f"{name}, which holds it{_until(rollout, state, name, current, scale)}")
        for name in sorted(state.held)
    ]
    if current is None and asked:
        return [*found, Wait("Prometheus, which has not answered yet", "early")]
    if left := hold_left(rollout, state, current, now, scale):
        found.append(Wait(f"its hold, {_rounded(left)} left", "early"))
    return [*found, *(_watched(rollout, state, current) if current else _unasked(rollout, state))]


def hold_left(rollout: Rollout, state: State, seen: Observation | None, now: float, scale: float) -> float:
    """Return how much of the stage's hold has not passed yet in evaluated time, seconds.

    Where Prometheus has shown nothing of this state yet, time by our own clock. Arguments as for `waits_for`.
    """
    stage = rollout.stage(state.stage)
    if stage is None or not stage.hold:
        return 0.0
    ours = sum(end - begin for begin, end in rollout.counted(state.counted(now), scale))
    return max(0.0, stage.hold / scale - (seen.clock_seconds if seen else ours))


def _people(rollout: Rollout, state: State) -> Iterator[Wait]:
    if state.paused_by:
        yield Wait(f"{state.paused_by}, who paused it")
    if not state.acknowledged:
        yield Wait("an acknowledgement")
    following = rollout.stage_after(state.stage or "")
    if following is not None and following.approve and state.approved != following.name:
        yield Wait(f"the approval of {following.name}", "early")


def _calendar(rollout: Rollout, now: float, scale: float) -> Iterator[Wait]:
    if scale != 1.0:
        return
    if freeze := rollout.freeze_at(now):
        yield Wait(f"the end of a freeze at {freeze.until}: {freeze.why}")
    if rollout.clock is not None and not rollout.clock.open_at(now):
        yield Wait(f"its clock, which runs {rollout.clock}", "early")
    if rollout.advance_in is not None and not rollout.advance_in.open_at(now):
        yield Wait(f"its window: {rollout.advance_in}", "early")


def _required(rollout: Rollout, states: Mapping[str, State]) -> Iterator[Wait]:
    for name in rollout.requires:
        state = states.get(name, State(name))
        if state.status != "ENABLED":
            yield Wait(f"{name}, which is in {state.position}")


def _watched(rollout: Rollout, state: State, seen: Observation) -> Iterator[Wait]:
    yield from (Wait(problem, "unguarded") for problem in seen.problems)
    for guard in guards_of(rollout, state.position):
        if guard.action == "notify" or guard.name in state.held:
            continue
        found = seen.guards.get(guard.name)
        if found is None or found.condition == "breached" or (found.why and guard.no_data != "ignore"):
            falls = guard.action == "rollback" and found is not None and found.condition == "breached"
            why = found.why if found else "has not been looked at"
            yield Wait(f"{guard.name}, which {why}", "unguarded" if falls else "early")
    yield from (Wait(f"{guard} in the next stage", "unguarded") for guard in seen.ahead)
    for failure in seen.failures:
        if failure.holds or failure.error or failure.value is None:
            shown = failure.error or _unmet(failure.value)
            yield Wait(f"{failure.name}: {shown}{', which fails it' if failure.holds else ''}", "early")
    for criterion in seen.criteria:
        if not criterion.holds:
            why = criterion.error or criterion.missing or _unmet(criterion.value)
            yield Wait(f"{criterion.name}: {why}", "early")


def _until(rollout: Rollout, state: State, name: str, seen: Observation | None, scale: float) -> str:
    """Return what a hold waits for, and how a person ends it whose guard cannot judge."""
    guard = next((one for one in guards_of(rollout, state.position) if one.name == name), None)
    found = seen.guards.get(name) if seen else None
    if guard is None or found is None or found.condition == "breached":
        return ""
    if found.condition == "armed":
        needed = _rounded(clear_for(rollout, guard) / scale)
        return f" until it was false for {needed}, {_rounded(found.clear_seconds or 0.0)} so far"
    if found.condition == "closed":
        return f", and its clock, which runs {rollout.clock_of(guard)}"
    why = found.why or "is below its minimal sample"
    return f" and {why}: `rollguard acknowledge {state.rollout} --reason …` ends that"


def _unasked(rollout: Rollout, state: State) -> Iterator[Wait]:
    for criterion in criteria_of(rollout, state.position):
        yield Wait(f"{criterion.name}: there is no Prometheus to ask", "early")


def _unmet(value: float | None) -> str:
    return "no data" if value is None else f"{value:g}"


def _rounded(seconds: float) -> str:
    return render(round(seconds) if seconds >= 1 else seconds)
