"""When a stage ends by itself: pure, and every reason why it does not is said."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rollguard.durations import render
from rollguard.lifecycle import cooldown_left
from rollguard.seen import Observation, guards_of
from rollguard.spec import Rollout
from rollguard.state import State


def waits_for(
    rollout: Rollout,
    state: State,
    seen: Observation | None,
    *,
    now: float,
    scale: float = 1.0,
    states: Mapping[str, State] | None = None,
) -> list[str]:
    """Return what keeps a stage from ending, in words; nothing where the next one may begin.

    Args:
        rollout: its file.
        state: in a stage.
        seen: what Prometheus showed of this very state; None where it showed nothing.
        now: Unix seconds.
        scale: what durations are divided by; calendars do not count where it is not 1.
        states: of the rollouts that this one requires, by name.
    """
    stage = rollout.stage(state.stage)
    if stage is None:
        return [f"{state.stage}, which its file no longer has"]
    found = [*_people(rollout, state), *_calendar(rollout, now, scale), *_required(rollout, states or {})]
    if left := cooldown_left(rollout, state, now, scale):
        found.append(f"its cooldown, {_rounded(left)} left")
    found += [f"{name}, which holds it" for name in sorted(state.held)]
    if seen is None or seen.newest != state.newest:
        return [*found, "Prometheus, which has not answered yet"]
    if left := max(0.0, stage.hold / scale - seen.clock_seconds):
        found.append(f"its hold, {_rounded(left)} left")
    return [*found, *_watched(rollout, state, seen)]


def _people(rollout: Rollout, state: State) -> Iterator[str]:
    if state.paused_by:
        yield f"{state.paused_by}, who paused it"
    if not state.acknowledged:
        yield "an acknowledgement"
    following = rollout.stage_after(state.stage or "")
    if following is not None and following.approve and state.approved != following.name:
        yield f"the approval of {following.name}"


def _calendar(rollout: Rollout, now: float, scale: float) -> Iterator[str]:
    if scale != 1.0:
        return
    if freeze := rollout.freeze_at(now):
        yield f"the end of a freeze at {freeze.until}: {freeze.why}"
    if rollout.advance_in is not None and not rollout.advance_in.open_at(now):
        yield f"its window: {rollout.advance_in}"


def _required(rollout: Rollout, states: Mapping[str, State]) -> Iterator[str]:
    for name in rollout.requires:
        state = states.get(name, State(name))
        if state.status != "ENABLED":
            yield f"{name}, which is in {state.position}"


def _watched(rollout: Rollout, state: State, seen: Observation) -> Iterator[str]:
    yield from seen.problems
    for guard in guards_of(rollout, state.position):
        if guard.action == "notify" or guard.name in state.held:
            continue
        found = seen.guards.get(guard.name)
        if found is None or found.condition == "breached" or (found.why and guard.no_data != "ignore"):
            yield f"{guard.name}, which {found.why if found else 'has not been looked at'}"
    for guard_ahead in seen.ahead:
        yield f"{guard_ahead} in the next stage"
    for criterion in seen.criteria:
        if not criterion.holds:
            yield f"{criterion.name}: {criterion.error or _unmet(criterion.value)}"


def _unmet(value: float | None) -> str:
    return "no data" if value is None else f"{value:g}"


def _rounded(seconds: float) -> str:
    return render(round(seconds) if seconds >= 1 else seconds)
