"""The decision: pure, and about levels. What counts is which guards fire now, however that became known."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rollguard.control import advance, transitions, verdicts
from rollguard.conventions import FALLBACK, PLATFORM
from rollguard.durations import render
from rollguard.monitoring.alerts import GuardAlert
from rollguard.monitoring.observation import Observation, guards_of
from rollguard.spec.guards import clear_for, look_back
from rollguard.spec.platform import acting_guards
from rollguard.spec.rollout import Action, Guard, Rollout
from rollguard.state import BLIND, CASCADE, CLOCK, DEADLINE, State, Transition

SILENT_SECONDS = 300.0
"""A guard that has had no data for less may see them again with the next scrape."""

_BY_SEVERITY = {"critical": 0, "warning": 1, "info": 2}


def decide(
    rollout: Rollout,
    state: State,
    firing: Iterable[GuardAlert],
    *,
    now: float = 0.0,
    scale: float = 1.0,
    seen: Observation | None = None,
    states: Mapping[str, State] | None = None,
    blind: bool | None = None,
) -> list[Transition]:
    """Return what must happen to a rollout, given the alerts that fire now and what Prometheus showed.

    A rollback is sticky: in ROLLBACK nothing is decided any more, whatever resolves or fires. An alert of a
    guard that is not armed in this stage, or of a paused rollout, consumes nothing: it counts as soon as a
    stage arms its guard or somebody resumes. A hold ends when its guard was evaluated false with data for
    its `clear_for`, or when that cannot judge any more: below its minimal sample, or without data where the
    file lets that pass.

    Args:
        rollout: the loaded rollout; the action comes from it, never from a label.
        state: its state by the ledger.
        firing: alerts of any rollout; those of others are passed over.
        now: Unix seconds.
        scale: what durations are divided by.
        seen: what Prometheus showed of this state, just now; None where only alerts are news.
        states: of the rollouts that this one requires, by name.
        blind: whether nobody watches it any more; None where that is not known yet.
    Returns:
        One rollback or step back (or note of it, in mode observe); or what holds, what no longer does, and
        that a deadline has passed; or the promotion, or that the stage is extended; or nothing.
    """
    if not state.running or state.paused_by:
        return []
    alerts = list(firing)
    fall = _fall(rollout, state, alerts, now, scale)
    fall = fall or verdicts.fail(rollout, state, seen, now=now, scale=scale)
    if fall:
        return [fall]
    if blind:
        return _unwatched(rollout, state)
    changes = _late(rollout, state, now, scale) or [
        *_holds(rollout, state, alerts, now, scale),
        *_seeing(state, blind),
        *_releases(rollout, state, alerts, seen, scale),
    ]
    if changes or seen is None or state.stage is None:
        return changes
    waits = advance.waits_for(rollout, state, seen, now=now, scale=scale, states=states)
    return verdicts.end(rollout, state, seen, waits, now=now, scale=scale)


def _fall(
    rollout: Rollout, state: State, firing: Sequence[GuardAlert], now: float, scale: float
) -> Transition | None:
    """Return the rollback: the most severe guard is the reason, among equals the first to fire."""
    fires = _armed(rollout, state, firing, "rollback", now=now, scale=scale)
    breached = _counting(rollout, state, fires, now, scale)
    if not breached:
        return None
    guard, alert = min(
        breached, key=lambda pair: (_BY_SEVERITY[pair[0].severity], pair[1].starts_at, pair[0].name)
    )
    names = {other.name for other, _ in breached}
    evidence = {**_said(alert), "also_firing": sorted(names - {guard.name})}
    to = FALLBACK if state.stepped_back else rollout.rollback.to
    return transitions.rollback(rollout, state, guard=guard.name, reason=guard.name, to=to, evidence=evidence)


def _said(alert: GuardAlert) -> dict[str, Any]:
    return {
        "alert": dict(alert.labels),
        "annotations": dict(alert.annotations),
        "starts_at": alert.starts_at,
        **({"query": alert.query} if alert.query else {}),
    }


def _late(rollout: Rollout, state: State, now: float, scale: float) -> list[Transition]:
    """Return what the stage's deadline leads to, once."""
    stage = rollout.stage(state.stage)
    deadline = stage.deadline if stage else None
    if deadline is None or state.overdue or now < state.entered_at + deadline.after / scale:
        return []
    noted = transitions.overdue(state, render(deadline.after))
    if deadline.action == "hold":
        return [noted, transitions.hold(state, [DEADLINE], {})]
    if deadline.action == "rollback" and not rollout.observed:
        to, why = rollout.rollback.to, f"{DEADLINE}: {noted.reason}"
        return [noted, transitions.rollback(rollout, state, actor=CLOCK, guard=None, reason=why, to=to)]
    return [noted]


def _unwatched(rollout: Rollout, state: State) -> list[Transition]:
    """Return what blindness leads to, once."""
    if rollout.blind == "rollback" and not rollout.observed:
        why = f"{BLIND}: no heartbeat, and no rule evaluated in {render(rollout.blind_after)}"
        return [transitions.rollback(rollout, state, actor=CLOCK, reason=why)]
    if state.stage is None or BLIND in state.held:
        return []
    return [transitions.hold(state, [BLIND], {})]


def _seeing(state: State, blind: bool | None) -> list[Transition]:
    """Return the end of blindness."""
    return [transitions.release(state, [BLIND], {})] if BLIND in state.held and blind is False else []


def _armed(
    rollout: Rollout, state: State, firing: Sequence[GuardAlert], action: Action, *, now: float, scale: float
) -> Sequence[tuple[Guard, GuardAlert]]:
    """Return the alerts of armed guards; without those that began in closed hours that still last."""
    return [
        (guard, alert)
        for guard, alert in armed(rollout, state.position, firing, action)
        if not (clock := rollout.clock_of(guard))
        or scale != 1.0
        or clock.open_at(now)
        or clock.open_at(alert.starts_at)
    ]


def _holds(
    rollout: Rollout, state: State, firing: Sequence[GuardAlert], now: float, scale: float
) -> list[Transition]:
    if state.stage is None:
        return []  # in ENABLED there is nothing left to hold
    found = {
        guard.name: alert
        for guard, alert in reversed(_armed(rollout, state, firing, "hold", now=now, scale=scale))
        if guard.name not in state.held
    }
    evidence = {"alerts": {name: _said(alert) for name, alert in found.items()}}
    return [transitions.hold(state, found, evidence)] if found else []


def _releases(
    rollout: Rollout, state: State, firing: Sequence[GuardAlert], seen: Observation | None, scale: float
) -> list[Transition]:
    """Return which holds are over: each with its reason, where that is not that it was false."""
    if not state.held or seen is None or seen.newest != state.newest:
        return []
    guards = {guard.name: guard for guard in guards_of(rollout, state.position) if guard.action == "hold"}
    fires = {alert.guard for alert in firing if alert.firing}
    over: dict[str, list[str]] = {}
    for name in sorted(state.held - fires - {DEADLINE, BLIND}):
        guard = guards.get(name)
        left = f"no hold of {state.position} by today's file"
        why = _why_over(rollout, guard, state, seen, scale) if guard else left
        if why is not None:
            over.setdefault(why, []).append(name)
    return [transitions.release(state, names, seen.evidence(), why) for why, names in over.items()]


def _why_over(rollout: Rollout, guard: Guard, state: State, seen: Observation, scale: float) -> str | None:
    """Return why a hold is over: empty where its guard was false for long enough; None where it is not."""
    found = seen.guards.get(guard.name)
    if found is None:
        return None
    if found.condition == "armed":
        held_seconds = seen.at - state.hold_changed.get(guard.name, 0.0)  # it may have fired elsewhere
        clear = min(found.clear_seconds or 0.0, held_seconds)
        return "" if clear >= clear_for(rollout, guard) / scale else None
    silent = found.silent_seconds
    # A breach may echo for so long in what is left of the data.
    if silent is None or guard.use == PLATFORM or silent < max(SILENT_SECONDS, look_back(guard)) / scale:
        return None
    where = f"in {state.position} for {render(round(silent * scale))}"
    if found.condition == "waiting":
        return f"below its minimal sample {where}"
    if guard.no_data not in ("ignore", "notify"):
        return None  # the file says that missing data holds
    return f"no data {where}, and no_data is {guard.no_data}"


def _counting(
    rollout: Rollout, state: State, breached: Sequence[tuple[Guard, GuardAlert]], now: float, scale: float
) -> list[tuple[Guard, GuardAlert]]:
    """Return the breaches without those that were noted before, or that may be an echo of a step back."""
    if not breached:
        return []
    passed_over = state.noted if rollout.observed else frozenset()
    if transitions.cooldown_left(rollout, state, now, scale) > 0:
        passed_over |= state.excused
    return [(guard, alert) for guard, alert in breached if guard.name not in passed_over]


def cascade(
    transitions: Iterable[Transition], rollouts: Mapping[str, Rollout], states: Mapping[str, State]
) -> list[Transition]:
    """Return transitions, with the rollbacks of every running rollout that requires one that falls.

    Args:
        transitions: what was decided, at most one rollback for each rollout.
        rollouts: all of them by name.
        states: of all of them by name, before the transitions.
    Returns:
        The transitions, then those of the dependants, the nearest first.
    """
    found = list(transitions)
    falls = [item for item in found if item.kind == "rollback"]
    falling = {item.rollout for item in falls}
    for parent in falls:  # which grows on the way: what requires a dependant falls, too
        for name, rollout in rollouts.items():
            if parent.rollout not in rollout.requires or name in falling:
                continue
            state = states.get(name, State(name))
            if state.running and not rollout.observed:
                falling.add(name)
                falls.append(_dependant(rollout, state, parent))
                found = [item for item in found if item.rollout != name] + falls[-1:]
    return found


def _dependant(rollout: Rollout, state: State, parent: Transition) -> Transition:
    reason = f"requires {parent.rollout}, which was rolled back by {parent.guard or parent.actor}"
    evidence = {"requires": parent.rollout, "guard": parent.guard, "reason": parent.reason}
    return transitions.rollback(rollout, state, actor=CASCADE, reason=reason, evidence=evidence)


def rests_on(transitions: Iterable[Transition], rollouts: Mapping[str, Rollout]) -> set[str]:
    """Return the rollouts whose states transitions were decided upon, and which must not have changed since.

    They are the transitions' own; what a rollout requires, or starts after, that starts or is promoted, as it
    had to be enabled; and what requires a rollout that falls, as it would have fallen with it.

    Args:
        transitions: with their cascade.
        rollouts: all of them by name.
    """
    found = set()
    for item in transitions:
        found.add(item.rollout)
        if item.kind in ("start", "promote"):
            found.update(rollouts[item.rollout].requires)
            found.update(rollouts[item.rollout].after if item.kind == "start" else ())
        elif item.kind == "rollback":
            found.update(name for name, other in rollouts.items() if item.rollout in other.requires)
    return found


def armed(
    rollout: Rollout, position: str, firing: Iterable[GuardAlert], action: Action
) -> Sequence[tuple[Guard, GuardAlert]]:
    """Return the alerts of guards with an action that are armed at a position, each with its guard.

    Args:
        rollout: the loaded rollout.
        position: a stage's name, or `enabled`, `disabled`, `rollback`.
        firing: alerts of any rollout.
        action: what the guards do.
    """
    alerts = [alert for alert in firing if alert.firing and alert.rollout == rollout.name]
    if not alerts:
        return []  # as for most rollouts at most times: a storm leaves no time to look up guards in vain
    guards = {
        guard.name: guard
        for guard in acting_guards(rollout)
        if guard.action == action and guard.armed_in(position)
    }
    return [(guards[alert.guard], alert) for alert in alerts if alert.guard in guards]
