"""The decision: pure, and about levels. What counts is which guards fire now, however that became known."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from rollguard import lifecycle
from rollguard.conventions import FALLBACK
from rollguard.guards import longest_look_back
from rollguard.notification import GuardAlert
from rollguard.platform import acting_guards
from rollguard.spec import Action, Guard, Rollout
from rollguard.state import CASCADE, State, Transition

_BY_SEVERITY = {"critical": 0, "warning": 1, "info": 2}


def decide(
    rollout: Rollout, state: State, firing: Iterable[GuardAlert], *, now: float = 0.0, scale: float = 1.0
) -> list[Transition]:
    """Return what must happen to a rollout, given the alerts that fire now.

    A rollback is sticky: in ROLLBACK nothing is decided any more, whatever resolves or fires. An alert of a
    guard that is not armed in this stage, or of a paused rollout, consumes nothing: it counts as soon as a
    stage arms its guard or somebody resumes.

    Args:
        rollout: the loaded rollout; the action comes from it, never from a label.
        state: its state by the ledger.
        firing: alerts of any rollout; those of others are passed over.
        now: Unix seconds.
        scale: what durations are divided by.
    Returns:
        One rollback or step back (or note of it, in mode observe), or nothing. The most severe guard is the
        reason, among equals the first to fire; the evidence names all.
    """
    if not state.running or state.paused_by:
        return []
    breached = _counting(rollout, state, armed(rollout, state.position, firing, "rollback"), now, scale)
    if not breached:
        return []
    guard, alert = min(
        breached, key=lambda pair: (_BY_SEVERITY[pair[0].severity], pair[1].starts_at, pair[0].name)
    )
    names = {other.name for other, _ in breached}
    evidence = {
        "alert": dict(alert.labels),
        "annotations": dict(alert.annotations),
        "starts_at": alert.starts_at,
        "also_firing": sorted(names - {guard.name}),
    }
    to = FALLBACK if state.stepped_back else rollout.rollback.to
    return [lifecycle.rollback(rollout, state, guard=guard.name, reason=guard.name, to=to, evidence=evidence)]


def _counting(
    rollout: Rollout, state: State, breached: Sequence[tuple[Guard, GuardAlert]], now: float, scale: float
) -> list[tuple[Guard, GuardAlert]]:
    """Return the breaches without those that were noted before, or that may be an echo of a step back."""
    passed_over = state.noted if rollout.observed else frozenset()
    if cooldown_left(rollout, state, now, scale) > 0:
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
            state = states.get(name, State(name))
            if parent.rollout not in rollout.requires or name in falling or not state.running:
                continue
            if not rollout.observed:
                falling.add(name)
                falls.append(_dependant(rollout, state, parent))
                found = [item for item in found if item.rollout != name] + falls[-1:]
    return found


def _dependant(rollout: Rollout, state: State, parent: Transition) -> Transition:
    reason = f"requires {parent.rollout}, which was rolled back by {parent.guard or parent.actor}"
    evidence = {"requires": parent.rollout, "guard": parent.guard, "reason": parent.reason}
    return lifecycle.rollback(rollout, state, actor=CASCADE, reason=reason, evidence=evidence)


def cooldown_left(rollout: Rollout, state: State, now: float, scale: float = 1.0) -> float:
    """Return how long start and promote still wait since the rollout went back, seconds.

    The cooldown is at least as long as a breach may echo in the guards' windows.
    """
    if state.rolled_back_at is None or not (state.status == "ROLLBACK" or state.stepped_back):
        return 0.0
    cooldown = max(rollout.rollback.cooldown, longest_look_back(rollout)) / scale
    return max(0.0, state.rolled_back_at + cooldown - now)


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
