"""The decision: pure, and about levels. What counts is which guards fire now, however that became known."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rollguard import state as states
from rollguard.notification import GuardAlert
from rollguard.platform import acting_guards
from rollguard.spec import Action, Guard, Rollout
from rollguard.state import State, Transition

_BY_SEVERITY = {"critical": 0, "warning": 1, "info": 2}


def decide(rollout: Rollout, state: State, firing: Iterable[GuardAlert]) -> list[Transition]:
    """Return what must happen to a rollout, given the alerts that fire now.

    A rollback is sticky: in ROLLBACK nothing is decided any more, whatever resolves or fires. An alert of a
    guard that is not armed in this stage consumes nothing: it counts as soon as a stage arms its guard.

    Args:
        rollout: the loaded rollout; the action comes from it, never from a label.
        state: its state by the ledger.
        firing: alerts of any rollout; those of others are passed over.
    Returns:
        One rollback (or note of it, in mode observe) or nothing. The most severe guard is the reason, among
        equals the first to fire; the evidence names all.
    """
    if not state.running:
        return []
    breached = armed(rollout, state.position, firing, "rollback")
    if rollout.observed:
        breached = [(guard, alert) for guard, alert in breached if guard.name not in state.noted]
    if not breached:
        return []
    guard, alert = min(
        breached, key=lambda pair: (_BY_SEVERITY[pair[0].severity], pair[1].starts_at, pair[0].name)
    )
    evidence = {
        "alert": dict(alert.labels),
        "annotations": dict(alert.annotations),
        "starts_at": alert.starts_at,
        "also_firing": sorted({other.name for other, _ in breached} - {guard.name}),
    }
    return [states.rollback(rollout, state, guard=guard.name, reason=guard.name, evidence=evidence)]


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
    guards = {guard.name: guard for guard in acting_guards(rollout)}
    found = []
    for alert in firing:
        guard = guards.get(alert.guard) if alert.firing and alert.rollout == rollout.name else None
        if guard and guard.action == action and guard.armed_in(position):
            found.append((guard, alert))
    return found
